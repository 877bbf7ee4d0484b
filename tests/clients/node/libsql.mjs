// @libsql/client, unchanged, against a principal and its mirror.

import { createClient } from "@libsql/client";
import { equal, eventually, refused, Report } from "./report.mjs";

/** One more than a double can tell apart from its neighbour, and both ends of the range. */
const INTEGERS = [9007199254740993n, 9223372036854775807n, -9223372036854775808n];
const BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);

/** Rows of a result as plain arrays, without the client's extra properties. */
const cells = (result) => result.rows.map((row) => Array.from(row));

/**
 * @param {string} transport `http` or `ws`; part of the table's name, so that both may run on one database
 * @param {boolean} remote false when a plain file stands in for the server, which has fewer error codes
 */
export async function checkLibsql(transport, principal, mirror, remote) {
  const report = new Report(`@libsql/client ${transport}`);
  const table = `node_${transport}`;
  const client = createClient({ url: principal, intMode: "bigint" });

  await report.check("creates a table", async () => {
    await client.execute(`DROP TABLE IF EXISTS ${table}`);
    await client.execute(
      `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, word TEXT UNIQUE, big INTEGER, bytes BLOB, ratio REAL)`,
    );
  });
  await statements(report, client, table);
  await transactions(report, client, table);
  await failures(report, client, table, remote);
  if (mirror !== undefined) await checkMirror(report, client, table, mirror, transport);
  client.close();
  return report.failed;
}

async function statements(report, client, table) {
  await report.check("inserts with positional and named arguments", async () => {
    const first = await client.execute({
      sql: `INSERT INTO ${table} (id, word) VALUES (?, ?)`,
      args: [1, "one"],
    });
    equal(first.rowsAffected, 1, "rows affected");
    equal(first.lastInsertRowid, 1n, "last inserted row");
    const second = await client.execute({
      sql: `INSERT INTO ${table} (id, word) VALUES (:id, $word)`,
      args: { id: 2, word: "two" },
    });
    equal(second.lastInsertRowid, 2n, "last inserted row");
  });
  await report.check("selects what it inserted", async () => {
    const result = await client.execute(`SELECT id, word FROM ${table} ORDER BY id`);
    equal(result.columns, ["id", "word"], "columns");
    equal(cells(result), [[1n, "one"], [2n, "two"]], "rows");
    equal(result.columnTypes, ["INTEGER", "TEXT"], "declared types");
  });
  await report.check("keeps integers beyond 2^53", async () => {
    for (const [i, big] of INTEGERS.entries()) {
      await client.execute({
        sql: `INSERT INTO ${table} (id, big) VALUES (?, ?)`,
        args: [10 + i, big],
      });
    }
    const result = await client.execute(`SELECT big FROM ${table} WHERE id >= 10 ORDER BY id`);
    equal(cells(result), INTEGERS.map((big) => [big]), "integers");
  });
  await report.check("keeps blobs, floats, nulls and text beyond ASCII", async () => {
    await client.execute({
      sql: `INSERT INTO ${table} (id, word, big, bytes, ratio) VALUES (20, ?, ?, ?, ?)`,
      args: ["žluťoučký 🐎", null, BYTES, 0.1],
    });
    const result = await client.execute(
      `SELECT word, big, bytes, ratio, typeof(bytes), length(bytes) FROM ${table} WHERE id = 20`,
    );
    equal(cells(result), [["žluťoučký 🐎", null, BYTES.buffer, 0.1, "blob", 256n]], "row");
  });
  await report.check("runs a batch as one transaction", async () => {
    const results = await client.batch(
      [
        { sql: `INSERT INTO ${table} (id, word) VALUES (?, ?)`, args: [30, "batch"] },
        `UPDATE ${table} SET word = 'batch two' WHERE id = 30`,
        `SELECT word FROM ${table} WHERE id = 30`,
      ],
      "write",
    );
    equal(results.map((result) => result.rowsAffected), [1, 1, 0], "rows affected");
    equal(cells(results[2]), [["batch two"]], "rows");
  });
  await report.check("runs several statements of one text", async () => {
    await client.executeMultiple(
      `INSERT INTO ${table} (id) VALUES (40); INSERT INTO ${table} (id) VALUES (41);`,
    );
    const result = await client.execute(`SELECT count(*) FROM ${table} WHERE id IN (40, 41)`);
    equal(cells(result), [[2n]], "rows");
  });
}

async function transactions(report, client, table) {
  await report.check("commits an interactive transaction", async () => {
    const transaction = await client.transaction("write");
    try {
      await transaction.execute(`INSERT INTO ${table} (id, word) VALUES (50, 'committed')`);
      const inside = await transaction.execute(`SELECT word FROM ${table} WHERE id = 50`);
      equal(cells(inside), [["committed"]], "rows inside");
      await transaction.commit();
    } finally {
      transaction.close();
    }
    const after = await client.execute(`SELECT word FROM ${table} WHERE id = 50`);
    equal(cells(after), [["committed"]], "rows after");
  });
  await report.check("rolls an interactive transaction back", async () => {
    const transaction = await client.transaction("write");
    try {
      await transaction.execute(`INSERT INTO ${table} (id) VALUES (51)`);
      await transaction.execute(`DELETE FROM ${table} WHERE id = 50`);
      await transaction.rollback();
    } finally {
      transaction.close();
    }
    const after = await client.execute(`SELECT id FROM ${table} WHERE id IN (50, 51)`);
    equal(cells(after), [[50n]], "rows after");
  });
  await report.check("rolls back what a closed transaction left open", async () => {
    const transaction = await client.transaction("write");
    await transaction.execute(`INSERT INTO ${table} (id) VALUES (52)`);
    transaction.close();
    const after = await client.execute(`SELECT id FROM ${table} WHERE id = 52`);
    equal(cells(after), [], "rows after");
  });
  await report.check("reads in a read-only transaction", async () => {
    const transaction = await client.transaction("read");
    try {
      const result = await transaction.execute(`SELECT word FROM ${table} WHERE id = 1`);
      equal(cells(result), [["one"]], "rows");
      await transaction.commit();
    } finally {
      transaction.close();
    }
  });
}

async function failures(report, client, table, remote) {
  await report.check("names the broken constraint", async () => {
    const error = await refused(
      () => client.execute(`INSERT INTO ${table} (id, word) VALUES (60, 'one')`),
      "a second 'one'",
    );
    // Over the wire there is one code, and it is the extended one.
    equal(remote ? error.code : error.extendedCode, "SQLITE_CONSTRAINT_UNIQUE", "code");
  });
  await report.check("rolls a failing batch back", async () => {
    const error = await refused(
      () =>
        client.batch(
          [
            `INSERT INTO ${table} (id) VALUES (61)`,
            `INSERT INTO ${table} (id) VALUES (1)`,
            `INSERT INTO ${table} (id) VALUES (62)`,
          ],
          "write",
        ),
      "a batch with a duplicate key",
    );
    equal(remote ? error.code : error.extendedCode, "SQLITE_CONSTRAINT_PRIMARYKEY", "code");
    const after = await client.execute(`SELECT id FROM ${table} WHERE id IN (61, 62)`);
    equal(cells(after), [], "rows after");
  });
  await report.check("goes on after a syntax error", async () => {
    await refused(() => client.execute("SELEKT 1"), "a syntax error");
    equal(cells(await client.execute("SELECT 1")), [[1n]], "rows");
  });
}

async function checkMirror(report, client, table, address, transport) {
  const mirror = createClient({ url: address, intMode: "bigint" });
  const everything = `SELECT * FROM ${table} ORDER BY id`;
  await report.check("reads the same rows from the mirror", async () => {
    const expected = cells(await client.execute(everything));
    await eventually(async () => equal(cells(await mirror.execute(everything)), expected, "rows"));
  });
  await report.check("reads the mirror in a read-only transaction and a batch", async () => {
    const transaction = await mirror.transaction("read");
    try {
      const result = await transaction.execute(`SELECT word FROM ${table} WHERE id = 1`);
      equal(cells(result), [["one"]], "rows");
      await transaction.commit();
    } finally {
      transaction.close();
    }
    const [result] = await mirror.batch([`SELECT word FROM ${table} WHERE id = 2`], "read");
    equal(cells(result), [["two"]], "rows");
  });
  await report.check("is refused when it writes to the mirror", async () => {
    const writes = {
      insert: () => mirror.execute(`INSERT INTO ${table} (id) VALUES (70)`),
      schema: () => mirror.execute(`CREATE TABLE ${table}_on_mirror (id)`),
      batch: () => mirror.batch([`INSERT INTO ${table} (id) VALUES (71)`], "write"),
    };
    for (const [what, write] of Object.entries(writes)) {
      equal((await refused(write, what)).code, "READ_ONLY_MIRROR", `${transport} ${what}`);
    }
    const after = await client.execute(`SELECT id FROM ${table} WHERE id IN (70, 71)`);
    equal(cells(after), [], "rows on the principal");
  });
  mirror.close();
}
