/** Windows: each page calls and hears what it was allowed, through the real preload script, and no token reaches it. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { windowState } from "../src/electron/answers.js";
import { attachOrSpawn, ForbiddenError, serveWindows, type Grant, type Supervisor, type Windows } from "../src/electron/index.js";
import { connectPage, type PageClient } from "../src/electron/renderer.js";
import * as errors from "../src/errors.js";
import { readRuntime } from "../src/index.js";
import { commandLine } from "./daemon.js";
import { FakeMain, FakeWindow } from "./electron.js";

const LIMIT = { timeout: 60_000 };
const ORIGIN = "app://shell";
const GRANT: Grant = {
  origin: ORIGIN,
  operations: ["planning.projects.create", "planning.tasks.*", "planning.export_file", "execution.runs.follow", "execution.start", "daemon.status"],
  events: ["planning.task.*"],
};

let folder: string;
let daemon: Supervisor;
let main: FakeMain;
let windows: Windows;
let agreed: string[] = [];
let agree = false;
let ask: (() => Promise<boolean>) | undefined;
let made = 0;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cl-"));
  const [command, env] = commandLine();
  daemon = await attachOrSpawn({ dataDir: join(folder, "data"), command, env });
  main = new FakeMain();
  windows = serveWindows({
    ipcMain: main,
    daemon,
    confirm: async (_, { operation }) => {
      agreed.push(operation);
      return ask === undefined ? agree : ask();
    },
  });
  const { client } = daemon;
  await client.planning.projects.create({ name: "Seen", key: "SEEN" });
});

after(async () => {
  windows.close();
  await daemon.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
});

function open(grant: Grant = GRANT): FakeWindow {
  const window = new FakeWindow(main, (made += 1));
  windows.allow(window, grant);
  return window;
}

async function page(grant: Grant = GRANT): Promise<PageClient> {
  return connectPage(open(grant).bridge());
}

async function refused(call: Promise<unknown>, ...parts: string[]): Promise<void> {
  const error: unknown = await call.then(() => assert.fail("it was answered"), (reason: unknown) => reason);
  assert.ok(error instanceof errors.RefusedError, String(error));
  for (const part of parts) assert.ok(`${error.message}; ${error.hint}`.includes(part), `${error.message}; ${error.hint}`);
}

/** Make so many tasks, and return their ids. */
async function create(many: number): Promise<string[]> {
  const tasks = Array.from({ length: many }, () => daemon.client.planning.tasks.create({ title: "t", project: "SEEN" }));
  return (await Promise.all(tasks)).map(({ id }) => id);
}

/** The cursor of the newest event: behind it all comes, whenever the daemon takes the subscription. */
async function head(): Promise<string> {
  return (await daemon.client.daemon.status()).event_head;
}

async function until(check: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!check()) {
    assert.ok(performance.now() < end, "not in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("calls", () => {
  test("of what is on the list are answered, with errors of their classes", LIMIT, async () => {
    const { api, operations, state } = await page();
    assert.equal(state.name, "ready");
    assert.ok("planning.tasks.create" in operations && !("planning.projects.list" in operations));
    const task = await api.planning.tasks.create({ title: "from a page", project: "SEEN" });
    assert.equal((await api.planning.tasks.get({ id: task.id })).title, "from a page");
    await assert.rejects(api.planning.tasks.create({ title: "" }), errors.InvalidError);
    await assert.rejects(api.planning.tasks.update({ id: task.id, title: "x" }, { ifRev: 7 }), errors.StaleError);
    await assert.rejects(api.planning.tasks.get({ id: "nothing" }), errors.NotFoundError);
  });

  test("of what is not are refused in the main process, with the cure", LIMIT, async () => {
    const { api, request } = { api: (await page()).api, request: (await page()).request };
    await refused(api.planning.projects.list(), "may not call planning.projects.list", '"planning.projects.list" into the `operations`');
    await refused(request.call(await page(), "tokens.create", { name: "x", scopes: ["read"] }), "tokens.create");
  });

  test("cannot be made by a window that was allowed nothing, or by another page in an allowed one", LIMIT, async () => {
    const stranger = new FakeWindow(main, (made += 1));
    await refused(connectPage(stranger.bridge()), "has no access", "allow(webContents");
    const window = open();
    const bridge = window.bridge();
    await refused(connectPage(window.bridge({ origin: ORIGIN })), "frame inside a page");
    window.mainFrame = { origin: "https://evil.example" };
    await refused(connectPage(window.bridge()), "https://evil.example");
    await assert.doesNotReject(connectPage(bridge).catch((error: unknown) => assert.ok(error instanceof errors.RefusedError)));
  });

  test("that need a person's word get it in the main process, and the page cannot give it", LIMIT, async () => {
    const window = open();
    const { api } = await connectPage(window.bridge());
    const path = join(folder, "out.md");
    [agreed, agree] = [[], false];
    const error = await api.planning.export_file({ format: "markdown", path }).then(() => assert.fail(), (reason: unknown) => reason);
    assert.ok(error instanceof errors.NeedsConfirmationError);
    assert.equal(error.token, undefined);
    agree = true;
    await api.planning.export_file({ format: "markdown", path });
    assert.deepEqual(agreed, ["planning.export_file", "planning.export_file"]);
    assert.match(await readFile(path, "utf8"), /Seen|#/);
  });

  test("are bounded in number and size", LIMIT, async () => {
    const found = await page();
    const many = await Promise.allSettled(Array.from({ length: 65 }, () => found.api.daemon.status()));
    assert.equal(many.filter((each) => each.status === "rejected" && each.reason instanceof errors.RateLimitedError).length, 1);
    await assert.rejects(found.api.planning.tasks.create({ title: "x".repeat(5_000_000) }), errors.TooLargeError);
    await assert.rejects(found.request("planning.tasks.list", [] as never), errors.InvalidError);
  });

  test("are cancelled by their signal", LIMIT, async () => {
    const { api } = await page();
    await assert.rejects(api.planning.tasks.list({}, { signal: AbortSignal.abort(new Error("no more")) }), /no more/);
  });
});

describe("lists", () => {
  for (const [what, grant] of [
    ["everything", { operations: ["*"], origin: ORIGIN }],
    ["tokens", { operations: ["tokens.create"], origin: ORIGIN }],
    ["no origin", { operations: [], origin: "null" }],
  ] as const) {
    test(`of ${what} are refused when they are given`, LIMIT, () => assert.throws(() => open(grant), TypeError));
  }

  test("are each window's own, and can be changed", LIMIT, async () => {
    const window = open({ origin: ORIGIN, operations: [] });
    const { api } = await connectPage(window.bridge());
    await refused(api.planning.tasks.list(), "planning.tasks.list");
    windows.allow(window, GRANT);
    assert.ok((await api.planning.tasks.list()).items);
    assert.ok(new ForbiddenError("x").kind === "refused");
  });
});

describe("events and streams", () => {
  test("events of allowed types come, in order, however slow the page is", LIMIT, async () => {
    const { api, events } = { api: (await page()).api, events: await page() };
    const heard: string[] = [];
    const reading = (async () => {
      for await (const event of events.events({ types: ["planning.task.created"] })) {
        if (event.type === "reset") continue;
        heard.push((event.data as { id: string }).id);
        if (heard.length === 400) break;
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const ids: string[] = [];
    for (let round = 0; round < 8; round += 1) {
      const some = await Promise.all(Array.from({ length: 50 }, () => api.planning.tasks.create({ title: "t", project: "SEEN" })));
      ids.push(...some.map(({ id }) => id));
    }
    await reading;
    assert.deepEqual(new Set(heard), new Set(ids));
    assert.equal(heard.length, 400);
  });

  test("events of others are refused, and so is asking for all", LIMIT, async () => {
    const found = await page();
    for (const types of [["execution.run.started"], ["*"], ["planning.*"], [], undefined, "planning.task.created", new Set()]) {
      await refused(found.events({ types: types as never }).next(), "may not hear", "into the `events`");
    }
  });

  test("a loop that waits for the next event is ended by its signal", LIMIT, async () => {
    const unmounted = new AbortController();
    const waiting = (await page()).events({ types: ["planning.task.created"], signal: unmounted.signal }).next();
    setImmediate(() => unmounted.abort(new Error("the view is gone")));
    await assert.rejects(waiting, /the view is gone/);
  });

  test("a page that does not read is sent no more than it can take", LIMIT, async () => {
    const window = open();
    const { api } = await page();
    const reader = (await connectPage(window.bridge())).events({ types: ["planning.task.created"] });
    const first = reader.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await api.planning.tasks.create({ title: "first", project: "SEEN" });
    await first;
    for (let round = 0; round < 12; round += 1) {
      await Promise.all(Array.from({ length: 50 }, () => api.planning.tasks.create({ title: "t", project: "SEEN" })));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(window.sent <= 260, `${window.sent} messages`);
    await reader.return(undefined);
  });

  test("a stream is read item by item, and ends with its page", LIMIT, async () => {
    const window = open();
    const found = await connectPage(window.bridge());
    const { id } = (await found.api.execution.start({ steps: [{ key: "wait", kind: "signal", input: { name: "go" } }] })).run;
    const said: string[] = [];
    const reading = (async () => {
      for await (const item of found.api.execution.runs.follow({ id }) as AsyncIterable<{ type: string }>) said.push(item.type);
    })();
    await until(() => said.length > 0);
    const sent = window.sent;
    window.destroy();
    await daemon.client.execution.runs.cancel({ id }).catch((error: unknown) => {
      assert.ok(error instanceof errors.NeedsConfirmationError);
      return daemon.client.execution.runs.cancel({ id }, { confirm: error.token });
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(window.sent, sent, "nothing more is sent to a page that is gone");
    void reading;
  });
});

test("what a page asked for before it was loaded anew is not taken for what it asks for now", LIMIT, async () => {
  const window = open();
  const before = await connectPage(window.bridge());
  const asked = new Promise<(agreed: boolean) => void>((told) => {
    ask = () => new Promise((answer) => told(answer));
  });
  const first = before.request("planning.export_file", { format: "markdown", path: join(folder, "no.md") });
  const answer = await asked;
  ask = undefined;
  window.emit("did-navigate");
  const now = await connectPage(window.bridge()); // its first request has the number of the one that waits
  const reader = now.events({ types: ["planning.task.created"], cursor: await head() });
  await create(1);
  await reader.next();
  answer(false);
  await assert.rejects(first, errors.NeedsConfirmationError);
  await create(300); // more than are sent to a page that says of none that it took it
  for (let heard = 0; heard < 300; heard += 1) await reader.next();
  await reader.return(undefined);
});

test("events go on over a daemon that was stopped and one that is started in its place", LIMIT, async () => {
  const reader = (await page()).events({ types: ["planning.task.created"], cursor: await head() });
  const hear = async (): Promise<string> => ((await reader.next()).value as { data: { id: string } }).data.id;
  const heard: string[] = [];
  const made = await create(1);
  heard.push(await hear());
  await daemon.stop();
  await refused((await page()).retry(), "`retry: true`");
  await (await page({ ...GRANT, retry: true })).retry();
  made.push(...(await create(5)));
  while (heard.length < made.length) heard.push(await hear());
  assert.deepEqual(heard.toSorted(), made.toSorted());
  await reader.return(undefined);
});

test("nothing that a page is told says where the daemon listens", LIMIT, async () => {
  const { socket } = await readRuntime(daemon.dataDir);
  const status = await (await page()).api.daemon.status();
  assert.deepEqual([status.socket, status.http], [null, null]);
  assert.equal((await daemon.client.daemon.status()).socket, socket);
});

test("nothing that a page is told holds the token", LIMIT, async () => {
  const { token } = await readRuntime(daemon.dataDir);
  const window = open();
  const told: unknown[] = [];
  const send = window.send.bind(window);
  window.send = (channel, ...args) => {
    told.push(args);
    send(channel, ...args);
  };
  const found = await connectPage(window.bridge());
  told.push(found.state, found.operations, await found.api.daemon.status());
  assert.ok(token.length > 20);
  assert.ok(!JSON.stringify(told).includes(token));
});

test("a page is told how far a migration is, and of no process", () => {
  const shown = { name: "migrating", incarnation: "x", version: "9.9.9", message: "migrating core 0999 (1 of 1), 2 s", fraction: null } as const;
  assert.deepEqual(windowState({ ...shown, pid: 1, spawned: true }), shown);
});
