// A browser on a leash: reads one step a line, as JSON, and answers each with a line. What is done in which order, and what
// is to be seen, the end-to-end test `console` says; this only knows how.
//
//   node browser.mjs [DIRECTORY FOR PICTURES]
//
// Everything is found as a person finds it: by what it says, and by its role.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PATIENCE = 60_000;
const WIDTHS = [390, 820, 1440];
const HEIGHT = 900;
const pictures = process.argv[2];
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // The pages are this repository's own, and a root user of a container has no sandbox.
  args: ["--no-sandbox"],
});
const context = await browser.newContext({ reducedMotion: "reduce", viewport: { width: 1440, height: HEIGHT } });
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);

// What a page must never do, whatever it shows.
const wrong = [];
page.on("pageerror", (error) => wrong.push(`the script failed: ${error}`));
page.on("console", (message) => {
  if (message.text().includes("Content Security Policy")) wrong.push(message.text());
});
page.on("request", (request) => {
  const { protocol, hostname } = new URL(request.url());
  if (protocol !== "data:" && !hostname.startsWith("127.")) wrong.push(`asked ${request.url()}`);
});

let downloaded;

const steps = {
  async open({ url }) {
    await page.goto(url);
  },
  async see({ text }) {
    await page.locator("body").getByText(text).first().waitFor();
  },
  async gone({ text }) {
    await page.locator("body").getByText(text).first().waitFor({ state: "hidden" });
  },
  // The value of a term in the description list of a region.
  async value({ region, term, value }) {
    const list = page.getByRole("article", { name: region }).locator("dl > div");
    const entry = list.filter({ has: page.getByText(term, { exact: true }) }).locator("dd");
    await entry.getByText(value, { exact: true }).waitFor();
  },
  async click({ role, name }) {
    await page.getByRole(role, { name, exact: true }).click();
  },
  async disabled({ name }) {
    const button = page.getByRole("button", { name, exact: true });
    await button.waitFor();
    if (await button.isEnabled()) throw new Error(`${name} is enabled`);
  },
  async fill({ label, text }) {
    await page.getByLabel(label, { exact: true }).first().fill(text);
  },
  async focus({ role, name }) {
    await page.getByRole(role, { name, exact: true }).focus();
  },
  async focused({ name }) {
    const has = await page.evaluate(() => document.activeElement.textContent.trim());
    if (has !== name) throw new Error(`${JSON.stringify(has)} has the focus, not ${name}`);
  },
  // What was downloaded last.
  async choose({ label }) {
    await page.getByLabel(label, { exact: true }).setInputFiles(downloaded);
  },
  async download({ name }) {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name, exact: true }).click(),
    ]);
    downloaded = await download.path();
    const content = await readFile(downloaded);
    return { file: download.suggestedFilename(), begins: content.toString("latin1", 0, 15) };
  },
  async cookies() {
    return { cookies: await context.cookies() };
  },
  // Whether everybody can use what is shown, by day and by night, on a telephone and on a wall.
  async audit({ name }) {
    const problems = [];
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: HEIGHT });
        const at = `${name} ${colorScheme} ${width}`;
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) problems.push(`${at}: ${wide} pixels are beside the page`);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run());
        for (const { id, nodes } of violations) {
          for (const node of nodes) problems.push(`${at}: ${id}: ${node.html}: ${node.failureSummary}`);
        }
        if (pictures) {
          await page.screenshot({ path: `${pictures}/${name}-${colorScheme}-${width}.png`, fullPage: true });
        }
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 1440, height: HEIGHT });
    if (problems.length > 0) throw new Error(problems.join("\n"));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...what } = JSON.parse(line);
  let answer;
  try {
    answer = (await steps[step](what)) ?? {};
    if (wrong.length > 0) throw new Error(wrong.splice(0).join("\n"));
    answer.ok = true;
  } catch (error) {
    const shown = await page.locator("body").innerText().catch(() => "nothing");
    answer = { ok: false, error: `${error.message}\nthe page at ${page.url()} shows:\n${shown}` };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
