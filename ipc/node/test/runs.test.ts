/** Runs, started, followed and cancelled by the client against the real daemon. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as errors from "../src/errors.js";
import { connect, type CommandOptions, type Client } from "../src/index.js";
import type { ExecutionStartInput, Said } from "../src/generated/operations.js";
import { Daemon } from "./daemon.js";

const LIMIT = { timeout: 120_000 };

let daemon: Daemon;
let client: Client;

before(async () => {
  daemon = await Daemon.start();
  client = await connect(daemon.dataDir);
});

after(async () => {
  await client.close();
  await daemon.remove();
});

/** Call as a shell does: the person is asked, and says yes to exactly this. */
async function agreed<T>(call: (options: CommandOptions) => Promise<T>): Promise<T> {
  const asked: unknown = await call({}).catch((error: unknown) => error);
  assert.ok(asked instanceof errors.NeedsConfirmationError, String(asked));
  return call({ confirm: asked.token });
}

async function start(input: ExecutionStartInput): Promise<string> {
  return (await agreed((options) => client.execution.start(input, options))).run.id;
}

async function follow(id: string, cursor?: string): Promise<Said[]> {
  const items: Said[] = [];
  for await (const item of client.execution.runs.follow(cursor === undefined ? { id } : { id, cursor })) items.push(item);
  return items;
}

describe("a run", LIMIT, () => {
  test("is followed to its end, with the output of its programs, and again from any item", async () => {
    const program = `console.log("one"); setTimeout(() => console.log("two"), 200)`;
    const id = await start({
      folder: daemon.dataDir,
      steps: [{ key: "say", kind: "command", input: { run: [process.execPath, "-e", program] } }],
    });
    const items = await follow(id);
    const said = items.filter((item) => item.type === "output").map((item) => item.text);
    assert.equal(said.join(""), "one\ntwo\n");
    assert.deepEqual(items.at(-1)?.status, "succeeded");
    const first = items.findIndex((item) => item.type === "output");
    const rest = await follow(id, items[first]?.cursor);
    const again = rest.filter((item) => item.type === "output").map((item) => item.text);
    assert.equal([said[0], ...again].join(""), "one\ntwo\n");
  });

  test("that waits is cancelled, and says so to who follows it", async () => {
    const id = await start({ steps: [{ key: "wait", kind: "timer", input: { duration: "PT1H" } }] });
    const following = follow(id);
    await agreed((options) => client.execution.runs.cancel({ id }, options));
    assert.equal((await following).at(-1)?.status, "cancelled");
  });

  test("with faults is refused with all of them, and nothing of it is kept", async () => {
    const input = { steps: [{ key: "a", kind: "comand", input: {}, needs: ["b"] }] };
    await assert.rejects(agreed((options) => client.execution.start(input, options)), errors.InvalidError);
    assert.deepEqual((await client.execution.runs.list({ q: "comand" })).items, []);
    const found = await client.execution.check(input);
    assert.deepEqual(found.findings.map((finding) => finding.rule).sort(), ["unknown_kind", "unknown_step"]);
  });
});
