// node-redis PORT: values, hashes, transactions, messages, scans.
import { createRequire } from "node:module";
import assert from "node:assert/strict";

const require = createRequire(import.meta.url);
const { createClient } = require("redis");

const client = createClient({ socket: { host: "127.0.0.1", port: Number(process.argv[2]) } });
await client.connect();
assert.equal(await client.set("node:k", "v", { EX: 100 }), "OK");
assert.equal(await client.get("node:k"), "v");
assert.equal(await client.hSet("node:h", { a: "1", b: "2" }), 2);
assert.deepEqual({ ...(await client.hGetAll("node:h")) }, { a: "1", b: "2" });
assert.deepEqual(await client.multi().incr("node:n").incr("node:n").exec(), [1, 2]);
const listener = client.duplicate();
await listener.connect();
const message = new Promise((resolve) => listener.subscribe("node:news", resolve));
while ((await client.publish("node:news", "hello")) === 0) await new Promise((r) => setTimeout(r, 20));
assert.equal(await message, "hello");
await listener.quit();
await client.quit();
