import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import * as errors from "../src/errors.js";
import { connect, type Client } from "../src/index.js";
import { forever, TestDaemon, WireError, type Exchange } from "./server.js";

let daemon: TestDaemon;
let client: Client;

beforeEach(async () => {
  daemon = await TestDaemon.start();
  client = await connect(daemon.dataDir, { reconnect: { initialMs: 2, maxMs: 20 } });
});

afterEach(async () => {
  await client.close();
  await daemon.stop();
});

function send({ id, peer }: Exchange, ...items: unknown[]): void {
  peer.send(...items.map((item) => ({ jsonrpc: "2.0", method: "$/item", params: { id, item } })));
}

/** Read to the end; what came, and what ended it. */
async function collect(stream: AsyncIterable<unknown>): Promise<{ items: unknown[]; error: unknown }> {
  const items: unknown[] = [];
  try {
    for await (const item of stream) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

describe("a stream", { timeout: 10_000 }, () => {
  test("yields its items in order and ends with its answer", async () => {
    daemon.operations.set("count", (params, exchange) => {
      send(exchange, ...Array.from({ length: params["to"] as number }, (_, n) => n));
      return null;
    });
    assert.deepEqual(await collect(client.requestStream("count", { to: 0 })), { items: [], error: undefined });
    const { items, error } = await collect(client.requestStream("count", { to: 3000 }));
    assert.deepEqual([items, error], [Array.from({ length: 3000 }, (_, n) => n), undefined]);
  });

  test("that nobody reads is not asked for", async () => {
    client.requestStream("count", {});
    await client.request("echo");
    assert.equal(daemon.received("count").length, 0);
  });

  test("is cancelled by leaving the loop", async () => {
    daemon.operations.set("endless", (_, exchange) => (send(exchange, 1, 2, 3), forever()));
    for await (const item of client.requestStream("endless")) {
      if (item === 2) break;
    }
    await daemon.until(() => daemon.received("$/cancelRequest").length === 1);
    assert.equal(daemon.received("$/cancelRequest")[0]?.params["id"], daemon.received("endless")[0]?.id);
  });

  test("is cancelled by its signal, and yields nothing behind it", async () => {
    daemon.operations.set("endless", (_, exchange) => (send(exchange, 1, 2, 3), forever()));
    const controller = new AbortController();
    const items: unknown[] = [];
    const reading = (async () => {
      for await (const item of client.requestStream("endless", {}, { signal: controller.signal })) {
        items.push(item);
        controller.abort();
      }
    })();
    await assert.rejects(reading, { name: "AbortError" });
    assert.deepEqual(items, [1]);
    await daemon.until(() => daemon.received("$/cancelRequest").length === 1);
  });

  test("raises the daemon's error behind the items that came", async () => {
    daemon.operations.set("breaks", (_, exchange) => {
      send(exchange, "a", "b");
      throw new WireError("conflict", "the run was deleted");
    });
    const { items, error } = await collect(client.requestStream("breaks"));
    assert.deepEqual(items, ["a", "b"]);
    assert.ok(error instanceof errors.ConflictError);
  });

  test("raises ConnectionLostError when the connection is lost under it", async () => {
    daemon.operations.set("breaks", (_, exchange) => {
      send(exchange, "a");
      exchange.peer.socket.end();
      return forever();
    });
    const { items, error } = await collect(client.requestStream("breaks"));
    assert.deepEqual(items, ["a"]);
    assert.ok(error instanceof errors.ConnectionLostError);
  });

  test("that outruns its reader fails with the limit, and is cancelled", async () => {
    daemon.operations.set("flood", (_, exchange) => {
      send(exchange, ...Array.from({ length: 50 }, (_unused, n) => n));
      return forever();
    });
    const { items, error } = await collect(client.requestStream("flood", {}, { maxBuffered: 20 }));
    assert.equal(items.length, 21);
    assert.ok(error instanceof errors.TooLargeError);
    assert.deepEqual([error.kind, error.limit], ["too_large", 20]);
    await daemon.until(() => daemon.received("$/cancelRequest").length === 1);
  });
});
