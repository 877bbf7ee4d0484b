// Runs named checks one after another and prints one JSON line for each.
// A check that fails never hides the following ones: the exit code tells at the end.

import { parseArgs } from "node:util";
import { isDeepStrictEqual } from "node:util";

/** The addresses to test: the principal's, and the mirror's when there is one. */
export function addresses() {
  const { values } = parseArgs({
    options: { principal: { type: "string" }, mirror: { type: "string" } },
  });
  if (values.principal === undefined) {
    console.error("usage: --principal URL [--mirror URL]");
    process.exit(2);
  }
  return { principal: values.principal, mirror: values.mirror };
}

/** JSON has neither big integers nor bytes; failures must show both. */
function plain(_key, value) {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof ArrayBuffer) return `bytes:${Buffer.from(value).toString("hex")}`;
  return value;
}

export class Report {
  #client;
  #failed = 0;

  constructor(client) {
    this.#client = client;
  }

  async check(name, body) {
    const line = { client: this.#client, check: name, ok: true };
    try {
      await body();
    } catch (error) {
      this.#failed += 1;
      line.ok = false;
      line.code = error?.code;
      line.error = String(error?.message ?? error);
      if (error?.cause) line.cause = String(error.cause?.message ?? error.cause);
    }
    console.log(JSON.stringify(line, plain));
  }

  get failed() {
    return this.#failed;
  }
}

export function equal(actual, expected, what) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(
      `${what}: expected ${JSON.stringify(expected, plain)}, got ${JSON.stringify(actual, plain)}`,
    );
  }
}

/** Runs `body`, which has to fail, and returns its error. */
export async function refused(body, what) {
  let value;
  try {
    value = await body();
  } catch (error) {
    return error;
  }
  throw new Error(`${what}: expected a refusal, got ${JSON.stringify(value, plain)}`);
}

/**
 * Repeats `body` until it succeeds. A mirror applies what it has hardened a moment later, so a read
 * there is asked again until a deadline; the last failure is the one reported.
 */
export async function eventually(body, milliseconds = 15_000) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    try {
      return await body();
    } catch (error) {
      if (performance.now() >= deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
