// Every Node client in turn: `node main.mjs --principal URL [--mirror URL]`, URL being http: or https:.
// A file: URL stands in for a server to try the checks themselves.

import { checkDrizzle } from "./drizzle.mjs";
import { checkHrana } from "./hrana.mjs";
import { checkLibsql } from "./libsql.mjs";
import { addresses } from "./report.mjs";

const { principal, mirror } = addresses();
const remote = !principal.startsWith("file:");
const webSocket = (url) => url?.replace(/^http/, "ws");

let failed = await checkLibsql("http", principal, mirror, remote);
if (remote) failed += await checkLibsql("ws", webSocket(principal), webSocket(mirror), remote);
if (remote) {
  failed += await checkHrana("http", principal, mirror);
  failed += await checkHrana("ws", webSocket(principal), webSocket(mirror));
}
failed += await checkDrizzle(principal, mirror);
process.exitCode = failed === 0 ? 0 : 1;
