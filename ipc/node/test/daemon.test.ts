/** The client against the real daemon. What the other files ask of a server made for them is true of this one. */
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import * as errors from "../src/errors.js";
import { connect, isEvent, readRuntime, type Client, type ConnectionState, type KnownEvent, type Reset } from "../src/index.js";
import { Daemon } from "./daemon.js";

const LIMIT = { timeout: 120_000 };
const QUICK = { initialMs: 5, maxMs: 100 };

let daemon: Daemon;
let client: Client;
let projects = 0;

function shared(...plugins: string[]): void {
  before(async () => {
    daemon = await Daemon.start(...plugins);
    client = await connect(daemon.dataDir, { reconnect: QUICK });
  });
  after(async () => {
    await client.close();
    await daemon.remove();
  });
}

function eachItsOwn(): void {
  beforeEach(async () => {
    daemon = await Daemon.start();
    client = await connect(daemon.dataDir, { reconnect: QUICK });
  });
  afterEach(async () => {
    await client.close();
    await daemon.remove();
  });
}

async function newProject(): Promise<string> {
  projects += 1;
  return (await client.planning.projects.create({ name: "An example", key: `EX${projects}` })).id;
}

/** Return what a call is rejected with, which must be of that class. */
async function failure<E extends Error>(kind: abstract new (...args: never[]) => E, call: Promise<unknown>): Promise<E> {
  const error: unknown = await call.then(() => assert.fail("it was answered"), (reason: unknown) => reason);
  assert.ok(error instanceof kind, String(error));
  return error;
}

/** What a subscription has brought, and a way to wait for more. */
class Seen {
  readonly items: (KnownEvent | Reset)[] = [];
  #arrived = (): void => undefined;

  readonly note = (item: KnownEvent | Reset): void => {
    this.items.push(item);
    this.#arrived();
  };

  async until(condition: (items: (KnownEvent | Reset)[]) => boolean): Promise<void> {
    while (!condition(this.items)) await new Promise<void>((resolve) => (this.#arrived = resolve));
  }

  /** The ids of the records that the events are about, in the order they came. */
  ids(): string[] {
    return this.items.map((item) => (isEvent(item, "planning.task.created") ? item.data.id : item.type));
  }
}

describe("the real daemon is found", LIMIT, () => {
  eachItsOwn();

  test("by its runtime.json, which says what its ready line says", async () => {
    const found = await readRuntime(daemon.dataDir);
    const { event, ...line } = daemon.ready;
    assert.equal(event, "ready");
    for (const [name, value] of Object.entries(line)) assert.equal(found[name as keyof typeof found], value, name);
    assert.deepEqual(
      [client.server.incarnation, client.server.pid, client.server.http, client.server.protocol],
      [line.incarnation, line.pid, line.http, 1],
    );
    assert.deepEqual([...client.server.scopes].sort(), ["destructive", "external", "read", "write"]);
  });

  test("in the workspace that is asked for", async () => {
    const other = await connect(daemon.dataDir, { workspace: "elsewhere" });
    try {
      assert.equal(other.server.workspace, "elsewhere");
      const task = await other.planning.tasks.create({ title: "there" });
      assert.equal(task.workspace_id, "elsewhere");
      assert.deepEqual((await other.planning.tasks.list()).items, [task]);
      assert.deepEqual((await client.planning.tasks.list()).items, []);
    } finally {
      await other.close();
    }
  });

  test("no more once it was killed: its stale runtime.json is not believed", async () => {
    await daemon.kill();
    assert.equal((await readRuntime(daemon.dataDir)).pid, daemon.ready.pid);
    await failure(errors.ConnectionLostError, connect(daemon.dataDir));
  });

  test("no more once it was stopped, and it ends with 0", async () => {
    await client.daemon.stop();
    assert.equal(await daemon.ended(), 0);
    const error = await failure(errors.ConnectionLostError, connect(daemon.dataDir));
    assert.match(error.message, /no daemon is running/);
  });
});

describe("typed calls of the real daemon", LIMIT, () => {
  shared();

  test("create, get, update and list tasks", async () => {
    const project = await newProject();
    const task = await client.planning.tasks.create({ title: "zażółć 🦊", project, priority: "high", tags: ["a", "b"] });
    assert.deepEqual([task.title, task.rev, task.priority, task.status, task.tags], ["zażółć 🦊", 1, "high", "todo", ["a", "b"]]);
    assert.deepEqual(await client.planning.tasks.get({ id: task.id }), task);

    const updated = await client.planning.tasks.update({ id: task.id, due: "2026-12-24" }, { ifRev: 1 });
    assert.deepEqual([updated.rev, updated.due, updated.title], [2, "2026-12-24", task.title]);
    assert.deepEqual((await client.call("planning.tasks.list", { project })).items, [updated]);
  });

  test("list page by page, each record once", async () => {
    const project = await newProject();
    const made = await Promise.all(Array.from({ length: 25 }, (_, n) => client.planning.tasks.create({ title: `${n}`, project })));
    const listed: string[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const page: Awaited<ReturnType<typeof client.planning.tasks.list>> = await client.planning.tasks.list({ project, limit: 10, cursor });
      listed.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
      pages += 1;
    } while (cursor !== null);
    assert.equal(pages, 3);
    assert.deepEqual(listed.sort(), made.map(({ id }) => id).sort());
  });

  test("follow the record through its verbs", async () => {
    const project = await newProject();
    const first = await client.planning.tasks.create({ title: "first", project });
    const second = await client.planning.tasks.create({ title: "second", project });
    await client.planning.link({ source: first.key, target: second.key, kind: "blocks" });
    assert.deepEqual((await client.planning.ready({ project })).items.map(({ title }) => title), ["first"]);
    const { freed } = await client.planning.tasks.finish({ id: first.id });
    assert.deepEqual(freed.map(({ title }) => title), ["second"]);
  });

  test("find their own answers, 500 at once", async () => {
    const project = await newProject();
    const titles = Array.from({ length: 500 }, (_, n) => `task ${n}`);
    const tasks = await Promise.all(titles.map((title) => client.planning.tasks.create({ title, project })));
    assert.deepEqual(tasks.map(({ title }) => title), titles);
    assert.equal(new Set(tasks.map(({ key }) => key)).size, 500);
    const again = await Promise.all(tasks.map(({ id }) => client.planning.tasks.get({ id })));
    assert.deepEqual(again, tasks);
  });

  test("are equal for every operation that the daemon lists and this build knows", async () => {
    const { items } = await client.operations.list({ with_schemas: false });
    for (const { name } of items) {
      const found = name.split(".").reduce<unknown>((node, word) => (node as Record<string, unknown>)[word], client);
      assert.equal(typeof found, "function", `${name} is not in the generated client: run scripts/generate.py`);
    }
  });
});

describe("errors of the real daemon", LIMIT, () => {
  shared();

  test("name all faults of an input at once, with the cure", async () => {
    const input = { titel: "a", priority: "very", estimate: { likely: "long" } };
    const error = await failure(errors.InvalidError, client.request("planning.tasks.create", input));
    assert.deepEqual(new Set(error.faults.map(({ field }) => field)), new Set(["/titel", "/title", "/priority", "/estimate/likely"]));
    assert.equal(error.faults.find(({ field }) => field === "/titel")?.hint, "did you mean title?");
  });

  test("of one fault point at it", async () => {
    const error = await failure(errors.InvalidError, client.planning.tasks.create({ title: "" }));
    assert.equal(error.field, "/title");
    assert.deepEqual(error.faults.map(({ field }) => field), ["/title"]);
  });

  test("tell a missing record, and a misspelt operation with the nearest one", async () => {
    const missing = await failure(errors.NotFoundError, client.planning.tasks.get({ id: "nobody" }));
    assert.equal(missing.data["id"], "nobody");
    const misspelt = await failure(errors.NotFoundError, client.request("planning.tasks.creat", { title: "a" }));
    assert.equal(misspelt.hint, "did you mean planning.tasks.create?");
  });

  test("tell a cycle with the way it goes", async () => {
    const project = await newProject();
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((title) => client.planning.tasks.create({ title, project })));
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    await client.planning.link({ source: a.key, target: b.key, kind: "blocks" });
    await client.planning.link({ source: b.key, target: c.key, kind: "blocks" });
    const error = await failure(errors.ConflictError, client.planning.link({ source: c.key, target: a.key, kind: "blocks" }));
    assert.deepEqual(error.data["cycle"], [a.key, b.key, c.key, a.key]);
  });

  test("tell a stale revision with the record as it is now", async () => {
    const task = await client.planning.tasks.create({ title: "a" });
    const current = await client.planning.tasks.update({ id: task.id, title: "b" });
    const error = await failure(errors.StaleError, client.planning.tasks.update({ id: task.id, title: "c" }, { ifRev: task.rev }));
    assert.deepEqual(error.current, current);
    assert.deepEqual(await client.planning.tasks.get({ id: task.id }), current);
  });

  test("ask for a confirmation, which holds for that call once", async () => {
    await client.planning.tasks.create({ title: "to be written" });
    const input = { format: "markdown", path: join(daemon.dataDir, "tasks.md") } as const;
    const asked = await failure(errors.NeedsConfirmationError, client.planning.export_file(input));
    assert.ok(asked.token !== undefined);
    await client.planning.export_file(input, { confirm: asked.token });
    assert.match(await readFile(input.path, "utf8"), /to be written/);
    await failure(errors.NeedsConfirmationError, client.planning.export_file({ ...input, overwrite: true }, { confirm: asked.token }));
  });

  test("keep the same idempotency key from doing a thing twice, and from doing another", async () => {
    const project = await newProject();
    const once = await client.planning.tasks.create({ title: "once", project }, { idempotencyKey: "k1" });
    assert.deepEqual(await client.planning.tasks.create({ title: "once", project }, { idempotencyKey: "k1" }), once);
    await failure(errors.ConflictError, client.planning.tasks.create({ title: "other", project }, { idempotencyKey: "k1" }));
    assert.equal((await client.planning.tasks.list({ project })).items.length, 1);
  });
});

describe("a call of the real daemon", LIMIT, () => {
  shared("tests/cli/probe");

  before(async () => {
    const asked = await failure(errors.NeedsConfirmationError, client.plugins.enable({ name: "probe" }));
    await client.plugins.enable({ name: "probe" }, { confirm: asked.token });
  });

  test("is cancelled at both ends by its signal", async () => {
    const controller = new AbortController();
    const hanging = client.request("probe.hang", {}, { signal: controller.signal });
    await client.request("probe.until_hanging");
    const reason = new Error("changed my mind");
    controller.abort(reason);
    await assert.rejects(hanging, (error) => error === reason);
    await client.request("probe.until_cancelled", {}, { signal: AbortSignal.timeout(30_000) });
  });

  test("is cancelled when its connection closes", async () => {
    const other = await connect(daemon.dataDir);
    const hanging = failure(errors.ConnectionLostError, other.request("probe.hang"));
    await client.request("probe.until_hanging");
    await other.close();
    await hanging;
    await client.request("probe.until_cancelled", {}, { signal: AbortSignal.timeout(30_000) });
  });

  test("tells its progress", async () => {
    const seen: unknown[] = [];
    assert.equal(await client.request("probe.work", { steps: 2 }, { onProgress: (progress) => seen.push(progress) }), "worked");
    // The daemon may leave out steps that follow each other closely, never the last.
    assert.deepEqual(seen.at(-1), { done: 2, total: 2, message: "step 2" });
  });

  test("streams its items in order to the end", async () => {
    const items: unknown[] = [];
    for await (const item of client.requestStream("probe.count", { to: 5000 })) items.push(item);
    assert.deepEqual(items, Array.from({ length: 5000 }, (_, n) => n));
  });

  test("that streams without end is cancelled by leaving the loop", async () => {
    for await (const item of client.requestStream("probe.count", { to: 1_000_000_000 })) if (item === 3) break;
    assert.equal(await client.request("probe.work"), "worked");
  });
});

describe("a subscription of the real daemon", LIMIT, () => {
  eachItsOwn();
  const types = ["planning.task.created"] as const;

  function create(title: string): Promise<{ id: string }> {
    return client.planning.tasks.create({ title }, { idempotencyKey: crypto.randomUUID() });
  }

  test("gets each event once, in the order of the log, typed", async () => {
    const seen = new Seen();
    const subscription = await client.events.subscribe({ types }, seen.note);
    const task = await create("a");
    await seen.until((items) => items.length === 1);
    const [event] = seen.items;
    assert.ok(event !== undefined && isEvent(event, "planning.task.created"));
    assert.deepEqual([event.subject, event.data.rev, event.actor], [`planning.task/${task.id}`, 1, "user"]);
    assert.equal(subscription.cursor, event.id);
    assert.deepEqual((await client.events.list({ types: [...types] })).items, seen.items);
  });

  test("begins behind its cursor", async () => {
    const tasks = [await create("a"), await create("b"), await create("c")];
    const first = (await client.events.list({ types: [...types] })).items[0];
    const seen = new Seen();
    await client.events.subscribe({ types, cursor: first?.id }, seen.note);
    await seen.until((items) => items.length === 2);
    assert.deepEqual(seen.ids(), tasks.slice(1).map(({ id }) => id));
  });

  test("under load misses none of 3,000 events, nor gets one twice", async () => {
    const seen = new Seen();
    await client.events.subscribe({ types }, seen.note);
    const writers = await Promise.all([1, 2, 3].map(() => connect(daemon.dataDir)));
    const made = await Promise.all(writers.map(async (writer) => {
      const ids: string[] = [];
      for (let round = 0; round < 10; round += 1) {
        const tasks = await Promise.all(Array.from({ length: 100 }, (_, n) => writer.planning.tasks.create({ title: `${n}` })));
        ids.push(...tasks.map(({ id }) => id));
      }
      await writer.close();
      return ids;
    }));
    await seen.until((items) => items.length >= 3000);
    assert.deepEqual(seen.ids().sort(), made.flat().sort());
    const sequences = seen.items.map((item) => (item.type === "reset" ? -1 : item.sequence));
    assert.deepEqual(sequences, [...sequences].sort((a, b) => a - b));
  });

  test("resumes by itself after SIGKILL and a new start, with no event lost or doubled", async () => {
    const states: ConnectionState[] = [];
    const watcher = await connect(daemon.dataDir, { reconnect: QUICK, onStateChange: (state) => states.push(state) });
    const seen = new Seen();
    await watcher.events.subscribe({ types }, seen.note);
    const incarnations = new Set([watcher.server.incarnation]);
    const made: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      // Killed while calls are under way: each has a key, so the client sends it again, and it is done once.
      const under_way = Array.from({ length: 200 }, (_, n) => create(`${round} ${n}`));
      await under_way[0];
      await daemon.kill();
      await daemon.up();
      made.push(...(await Promise.all(under_way)).map(({ id }) => id));
      // Made after the new start, perhaps before the watcher is back.
      made.push((await create("after")).id);
      await seen.until((items) => items.length >= made.length);
      incarnations.add(watcher.server.incarnation);
    }
    assert.deepEqual(seen.ids().sort(), made.sort());
    assert.equal(new Set(made).size, 3 * 201);
    assert.equal(incarnations.size, 4);
    assert.ok(states.filter((state) => state === "reconnecting").length >= 3);
    await watcher.close();
  });

  test("is reset when the database is another one, and goes on there", async () => {
    const seen = new Seen();
    await client.events.subscribe({ types }, seen.note);
    await create("lost with its database");
    await seen.until((items) => items.length === 1);
    await daemon.kill();
    for (const end of ["", "-wal", "-shm"]) await rm(join(daemon.dataDir, `coder-local.db${end}`), { force: true });
    await daemon.up();
    await seen.until((items) => items.length === 2);
    const [before, reset] = seen.items;
    assert.ok(before?.type === "planning.task.created" && reset?.type === "reset");
    assert.equal(reset.reason, "other_epoch");
    assert.notEqual(reset.head.split(":")[0], before.id.split(":")[0]);
    const task = await create("in the new one");
    await seen.until((items) => items.length === 3);
    assert.equal(seen.ids()[2], task.id);
  });

  test("is reset for a cursor that lies ahead, and goes on from the head", async () => {
    await create("a");
    const [epoch, head] = (await client.daemon.status()).event_head.split(":");
    const seen = new Seen();
    await client.events.subscribe({ types, cursor: `${epoch}:${Number(head) + 1000}` }, seen.note);
    await seen.until((items) => items.length === 1);
    assert.deepEqual(seen.items, [{ type: "reset", reason: "ahead", head: `${epoch}:${head}` }]);
    const task = await create("b");
    await seen.until((items) => items.length === 2);
    assert.equal(seen.ids()[1], task.id);
  });

  test("with what is no cursor is refused", async () => {
    const error = await failure(errors.InvalidError, client.events.subscribe({ cursor: "yesterday" }, () => undefined));
    assert.equal(error.field, "/cursor");
  });
});
