// @libsql/hrana-client, on which @libsql/client is built, unchanged and asked for version 3: it speaks protobuf then, over
// http as well as over ws, and has what @libsql/client does not use: cursors, descriptions, stored SQL.

import { BatchCond, openHttp, openWs, WebSocket } from "@libsql/hrana-client";
import { equal, eventually, refused, Report } from "./report.mjs";

const VALUES = [null, 9007199254740993n, -9223372036854775808n, 0.1, 1.7976931348623157e308, "žluťoučký 🐎", "", new Uint8Array([0, 255])];
const plain = (value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value);

// What answers come in, and what sockets send in. Version 3 alone says nothing: it exists in JSON, too.
const spoken = { http: new Set(), ws: new Set() };
const PROTOBUF = { http: ["application/x-protobuf"], ws: ["hrana3-protobuf"] };

async function listening(request) {
  const response = await fetch(request);
  if (request.method === "POST") spoken.http.add(response.headers.get("content-type"));
  return response;
}

const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (...message) {
  spoken.ws.add(this.protocol);
  return send.apply(this, message);
};

function connect(transport, url) {
  const client = transport === "ws" ? openWs(url, undefined, 3) : openHttp(url, undefined, listening, undefined, 3);
  client.intMode = "bigint";
  return client;
}

export async function checkHrana(transport, principal, mirror) {
  const report = new Report(`@libsql/hrana-client ${transport}`);
  const table = `hrana_${transport}`;
  spoken[transport].clear(); // Other clients have sockets of the same kind.
  const client = connect(transport, principal);
  await report.check("agrees on version 3", async () => equal(await client.getVersion(), 3, "version"));
  const stream = client.openStream();
  await statements(report, stream, table);
  await batches(report, client, stream, table);
  if (mirror !== undefined) await onMirror(report, connect(transport, mirror), table);
  await report.check("speaks protobuf", async () => equal([...spoken[transport]], PROTOBUF[transport], "spoken"));
  client.close();
  return report.failed;
}

async function statements(report, stream, table) {
  await report.check("creates a table by a sequence", async () => {
    await stream.sequence(`DROP TABLE IF EXISTS ${table}; CREATE TABLE ${table} (id INTEGER PRIMARY KEY, word TEXT UNIQUE)`);
  });
  await report.check("keeps every value", async () => {
    for (const value of VALUES) {
      equal(plain((await stream.queryValue(["SELECT ?", [value]])).value), value, "value");
    }
  });
  await report.check("counts what it changed", async () => {
    const result = await stream.run([`INSERT INTO ${table} VALUES (:id, :word)`, { id: 7n, word: "one" }]);
    equal([result.affectedRowCount, result.lastInsertRowid], [1, 7n], "affected and last row");
  });
  await report.check("describes a statement", async () => {
    const described = await stream.describe(`SELECT id FROM ${table} WHERE word = :word`);
    equal(described.paramNames, [":word"], "parameters");
    equal(described.columns, [{ name: "id", decltype: "INTEGER" }], "columns");
    equal([described.isExplain, described.isReadonly], [false, true], "kind");
  });
  await report.check("knows whether a transaction is open", async () => {
    const states = [];
    for (const sql of ["BEGIN", "ROLLBACK"]) {
      await stream.run(sql);
      states.push(await stream.getAutocommit());
    }
    equal(states, [false, true], "autocommit");
  });
  await report.check("names the broken constraint and goes on", async () => {
    const error = await refused(() => stream.run(`INSERT INTO ${table} (word) VALUES ('one')`), "a second 'one'");
    equal(error.code, "SQLITE_CONSTRAINT_UNIQUE", "code");
    equal((await stream.queryValue("SELECT 1")).value, 1n, "value");
  });
}

async function batches(report, client, stream, table) {
  for (const useCursor of [false, true]) {
    await report.check(`runs a batch under conditions${useCursor ? " by a cursor" : ""}`, async () => {
      const batch = stream.batch(useCursor);
      const begin = batch.step();
      const begun = begin.run("BEGIN");
      const failing = batch.step();
      const failed = refused(() => failing.run("SELEKT"), "a syntax error");
      const skipped = batch.step().condition(BatchCond.ok(failing)).query("SELECT 1");
      const open = BatchCond.not(BatchCond.isAutocommit(batch));
      const rows = batch.step().condition(BatchCond.and(batch, [BatchCond.error(failing), open])).query(MANY);
      const ended = batch.step().run("ROLLBACK");
      await batch.execute();
      equal((await failed).code, "SQLITE_ERROR", "code");
      equal(await skipped, undefined, "the skipped step");
      equal((await rows).rows.length, 3000, "rows");
      equal((await rows).rows[2999][0], 3000n, "the last row");
      await Promise.all([begun, ended]);
    });
  }
  await report.check("runs stored SQL", async () => {
    const owner = "storeSql" in client ? client : stream;
    const sql = owner.storeSql(`SELECT word FROM ${table} WHERE id = ?`);
    equal((await stream.queryValue([sql, [7n]])).value, "one", "value");
    sql.close();
  });
}

const MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n";

async function onMirror(report, mirror, table) {
  await mirror.getVersion();
  await report.check("reads the mirror", async () => {
    await eventually(async () => {
      const stream = mirror.openStream();
      try {
        equal((await stream.queryValue(`SELECT word FROM ${table}`)).value, "one", "value");
      } finally {
        stream.close();
      }
    });
  });
  await report.check("is refused when it writes to the mirror", async () => {
    const stream = mirror.openStream();
    const error = await refused(() => stream.run(`DELETE FROM ${table}`), "delete");
    equal(error.code, "READ_ONLY_MIRROR", "code");
    stream.close();
  });
  mirror.close();
}
