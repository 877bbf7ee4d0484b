// @libsql/client with open transactions while the server changes its role.
//
//   failover.mjs URL     opens a write transaction over http and one over WebSocket, each on the database of that
//                        name, and prints {"open": […]}; then reads an address from standard input, uses the open
//                        transactions once more, runs new ones at that address, and prints for each transport the
//                        code with which the open one failed.

import { createInterface } from "node:readline";
import { createClient } from "@libsql/client";
import { refused } from "./report.mjs";

const transports = ["http", "ws"];
const client = (url, transport) =>
  createClient({ url: `${url.replace(/^http/, transport)}/db/${transport}/` });

async function open(url, transport) {
  const transaction = await client(url, transport).transaction("write");
  await transaction.execute("INSERT INTO t VALUES ('lost')");
  return transaction;
}

async function goOn(transaction, url, transport) {
  const error = await refused(async () => {
    await transaction.execute("INSERT INTO t VALUES ('late')");
    await transaction.commit();
  }, "a transaction of a server that gave up its role");
  transaction.close();
  const next = await client(url, transport).transaction("write");
  await next.execute("INSERT INTO t VALUES ('next')");
  await next.commit();
  return error.code ?? `without a code: ${error.message}`;
}

const transactions = await Promise.all(transports.map((t) => open(process.argv[2], t)));
console.log(JSON.stringify({ open: transports }));
const input = createInterface({ input: process.stdin });
const { value: address } = await input[Symbol.asyncIterator]().next();
const codes = await Promise.all(transports.map((t, i) => goOn(transactions[i], address, t)));
console.log(JSON.stringify(Object.fromEntries(transports.map((t, i) => [t, codes[i]]))));
process.exit(0);
