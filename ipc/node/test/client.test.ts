import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, test } from "node:test";
import { connect, type Client, type ConnectionState, type ConnectOptions } from "../src/index.js";
import * as errors from "../src/errors.js";
import { PROTOCOL, VERSION } from "../src/version.js";
import { forever, TestDaemon, WireError } from "./server.js";

const LIMIT = { timeout: 10_000 };
const QUICK = { initialMs: 2, maxMs: 20 };

let daemon: TestDaemon;
let clients: Client[];

beforeEach(async () => {
  daemon = await TestDaemon.start();
  clients = [];
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await daemon.stop();
});

let stateChanged: () => void;

async function open(options: ConnectOptions = {}): Promise<Client> {
  stateChanged = () => undefined;
  const onStateChange = (state: ConnectionState): void => {
    options.onStateChange?.(state);
    stateChanged();
  };
  const client = await connect(daemon.dataDir, { reconnect: QUICK, ...options, onStateChange });
  clients.push(client);
  return client;
}

/** Wait until the client, last opened, has noticed. */
async function reach(client: Client, state: ConnectionState): Promise<void> {
  while (client.state !== state) await new Promise<void>((resolve) => (stateChanged = resolve));
}

describe("connecting", LIMIT, () => {
  test("introduces itself and keeps the daemon's answer", async () => {
    const client = await open({ client: { name: "shell", version: "9" }, workspace: "w" });
    assert.deepEqual(daemon.requests[0]?.params, {
      client: { name: "shell", version: "9" }, workspace: "w", protocol: PROTOCOL,
      ...(process.platform === "win32" ? { token: "t" } : {}),
    });
    assert.equal(client.server.incarnation, "i1");
    assert.equal(client.state, "connected");
  });

  test("names itself and its version by default, the version of package.json", async () => {
    await open();
    const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    assert.equal(VERSION, manifest.version);
    assert.deepEqual(daemon.requests[0]?.params["client"], { name: "@coder-local/client", version: VERSION });
  });

  test("to a stale runtime.json says that nobody answers", async () => {
    await daemon.down();
    await assert.rejects(open(), (error) => error instanceof errors.ConnectionLostError && /nobody answers at/.test(error.message));
  });

  test("to a daemon that does not answer gives up in time", async () => {
    daemon.operations.set("initialize", forever);
    await assert.rejects(open({ timeoutMs: 30 }), (error) => error instanceof errors.TimeoutError_ && /within 30 ms/.test(error.message));
  });

  test("to a daemon of another protocol says who must be updated", async () => {
    daemon.operations.set("initialize", () => ({ protocol: 2, version: "3.0.0" }));
    await assert.rejects(open(), (error) => error instanceof errors.UnsupportedError && error.hint === "update @coder-local/client");
  });

  test("to the daemon of another folder, whose runtime.json was copied, is refused", async () => {
    const introduce = daemon.operations.get("initialize");
    daemon.operations.set("initialize", (params, exchange) => ({ ...(introduce?.(params, exchange) as object), data_dir: tmpdir() }));
    await assert.rejects(open(), (error) => error instanceof errors.ConnectionLostError && /serves .*, not .*coder-local-/.test(error.message));
  });

  test("to a daemon that refuses raises its refusal", async () => {
    daemon.operations.set("initialize", () => {
      throw new WireError("refused", "another user");
    });
    await assert.rejects(open(), errors.RefusedError);
  });
});

describe("calls", LIMIT, () => {
  test("send the input and answer the output", async () => {
    daemon.operations.set("planning.tasks.create", (params) => ({ id: "1", rev: 1, ...params }));
    const client = await open();
    const task = await client.planning.tasks.create({ title: "zażółć 🦊" });
    assert.deepEqual([task.title, task.rev], ["zażółć 🦊", 1]);
    assert.deepEqual(await client.call("planning.tasks.create", { title: "b" }), { id: "1", rev: 1, title: "b" });
  });

  test("carry their options under the names of the wire", async () => {
    daemon.operations.set("planning.tasks.create", (params) => params);
    const client = await open();
    const sent = await client.planning.tasks.create({ title: "a" }, { ifRev: 0, idempotencyKey: "k", confirm: "c" });
    assert.deepEqual(sent, { title: "a", if_rev: 0, idempotency_key: "k", confirm: "c" });
  });

  test("of a misspelt name do not exist", async () => {
    const client = await open();
    const tasks = client.planning.tasks as unknown as Record<string, unknown>;
    assert.equal(typeof tasks["create"], "function");
    assert.equal(tasks["creat"], undefined);
    assert.equal(tasks["constructor"], undefined);
  });

  test("of operations that this build does not know go by their name", async () => {
    const client = await open();
    assert.deepEqual(await client.request("echo", { a: 1 }), { a: 1 });
    await assert.rejects(client.request("echoes"), errors.NotFoundError);
  });

  test("are answered in any order", async () => {
    const release: (() => void)[] = [];
    daemon.operations.set("wait", (params) => new Promise((resolve) => release.push(() => resolve(params["n"]))));
    const client = await open();
    const answers = [1, 2, 3].map((n) => client.request("wait", { n }));
    await daemon.until(() => release.length === 3);
    for (const answer of release.reverse()) answer();
    assert.deepEqual(await Promise.all(answers), [1, 2, 3]);
  });

  test("by the thousand find their own answers", async () => {
    const client = await open();
    const answers = await Promise.all(Array.from({ length: 5000 }, (_, n) => client.request("echo", { n })));
    assert.ok(answers.every((answer, n) => (answer as { n: number }).n === n));
  });

  test("reject with the class of the error", async () => {
    daemon.operations.set("planning.tasks.create", () => {
      throw new WireError("stale", "somebody else wrote it", { data: { current: { rev: 5 } } });
    });
    const client = await open();
    await assert.rejects(client.planning.tasks.create({ title: "a" }), (error) => {
      assert.ok(error instanceof errors.StaleError);
      assert.deepEqual(error.current, { rev: 5 });
      return true;
    });
  });

  test("that cannot be sent reject, name the fault, and harm nothing", async () => {
    const client = await open();
    await assert.rejects(client.request("echo", { n: 1n }), TypeError);
    await assert.rejects(client.request("echo", { due: [NaN] }), (error) => error instanceof errors.InvalidError && /NaN/.test(error.message));
    await assert.rejects(
      client.request("echo", { text: "ż".repeat(9_000_000) }, { idempotencyKey: "k" }),
      (error) => error instanceof errors.TooLargeError && error.limit === 16 * 1024 * 1024,
    );
    assert.deepEqual(await client.request("echo", { n: 1 }), { n: 1 });
  });

  test("report their progress", async () => {
    daemon.operations.set("long", (_, { id, peer }) => {
      peer.notify("$/progress", { id, done: 1, total: 4, message: "a" });
      peer.notify("$/progress", { id, done: 2, total: null });
      peer.notify("$/progress", { id: 999, done: 3 });
      return "done";
    });
    const client = await open();
    const seen: unknown[] = [];
    assert.equal(await client.request("long", {}, { onProgress: (progress) => seen.push(progress) }), "done");
    assert.deepEqual(seen, [{ done: 1, total: 4, message: "a" }, { done: 2 }]);
  });

  test("answered together as a batch are told apart", async () => {
    const waiting: number[] = [];
    daemon.operations.set("pair", (_, { id, peer }) => {
      waiting.push(id);
      if (waiting.length === 2) {
        peer.socket.write(frameOf(waiting.map((one) => ({ jsonrpc: "2.0", id: one, result: one }))));
      }
      return forever();
    });
    const client = await open();
    const answers = await Promise.all([client.request("pair"), client.request("pair")]);
    assert.deepEqual(answers, waiting);
  });
});

describe("cancelling", LIMIT, () => {
  test("rejects at once with the signal's reason, and tells the daemon which call", async () => {
    let cancelled: AbortSignal | undefined;
    daemon.operations.set("slow", (_, exchange) => {
      cancelled = exchange.cancelled;
      return forever();
    });
    const client = await open();
    const controller = new AbortController();
    const answer = client.request("slow", {}, { signal: controller.signal });
    await daemon.until(() => cancelled !== undefined);
    const reason = new Error("changed my mind");
    controller.abort(reason);
    await assert.rejects(answer, (error) => error === reason);
    await daemon.until(() => cancelled?.aborted === true);
    assert.deepEqual(daemon.received("$/cancelRequest").map(({ params }) => params["id"]), daemon.received("slow").map(({ id }) => id));
  });

  test("before sending sends nothing", async () => {
    const client = await open();
    await assert.rejects(client.request("echo", {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
    await client.request("echo", { last: true });
    assert.equal(daemon.received("echo").length, 1);
  });

  test("drops the late answer, and an answered call is not cancelled any more", async () => {
    daemon.operations.set("slow", (_, { cancelled }) =>
      new Promise((_resolve, reject) =>
        cancelled.addEventListener("abort", () => reject(new WireError("timeout", "cancelled", { data: { cancelled: true } }))),
      ),
    );
    const client = await open();
    await assert.rejects(client.request("slow", {}, { signal: AbortSignal.timeout(5) }), { name: "TimeoutError" });
    const controller = new AbortController();
    await client.request("echo", {}, { signal: controller.signal });
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
    controller.abort();
    await client.request("echo");
    assert.equal(daemon.received("$/cancelRequest").length, 1);
  });

  test("while there is no connection forgets the call", async () => {
    const client = await open();
    await daemon.down();
    await reach(client, "reconnecting");
    await assert.rejects(client.request("echo", { n: 1 }, { signal: AbortSignal.timeout(5) }), { name: "TimeoutError" });
    const after = client.request("echo", { n: 2 });
    await daemon.listen();
    await after;
    assert.deepEqual(daemon.received("echo").map(({ params }) => params["n"]), [2]);
  });
});

describe("a lost connection", LIMIT, () => {
  async function lose(call: (client: Client) => Promise<unknown>, method: string): Promise<errors.ConnectionLostError> {
    daemon.operations.set(method, forever);
    const client = await open();
    const answer = call(client);
    await daemon.until(() => daemon.received(method).length === 1);
    daemon.drop();
    const error: unknown = await answer.then(() => undefined, (reason: unknown) => reason);
    assert.ok(error instanceof errors.ConnectionLostError);
    assert.equal(daemon.received(method).length, 1);
    return error;
  }

  test("leaves a command in doubt, and says so", async () => {
    const error = await lose((client) => client.planning.tasks.create({ title: "a" }), "planning.tasks.create");
    assert.equal(error.maybeCarriedOut, true);
    assert.match(error.message, /before planning\.tasks\.create was answered; it may have been carried out/);
    assert.match(error.hint ?? "", /idempotencyKey/);
  });

  test("leaves no doubt about a query", async () => {
    const error = await lose((client) => client.planning.tasks.list(), "planning.tasks.list");
    assert.equal(error.maybeCarriedOut, false);
    assert.match(error.message, /only reads, so nothing was changed/);
  });

  test("does not lose a call with an idempotency key", async () => {
    let times = 0;
    daemon.operations.set("planning.tasks.create", (params) => {
      times += 1;
      return times === 1 ? (daemon.drop(), forever()) : { ...params, id: "1" };
    });
    const client = await open();
    const first = client.planning.tasks.create({ title: "a" }, { idempotencyKey: "k" });
    await reach(client, "reconnecting");
    const later = client.request("echo", { n: 1 });
    assert.equal((await first).id, "1");
    await later;
    const keys = daemon.received("planning.tasks.create").map(({ params }) => params["idempotency_key"]);
    assert.deepEqual(keys, ["k", "k"]);
    assert.deepEqual(daemon.requests.slice(-2).map(({ method }) => method), ["planning.tasks.create", "echo"]);
  });

  test("is not tried for ever on a call that brings the daemon down", async () => {
    daemon.operations.set("planning.tasks.create", () => (daemon.drop(), forever()));
    const client = await open();
    await assert.rejects(client.planning.tasks.create({ title: "a" }, { idempotencyKey: "k" }), (error) => {
      assert.ok(error instanceof errors.ConnectionLostError && error.maybeCarriedOut);
      assert.match(error.message, /sent 4 times/);
      return true;
    });
    assert.equal(daemon.received("planning.tasks.create").length, 4);
  });

  test("comes back at another socket; calls made meanwhile are sent then, in order", async () => {
    const states: string[] = [];
    const client = await open({ onStateChange: (state) => states.push(state) });
    await daemon.down();
    await reach(client, "reconnecting");
    const calls = [1, 2, 3].map((n) => client.request("echo", { n }));
    await daemon.listen();
    assert.deepEqual(await Promise.all(calls), [{ n: 1 }, { n: 2 }, { n: 3 }]);
    assert.deepEqual(daemon.received("echo").map(({ params }) => params["n"]), [1, 2, 3]);
    assert.equal(client.server.incarnation, "i2");
    await client.close();
    assert.deepEqual(states, ["connected", "reconnecting", "connected", "closed"]);
  });

  test("survives a daemon that hangs up during initialize", async () => {
    const client = await open();
    const introduce = daemon.operations.get("initialize");
    let hangUps = 0;
    daemon.operations.set("initialize", (params, exchange) => {
      hangUps += 1;
      return hangUps <= 2 ? (exchange.peer.socket.destroy(), forever()) : introduce?.(params, exchange);
    });
    daemon.drop();
    await reach(client, "reconnecting");
    assert.deepEqual(await client.request("echo", { n: 1 }), { n: 1 });
    assert.equal(hangUps, 3);
  });

  test("to a daemon of another protocol closes the client with the reason", async () => {
    const client = await open();
    daemon.operations.set("initialize", () => ({ protocol: 2, version: "3.0.0" }));
    daemon.drop();
    await reach(client, "closed");
    await assert.rejects(client.request("echo"), /speaks protocol 2.*echo was not sent, so nothing was carried out/);
  });

  test("closes the client that does not want to reconnect", async () => {
    const client = await open({ reconnect: false });
    daemon.drop();
    await reach(client, "closed");
    await assert.rejects(client.request("echo"), errors.ConnectionLostError);
  });

  for (const [fault, bytes] of [
    ["bytes that are no frame", "HTTP/1.1 400 Bad Request\r\n\r\n"],
    ["an error for no call", 'Content-Length: 60\r\n\r\n{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}'.replace("60", "64")],
    ["a message that is no object", "Content-Length: 4\r\n\r\nnull"],
  ] as const) {
    test(`follows ${fault}, and the next one works`, async () => {
      daemon.operations.set("spoil", (_, { peer }) => {
        peer.socket.write(bytes);
        return forever();
      });
      const client = await open();
      await assert.rejects(client.request("spoil"), errors.ConnectionLostError);
      assert.deepEqual(await client.request("echo", { n: 1 }), { n: 1 });
    });
  }
});

describe("closing", LIMIT, () => {
  test("rejects what is under way and what comes after", async () => {
    daemon.operations.set("slow", forever);
    const client = await open();
    const answer = assert.rejects(client.request("slow"), (error) => error instanceof errors.ConnectionLostError && error.maybeCarriedOut);
    await daemon.until(() => daemon.received("slow").length === 1);
    await client.close();
    await answer;
    await assert.rejects(client.request("echo"), /the client was closed: echo was not sent/);
    await daemon.until(() => daemon.peers.size === 0);
  });

  test("while reconnecting ends the attempts", async () => {
    const client = await open();
    await daemon.down();
    await reach(client, "reconnecting");
    const waiting = assert.rejects(client.request("echo"), /was not sent, so nothing was carried out/);
    await client.close();
    await waiting;
    await daemon.listen();
    assert.equal(client.state, "closed");
  });

  test("is done by `await using`'s protocol, and twice harms nothing", async () => {
    const client = await open();
    await client[Symbol.asyncDispose]();
    await client.close();
    assert.equal(client.state, "closed");
  });
});

function frameOf(message: unknown): string {
  const text = JSON.stringify(message);
  return `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}
