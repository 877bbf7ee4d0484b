// Node clients over TLS: tls.mjs https://HOST:PORT, with NODE_EXTRA_CA_CERTS set. One line for each of https and wss.
import { createClient } from "@libsql/client";

const https = process.argv[2];
for (const [name, url] of [["https", https], ["wss", https.replace("https:", "wss:")]]) {
  const client = createClient({ url, tls: true });
  await client.execute("create table if not exists seen (by text)");
  await client.execute({ sql: "insert into seen values (?)", args: [name] });
  const counted = await client.execute("select count(*) as n from seen");
  console.log(`${name}: ${counted.rows[0].n}`);
  client.close();
}
