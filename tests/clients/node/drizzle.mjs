// Drizzle over @libsql/client: what an application's object mapper makes of a principal and its mirror.

import { createClient } from "@libsql/client";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/libsql";
import { blob, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { equal, eventually, refused, Report } from "./report.mjs";

const people = sqliteTable("drizzle_people", {
  id: integer("id").primaryKey({ autoIncrement: true }),
  name: text("name").notNull().unique(),
  height: real("height"),
  born: integer("born", { mode: "timestamp" }),
  photo: blob("photo", { mode: "buffer" }),
  settings: text("settings", { mode: "json" }),
});

const CREATE = `CREATE TABLE drizzle_people (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
  height REAL, born INTEGER, photo BLOB, settings TEXT)`;

/** Drizzle wraps a driver's error; the code is on the one that it wraps. */
const code = (error) => error.code ?? error.cause?.code;

export async function checkDrizzle(principal, mirror) {
  const report = new Report("drizzle-orm");
  const client = createClient({ url: principal });
  const db = drizzle(client, { schema: { people } });

  await report.check("creates a table from raw SQL", async () => {
    await db.run(sql.raw("DROP TABLE IF EXISTS drizzle_people"));
    await db.run(sql.raw(CREATE));
  });
  await statements(report, db);
  await transactions(report, db);
  if (mirror !== undefined) await checkMirror(report, db, mirror);
  client.close();
  return report.failed;
}

const ada = {
  name: "Ada",
  height: 1.65,
  born: new Date("1815-12-10T00:00:00Z"),
  photo: Buffer.from([0, 1, 254, 255]),
  settings: { theme: "dark", sizes: [1, 2] },
};

/** A blob arrives as an ArrayBuffer's Buffer; compare it by its bytes. */
const comparable = (row) => ({ ...row, photo: row.photo && Buffer.from(row.photo).toString("hex") });

async function statements(report, db) {
  await report.check("inserts and returns the row", async () => {
    const [row] = await db.insert(people).values(ada).returning();
    equal(comparable(row), comparable({ id: 1, ...ada }), "returned row");
    await db.insert(people).values([{ name: "Grace" }, { name: "Edsger" }]);
  });
  await report.check("selects through the query builder and the relational API", async () => {
    const rows = await db.select().from(people).where(eq(people.name, "Ada"));
    equal(rows.map(comparable), [comparable({ id: 1, ...ada })], "rows");
    const found = await db.query.people.findMany({ columns: { name: true }, orderBy: people.id });
    equal(found.map((row) => row.name), ["Ada", "Grace", "Edsger"], "names");
  });
  await report.check("updates, deletes and upserts", async () => {
    await db.update(people).set({ height: 1.7 }).where(eq(people.name, "Grace"));
    await db.delete(people).where(eq(people.name, "Edsger"));
    await db
      .insert(people)
      .values({ name: "Ada", height: 1.66 })
      .onConflictDoUpdate({ target: people.name, set: { height: 1.66 } });
    const rows = await db.select({ name: people.name, height: people.height }).from(people);
    equal(rows, [{ name: "Ada", height: 1.66 }, { name: "Grace", height: 1.7 }], "rows");
  });
  await report.check("runs a batch", async () => {
    const [, rows] = await db.batch([
      db.insert(people).values({ name: "Barbara" }),
      db.select({ name: people.name }).from(people).where(eq(people.name, "Barbara")),
    ]);
    equal(rows, [{ name: "Barbara" }], "rows");
  });
  await report.check("names the broken constraint", async () => {
    const error = await refused(() => db.insert(people).values({ name: "Ada" }), "a second Ada");
    equal(String(code(error)).startsWith("SQLITE_CONSTRAINT"), true, `code ${code(error)}`);
  });
}

const names = async (db) => {
  const rows = await db.select({ name: people.name }).from(people).orderBy(people.name);
  return rows.map((row) => row.name);
};

async function transactions(report, db) {
  await report.check("commits a transaction", async () => {
    await db.transaction(async (tx) => {
      await tx.insert(people).values({ name: "Donald" });
      equal((await names(tx)).includes("Donald"), true, "Donald inside");
    });
    equal(await names(db), ["Ada", "Barbara", "Donald", "Grace"], "names after");
  });
  await report.check("rolls a transaction back", async () => {
    await refused(
      () =>
        db.transaction(async (tx) => {
          await tx.delete(people);
          tx.rollback();
        }),
      "a rolled back transaction",
    );
    equal(await names(db), ["Ada", "Barbara", "Donald", "Grace"], "names after");
  });
  await report.check("rolls a nested transaction back to its savepoint", async () => {
    await db.transaction(async (tx) => {
      await tx.insert(people).values({ name: "Tony" });
      await refused(
        () =>
          tx.transaction(async (inner) => {
            await inner.insert(people).values({ name: "Nobody" });
            inner.rollback();
          }),
        "a rolled back savepoint",
      );
    });
    equal(await names(db), ["Ada", "Barbara", "Donald", "Grace", "Tony"], "names after");
  });
}

async function checkMirror(report, db, address) {
  const client = createClient({ url: address });
  const mirror = drizzle(client, { schema: { people } });
  await report.check("reads the same rows from the mirror", async () => {
    const expected = (await db.select().from(people).orderBy(people.id)).map(comparable);
    await eventually(async () => {
      const rows = await mirror.select().from(people).orderBy(people.id);
      equal(rows.map(comparable), expected, "rows");
    });
  });
  await report.check("is refused when it writes to the mirror", async () => {
    const error = await refused(() => mirror.insert(people).values({ name: "Mallory" }), "a write");
    equal(code(error), "READ_ONLY_MIRROR", "code");
    equal((await names(db)).includes("Mallory"), false, "Mallory on the principal");
  });
  client.close();
}
