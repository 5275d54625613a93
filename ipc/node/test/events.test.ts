import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import * as errors from "../src/errors.js";
import { connect, isEvent, type Client, type KnownEvent, type Reset, type Subscription } from "../src/index.js";
import { forever, TestDaemon, WireError } from "./server.js";

const LIMIT = { timeout: 10_000 };

let daemon: TestDaemon;
let client: Client;
let seen: (KnownEvent | Reset)[];
let arrived: () => void;

beforeEach(async () => {
  daemon = await TestDaemon.start();
  client = await connect(daemon.dataDir, { reconnect: { initialMs: 2, maxMs: 20 } });
  seen = [];
  arrived = () => undefined;
});

afterEach(async () => {
  await client.close();
  await daemon.stop();
});

function note(item: KnownEvent | Reset): void {
  seen.push(item);
  arrived();
}

/** Wait until so many items have come, and say what they are. */
async function items(count: number): Promise<unknown[]> {
  while (seen.length < count) await new Promise<void>((resolve) => (arrived = resolve));
  return seen.map((item) => (item.type === "reset" ? [item.type, item.reason, item.head] : item.sequence));
}

/** Wait until everything that the daemon has sent was received: answers come behind the notifications before them. */
async function settle(): Promise<void> {
  await client.request("echo");
}

describe("a subscription", LIMIT, () => {
  test("gets the events from now on, typed, and knows its cursor", async () => {
    daemon.emit();
    const subscription = await client.events.subscribe({}, note);
    assert.equal(subscription.cursor, "e1:1");
    daemon.emit("planning.task.updated");
    assert.deepEqual(await items(1), [2]);
    const [event] = seen;
    assert.ok(event !== undefined && isEvent(event, "planning.task.updated"));
    assert.deepEqual([event.data.rev, event.subject, event.id], [1, "planning.task/1", "e1:2"]);
    await settle();
    assert.equal(subscription.cursor, "e1:2");
  });

  test("begins behind its cursor, and no event comes before the subscription is in hand", async () => {
    for (let i = 0; i < 5; i += 1) daemon.emit();
    const subscription: Subscription = await client.events.subscribe({ cursor: "e1:2" }, (item) => {
      assert.equal(subscription.closed, false);
      note(item);
    });
    assert.deepEqual(await items(3), [3, 4, 5]);
  });

  test("asks for types and subjects, and gives the events of exactly those types", async () => {
    const types = ["planning.task.created", "notes.*"] as const;
    await client.events.subscribe({ types, subjects: ["planning.task/*"] }, note as (item: { type: string }) => void);
    assert.deepEqual(daemon.received("events.subscribe")[0]?.params, { types: [...types], subjects: ["planning.task/*"] });
    daemon.emit("planning.task.updated");
    daemon.emit("notes.note.pinned");
    daemon.emit("planning.task.created");
    assert.deepEqual(await items(2), [2, 3]);
  });

  test("that the daemon refuses rejects", async () => {
    daemon.operations.set("events.subscribe", () => {
      throw new WireError("invalid", "a cursor is <epoch>:<seq>", { field: "/cursor" });
    });
    await assert.rejects(client.events.subscribe({ cursor: "x" }, note), (error) => error instanceof errors.InvalidError && error.field === "/cursor");
  });

  test("once closed gets nothing more, not even what has arrived", async () => {
    for (let i = 0; i < 3; i += 1) daemon.emit();
    const subscription: Subscription = await client.events.subscribe({ cursor: "e1:0" }, (item) => {
      note(item);
      subscription.close();
    });
    await items(1);
    daemon.emit();
    await daemon.until(() => daemon.received("events.unsubscribe").length === 1);
    await settle();
    assert.deepEqual(await items(1), [1]);
    assert.equal(subscription.closed, true);
  });

  test("ends silently when the client is closed", async () => {
    const subscription = await client.events.subscribe({ onError: (error) => assert.fail(String(error)) }, note);
    await client.close();
    assert.equal(subscription.closed, true);
    await assert.rejects(client.events.subscribe({}, note), /the client was closed/);
  });

  test("that waits for the daemon's answer rejects when the client is closed", async () => {
    daemon.operations.set("events.subscribe", forever);
    const rejected = assert.rejects(client.events.subscribe({}, note), errors.ConnectionLostError);
    await daemon.until(() => daemon.received("events.subscribe").length === 1);
    await client.close();
    await rejected;
  });
});

describe("after a lost connection a subscription", LIMIT, () => {
  test("resumes behind the last event, without a gap or a double", async () => {
    await client.events.subscribe({}, note);
    daemon.emit();
    daemon.emit();
    await items(2);
    await daemon.down();
    daemon.emit();
    daemon.emit();
    await daemon.listen();
    await items(4);
    daemon.emit();
    assert.deepEqual(await items(5), [1, 2, 3, 4, 5]);
    assert.deepEqual(daemon.received("events.subscribe").map(({ params }) => params["cursor"]), [undefined, "e1:2"]);
  });

  test("that had no event yet misses none that was said meanwhile", async () => {
    daemon.emit();
    await client.events.subscribe({}, note);
    await daemon.down();
    daemon.emit();
    await daemon.listen();
    assert.deepEqual(await items(1), [2]);
  });

  test("made while there is none begins when it is back", async () => {
    await daemon.down();
    daemon.emit();
    const subscribed = client.events.subscribe({ cursor: "e1:0" }, note);
    await daemon.listen();
    await subscribed;
    assert.deepEqual(await items(1), [1]);
  });

  test("survives one that is lost while it resumes", async () => {
    await client.events.subscribe({}, note);
    const subscribe = daemon.operations.get("events.subscribe");
    let asked = 0;
    daemon.operations.set("events.subscribe", (params, exchange) => {
      asked += 1;
      return asked < 3 ? (exchange.peer.socket.destroy(), forever()) : subscribe?.(params, exchange);
    });
    daemon.drop();
    daemon.emit();
    assert.deepEqual(await items(1), [1]);
    assert.equal(asked, 3);
  });

  test("keeps its order through fifty losses under load", async () => {
    await client.events.subscribe({}, note);
    for (let round = 1; round <= 50; round += 1) {
      for (let i = 0; i < 20; i += 1) daemon.emit();
      daemon.drop();
      for (let i = 0; i < 20; i += 1) daemon.emit();
      await items(round * 40);
    }
    assert.deepEqual(await items(2000), Array.from({ length: 2000 }, (_, i) => i + 1));
  });

  test("that the daemon has no room for waits as long as it is told", async () => {
    await client.events.subscribe({}, note);
    const subscribe = daemon.operations.get("events.subscribe");
    let asked = 0;
    daemon.operations.set("events.subscribe", (params, exchange) => {
      asked += 1;
      if (asked < 3) throw new WireError("rate_limited", "too many", { data: { retry_after_ms: 5 } });
      return subscribe?.(params, exchange);
    });
    daemon.drop();
    daemon.emit();
    assert.deepEqual(await items(1), [1]);
    assert.equal(asked, 3);
  });

  test("closed while it resumes is taken back at the daemon", async () => {
    const subscription = await client.events.subscribe({}, note);
    const subscribe = daemon.operations.get("events.subscribe");
    let release: () => void = () => undefined;
    daemon.operations.set("events.subscribe", async (params, exchange) => {
      await new Promise<void>((resolve) => (release = resolve));
      return subscribe?.(params, exchange);
    });
    daemon.drop();
    await daemon.until(() => daemon.received("events.subscribe").length === 2);
    subscription.close();
    release();
    await daemon.until(() => daemon.received("events.unsubscribe").length === 1);
    assert.deepEqual(daemon.received("events.unsubscribe")[0]?.params, { subscription: "s2" });
  });

  test("that cannot resume is closed, and its owner is told", async () => {
    const told: unknown[] = [];
    let tell: () => void = () => undefined;
    const wasTold = new Promise<void>((resolve) => (tell = resolve));
    const subscription = await client.events.subscribe({ onError: (error) => (told.push(error), tell()) }, note);
    daemon.operations.set("events.subscribe", () => {
      throw new WireError("refused", "the grant was taken back");
    });
    daemon.drop();
    await wasTold;
    assert.ok(told.length === 1 && told[0] instanceof errors.RefusedError);
    assert.equal(subscription.closed, true);
  });
});

describe("a reset", LIMIT, () => {
  test("reaches the handler in its place, and the events go on from the head", async () => {
    for (let i = 0; i < 5; i += 1) daemon.emit();
    daemon.oldest = 4;
    const subscription = await client.events.subscribe({ cursor: "e1:1" }, note);
    daemon.emit();
    assert.deepEqual(await items(2), [["reset", "too_old", "e1:5"], 6]);
    await settle();
    assert.equal(subscription.cursor, "e1:6");
  });

  test("of another epoch begins the numbers anew, and the connection lost after it resumes there", async () => {
    const subscription = await client.events.subscribe({}, note);
    for (let i = 0; i < 3; i += 1) daemon.emit();
    await items(3);
    await daemon.down();
    daemon.epoch = "e2";
    daemon.log.length = 0;
    await daemon.listen();
    await items(4);
    daemon.emit();
    await items(5);
    daemon.drop();
    daemon.emit();
    assert.deepEqual(await items(6), [1, 2, 3, ["reset", "other_epoch", "e2:0"], 1, 2]);
    assert.equal(daemon.received("events.subscribe").at(-1)?.params["cursor"], "e2:1");
    await settle();
    assert.equal(subscription.cursor, "e2:2");
  });

  test("for a cursor ahead of the log lets the lower numbers through", async () => {
    daemon.emit();
    await client.events.subscribe({ cursor: "e1:900" }, note);
    daemon.emit();
    assert.deepEqual(await items(2), [["reset", "ahead", "e1:1"], 2]);
  });
});

describe("delivery", LIMIT, () => {
  test("never happens twice, nor backwards, whatever the daemon sends", async () => {
    await client.events.subscribe({}, note);
    const [peer] = daemon.peers;
    assert.ok(peer !== undefined);
    const events = [1, 2, 3, 4].map(() => daemon.emit());
    for (const again of [events[3], events[0], events[2], events[3]]) {
      peer.notify("events.event", { subscription: "s1", cursor: again?.id, event: again });
    }
    peer.notify("events.event", { subscription: "s999", cursor: "e1:50", event: events[0] });
    daemon.emit();
    await settle();
    assert.deepEqual(await items(5), [1, 2, 3, 4, 5]);
  });

  test("waits for a handler that works, and it may call the daemon meanwhile", async () => {
    const order: string[] = [];
    await client.events.subscribe({}, async (item) => {
      if (item.type === "reset") return;
      order.push(`begin ${item.sequence}`);
      await client.request("echo");
      order.push(`end ${item.sequence}`);
      note(item);
    });
    for (let i = 0; i < 3; i += 1) daemon.emit();
    await items(3);
    assert.deepEqual(order, ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]);
  });

  test("goes on after a handler that throws or rejects, and its owner is told", async () => {
    const told: unknown[] = [];
    await client.events.subscribe({ onError: (error) => told.push(error) }, (item) => {
      note(item);
      if (item.type === "reset" || item.sequence === 1) throw new Error("thrown");
      return item.sequence === 2 ? Promise.reject(new Error("rejected")) : undefined;
    });
    for (let i = 0; i < 3; i += 1) daemon.emit();
    assert.deepEqual(await items(3), [1, 2, 3]);
    assert.deepEqual(told.map(String), ["Error: thrown", "Error: rejected"]);
  });

  test("to a slow handler holds few in memory, and reads the rest again from the log", async () => {
    const held: (() => void)[] = [];
    await client.events.subscribe({ maxBuffered: 10 }, async (item) => {
      note(item);
      if (seen.length === 1) await new Promise<void>((resolve) => held.push(resolve));
    });
    for (let i = 0; i < 100; i += 1) daemon.emit();
    await daemon.until(() => daemon.received("events.unsubscribe").length === 1);
    for (let i = 0; i < 100; i += 1) daemon.emit();
    await settle();
    assert.deepEqual(await items(1), [1]);
    for (const release of held) release();
    assert.deepEqual(await items(200), Array.from({ length: 200 }, (_, i) => i + 1));
    assert.equal(daemon.received("events.subscribe")[1]?.params["cursor"], "e1:12");
  });

  test("to two subscriptions is apart", async () => {
    const other: string[] = [];
    const first = await client.events.subscribe({ types: ["planning.task.created"] }, note);
    await client.events.subscribe({ types: ["planning.*"] }, (item) => other.push(item.type));
    daemon.emit("planning.task.created");
    daemon.emit("planning.task.deleted");
    await settle();
    first.close();
    daemon.emit("planning.task.created");
    await settle();
    assert.deepEqual(await items(1), [1]);
    assert.deepEqual(other, ["planning.task.created", "planning.task.deleted", "planning.task.created"]);
  });
});
