/** The daemon of a shell: attached or spawned, restarted when it dies, given up in the open, and never left behind. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, connect as dial, type Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EXITS, worthAnother } from "../src/electron/exits.js";
import { asText, attachOrSpawn, RestartPolicy, StartError, type AttachOptions, type DaemonState, type Diagnostics, type Supervisor } from "../src/electron/index.js";
import { connect, readRuntime } from "../src/index.js";
import { commandLine } from "./daemon.js";

const LIMIT = { timeout: 120_000 };
const [COMMAND, ENV] = commandLine();

let folder: string;
let dataDir: string;
let shells: Supervisor[];
let states: DaemonState[];
let pids: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cl-"));
  dataDir = join(folder, "data");
  [shells, states, pids] = [[], [], []];
});

afterEach(async () => {
  await Promise.all(shells.map((shell) => shell.close()));
  for (const pid of pids) if (alive(pid)) process.kill(pid, "SIGKILL");
  await until(() => !pids.some(alive));
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
});

async function shell(options: Partial<AttachOptions> = {}): Promise<Supervisor> {
  const daemon = await attachOrSpawn({ dataDir, command: COMMAND, env: ENV, onState: (state) => states.push(state), ...options });
  shells.push(daemon);
  pids.push(daemon.client.server.pid);
  return daemon;
}

/** A process whose every thread is a zombie has ended, whenever whoever inherited it looks after it. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== "linux") return true;
    const threads = `/proc/${pid}/task`;
    return readdirSync(threads).some((thread) => !/\) [ZX] /.test(readFileSync(join(threads, thread, "stat"), "utf8")));
  } catch {
    return false;
  }
}

async function until(check: () => boolean, limitMs = 30_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!check()) {
    assert.ok(performance.now() < end, `not within ${limitMs} ms: ${JSON.stringify(states)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function names(): string[] {
  return states.map(({ name }) => name);
}

/** Start a shell in a process of its own, and return it with what it says. */
async function shellProcess(): Promise<{ kill: () => void; pid: number; spawned: boolean }> {
  const script = fileURLToPath(new URL("shell.js", import.meta.url));
  const child = spawn(process.execPath, [script, dataDir, JSON.stringify(COMMAND)], { env: ENV, stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const said = JSON.parse(line) as { pid: number; spawned: boolean };
  pids.push(said.pid);
  return { kill: () => child.kill("SIGKILL"), ...said };
}

describe("attach or spawn", () => {
  test("the first shell starts the daemon, the second attaches to it", LIMIT, async () => {
    const [first, second] = [await shell(), await shell()];
    assert.equal(first.client.server.incarnation, second.client.server.incarnation);
    assert.deepEqual([first.state, second.state].map((state) => state.name === "ready" && state.spawned), [true, false]);
    assert.deepEqual(names(), ["ready", "ready"]);
  });

  test("shells that begin at the same moment get one daemon", LIMIT, async () => {
    const found = await Promise.all([shell(), shellProcess(), shellProcess(), shell()]);
    const seen = new Set(found.map((each) => ("client" in each ? each.client.server.pid : each.pid)));
    assert.equal(seen.size, 1);
    for (const each of found) if ("kill" in each) each.kill();
  });

  test("a shell that is killed takes the daemon it started with it, within 2 s", LIMIT, async () => {
    const one = await shellProcess();
    assert.ok(one.spawned && alive(one.pid));
    one.kill();
    await until(() => !alive(one.pid), 2_000);
  });

  test("but not while another shell is attached", LIMIT, async () => {
    const one = await shellProcess();
    const two = await shell();
    one.kill();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal((await two.client.daemon.status()).pid, one.pid);
    await two.close();
    await until(() => !alive(one.pid), 2_000);
  });

  test("stop ends it for all, in order", LIMIT, async () => {
    const one = await shell();
    const { pid } = one.client.server;
    await one.stop();
    assert.deepEqual([one.state, alive(pid)], [{ name: "stopped", by: "shell" }, false]);
    await assert.rejects(async () => one.client, { kind: "connection_lost" });
    await one.retry();
    pids.push(one.client.server.pid);
    assert.notEqual(one.client.server.pid, pid);
  });

  test("stop by a shell that attached resolves when the directory is given up", LIMIT, async () => {
    const one = await shell({ handoverMs: 100 });
    const two = await shell();
    await two.stop();
    assert.ok(!existsSync(join(dataDir, "runtime.json")));
    await until(() => one.state.name === "stopped" && !alive(pids[0] as number));
  });

  test("asking for one that is there changes nothing; letting go while it starts leaves it stopped", LIMIT, async () => {
    const one = await shell();
    const { client } = one;
    await one.retry();
    assert.equal(one.client, client);
    await one.stop();
    const again = one.retry();
    await Promise.all([assert.rejects(again, { kind: "connection_lost" }), one.close()]);
    assert.equal(one.state.name, "stopped");
    await one.retry();
    pids.push(one.client.server.pid);
    assert.deepEqual(names(), ["ready", "stopped", "starting", "stopped", "starting", "ready"]);
  });

  test("a signal gives the first start up, and the program that nobody waits for is told to go", LIMIT, async () => {
    const place = join(folder, "pid");
    const code = `require("fs").writeFileSync(${JSON.stringify(place)}, String(process.pid)); process.stdin.on("end", process.exit).resume()`;
    const late = new AbortController();
    const asked = shell({ command: [process.execPath, "-e", code], signal: late.signal });
    await until(() => existsSync(place) && readFileSync(place, "utf8") !== "");
    pids.push(Number(readFileSync(place, "utf8")));
    late.abort(new Error("it takes too long"));
    await assert.rejects(asked, /it takes too long/);
    await until(() => !pids.some(alive));
  });

  test("a signal that ends later ends nothing", LIMIT, async () => {
    const late = new AbortController();
    const one = await shell({ signal: late.signal, restart: { initialMs: 1 } });
    late.abort();
    process.kill(one.client.server.pid, "SIGKILL");
    await until(() => names().join() === "ready,reconnecting,restarting,ready");
    pids.push(one.client.server.pid);
  });
});

describe("a daemon that dies", () => {
  test("is started again, and the calls that wait are answered", LIMIT, async () => {
    const one = await shell({ restart: { initialMs: 5 } });
    const { pid, incarnation } = one.client.server;
    const project = await one.client.planning.projects.create({ name: "Kept", key: "KEPT" });
    process.kill(pid, "SIGKILL");
    await until(() => one.state.name !== "ready");
    const kept = await one.client.planning.projects.get({ id: project.id });
    assert.equal(kept.name, "Kept");
    await until(() => one.state.name === "ready");
    pids.push(one.client.server.pid);
    assert.notEqual(one.client.server.incarnation, incarnation);
    assert.deepEqual(names(), ["ready", "reconnecting", "restarting", "ready"]);
  });

  test("once too often is given up, with all that is needed to say why", LIMIT, async () => {
    const one = await shell({ restart: { initialMs: 1, maxMs: 2, limit: 3 } });
    for (let died = 0; died < 3; died += 1) {
      const { pid } = one.client.server;
      process.kill(pid, "SIGKILL");
      await until(() => one.state.name === "ready" && one.client.server.pid !== pid);
      pids.push(one.client.server.pid);
    }
    process.kill(one.client.server.pid, "SIGKILL");
    await until(() => one.state.name === "failed");
    assert.ok(one.state.name === "failed");
    assert.match(one.state.reason, /died 3 times/);
    assert.equal(one.state.diagnostics.signal, "SIGKILL");
    assert.match(asText(one.state.diagnostics), /state: restarting/);
    const asked = performance.now();
    await one.stop();
    assert.ok(performance.now() - asked < 10_000, "what the dead daemon left in the directory is nobody to wait for");
    await one.retry();
    pids.push(one.client.server.pid);
    assert.equal(one.state.name, "ready");
  });

  test("a daemon that is held for a while is not dead", LIMIT, async () => {
    const one = await shell();
    const { pid } = one.client.server;
    process.kill(pid, "SIGSTOP");
    const asked = one.client.daemon.status();
    await new Promise((resolve) => setTimeout(resolve, 500));
    process.kill(pid, "SIGCONT");
    assert.equal((await asked).pid, pid);
    assert.deepEqual(names(), ["ready"]);
  });

  test("one that somebody stopped stays stopped for all, until it is asked for", LIMIT, async () => {
    const told: DaemonState[] = [];
    const one = await shell({ handoverMs: 200 });
    const two = await shell({ handoverMs: 200, onState: (state) => told.push(state) });
    const other = await connect(dataDir, { reconnect: false });
    await other.daemon.stop();
    await until(() => [one, two].every((each) => asText(each.diagnostics()).includes("the daemon stops in order")));
    if (alive(other.server.pid)) process.kill(other.server.pid, "SIGKILL"); // somebody was not patient: that is no crash
    await other.close();
    await until(() => one.state.name === "stopped" && two.state.name === "stopped");
    assert.deepEqual(names(), ["ready", "reconnecting", "stopped"]);
    assert.deepEqual(told.map(({ name }) => name), names());
    await one.retry();
    pids.push(one.client.server.pid);
  });

  test("one that comes in the place of another is attached to", LIMIT, async () => {
    const one = await shell();
    const other = await connect(dataDir, { reconnect: false });
    await other.daemon.stop();
    await other.close();
    await until(() => one.state.name === "reconnecting");
    const two = await shell({ onState: () => undefined });
    await until(() => one.state.name === "ready");
    assert.equal(one.client.server.incarnation, two.client.server.incarnation);
    assert.deepEqual(names(), ["ready", "reconnecting", "ready"]);
  });
});

describe("a daemon that is handed over", () => {
  test("is followed by all, and nobody takes it for a crash or a wish", LIMIT, async () => {
    const told: DaemonState[] = [];
    const one = await shell();
    const two = await shell({ onState: (state) => told.push(state) });
    const before = one.client.server;
    const project = await one.client.planning.projects.create({ name: "Kept", key: "KEPT" });
    const words = [...COMMAND.slice(1), "--data-dir", dataDir, "daemon", "handover", "--json"];
    const handover = spawn(COMMAND[0] as string, words, { env: ENV, stdio: ["ignore", "pipe", "inherit"] });
    let answer = "";
    handover.stdout.setEncoding("utf8").on("data", (piece: string) => (answer += piece));
    assert.deepEqual(await once(handover, "close"), [0, null]);
    const { to } = JSON.parse(answer) as { to: { pid: number; incarnation: string } };
    pids.push(to.pid);
    for (const each of [one, two]) {
      await until(() => each.state.name === "ready" && each.state.incarnation === to.incarnation);
      assert.match(each.client.server.state ?? "", /^(starting|ready)$/);
      assert.equal((await each.client.planning.projects.get({ id: project.id })).name, "Kept");
    }
    const followed = (spawned: boolean): DaemonState[] => [
      { name: "ready", pid: before.pid, incarnation: before.incarnation, version: before.version, spawned },
      { name: "reconnecting", next: before.version },
      { name: "ready", pid: to.pid, incarnation: to.incarnation, version: before.version, spawned: false },
    ];
    assert.deepEqual(states, followed(true));
    assert.deepEqual(told, followed(false));
  });

  test("to one that does not come is started again", LIMIT, async () => {
    const one = await shell({ handoverMs: 50, restart: { initialMs: 1 } });
    const other = await connect(dataDir, { reconnect: false });
    await other.daemon.handover({ incarnation: other.server.incarnation, version: "9.9.9" });
    await other.close();
    await until(() => names().length >= 4 && one.state.name === "ready");
    pids.push(one.client.server.pid);
    assert.deepEqual(names(), ["ready", "reconnecting", "restarting", "ready"]);
    assert.deepEqual(states[1], { name: "reconnecting", next: "9.9.9" });
  });
});

describe("a daemon that brings its data up to date", () => {
  // Its source is meddled with, by which a frozen one cannot be.
  const skip = process.platform === "win32" || process.env["CODER_LOCAL_COMMAND"] !== undefined;
  let gate: string;
  let gated: Partial<AttachOptions>;

  /** One more migration of the core, which comes to its end when something has opened and closed `gate`. */
  beforeEach(async () => {
    const core = join(folder, "core");
    gate = join(folder, "gate");
    await mkdir(core);
    await writeFile(join(core, "0999_waits.sql"), `-- It waits.\nSELECT gate('${gate}');\n`);
    if (!skip) await once(spawn("mkfifo", [gate]), "exit");
    gated = { command: [COMMAND[0] as string, fileURLToPath(new URL("../../../../tests/faults/gated.py", import.meta.url))], env: { ...ENV, CODER_LOCAL_TEST_CORE: core } };
  });

  test("is shown with how far it is, by every shell, and becomes ready by itself", { ...LIMIT, skip }, async () => {
    const before = await shell({ onState: () => undefined });
    const project = await before.client.planning.projects.create({ name: "Kept", key: "KEPT" });
    await before.stop();
    const one = await shell({ ...gated, restart: { initialMs: 1 } });
    const first = one.state;
    assert.ok(first.name === "migrating" && first.spawned, JSON.stringify(states));
    assert.match(first.message, /^migrating core 0999 \(1 of 1\), \d+ s$/);
    await until(() => one.state.name === "migrating" && one.state.message !== first.message);
    process.kill(one.client.server.pid, "SIGKILL");
    await until(() => one.state.name === "migrating" && one.state.incarnation !== first.incarnation);
    pids.push(one.client.server.pid);
    const told: DaemonState[] = [];
    const two = await shell({ onState: (state) => told.push(state) });
    const asked = two.client.planning.projects.get({ id: project.id });
    assert.deepEqual([two.state.name, two.state.name === "migrating" && two.state.spawned], ["migrating", false]);
    await writeFile(gate, ""); // opens when the daemon is there, and closes
    assert.equal((await asked).name, "Kept");
    await until(() => one.state.name === "ready" && two.state.name === "ready");
    const changes = (all: DaemonState[]): string[] => all.map(({ name }) => name).filter((name, index, found) => name !== found[index - 1]);
    assert.deepEqual(changes(states), ["migrating", "reconnecting", "restarting", "migrating", "ready"]);
    assert.deepEqual(changes(told), ["migrating", "ready"]);
    const noted = asText(one.diagnostics()).match(/state: migrating/g);
    assert.equal(noted?.length, 2, "it is noted that it migrates, and not how far");
  });
});

describe("a daemon that does not start", () => {
  const failing = (code: string): Partial<AttachOptions> => ({ command: [process.execPath, "-e", code], restart: { limit: 3, initialMs: 1 } });

  async function fails(options: Partial<AttachOptions>): Promise<StartError> {
    const error: unknown = await shell(options).then(() => assert.fail("it started"), (reason: unknown) => reason);
    assert.ok(error instanceof StartError, String(error));
    return error;
  }

  test("is tried again where that may help, and then told of without secrets", LIMIT, async () => {
    const error = await fails(failing(`console.error("boom at ${homedir()}/x token=abc123"); process.exit(70)`));
    const failed = states.at(-1);
    assert.ok(failed?.name === "failed");
    assert.equal(failed.diagnostics.exitCode, 70);
    assert.match(failed.diagnostics.stderr, /boom at ~\/x token=\*\*\*/);
    assert.doesNotMatch(asText(failed.diagnostics), new RegExp(`abc123|${homedir()}/x`));
    assert.deepEqual(names().filter((name) => name === "restarting").length, 2);
    assert.match(error.message, /died 3 times/);
  });

  const page = readFileSync(new URL("../../../../docs/spawn-contract.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| (\d+) \|.*\| (yes|no) \|$/gm)].map(([, code, again]) => [Number(code), again === "yes"] as const);

  test("is tried again by the table of the contract", () => {
    assert.deepEqual([...EXITS].map(([code, { again }]) => [code, again]), rows);
    assert.deepEqual([1, 141, null].map(worthAnother), [true, true, true], "any other end is a crash");
  });

  for (const [code, again] of rows) {
    test(`is ${again ? "tried again, and then given up" : "given up at once, because trying does not help"}: ${code}`, LIMIT, async () => {
      const error = await fails(failing(`process.exit(${code})`));
      assert.equal(error.exitCode, code);
      assert.match(error.hint ?? "", HINTED[code] ?? /look at what it wrote last/);
      assert.deepEqual(names(), again ? ["restarting", "restarting", "failed"] : ["failed"]);
    });
  }

  const HINTED: Record<number, RegExp> = { 2: /update the daemon/, 8: /coder-local status/, 65: /newer version/, 73: /permissions/, 130: /interrupted/ };

  test("because the directory was held for a while, does when that is over", { ...LIMIT, skip: process.platform === "win32" }, async () => {
    const held = `if [ -e "${folder}/tried" ]; then exec "$@"; fi; : > "${folder}/tried"; exit 8`;
    await shell({ command: ["sh", "-c", held, "sh", ...COMMAND], restart: { initialMs: 1 } });
    assert.deepEqual(names(), ["restarting", "ready"]);
  });

  test("is given up at once where it says so after its line", LIMIT, async () => {
    const line = "JSON.stringify({ event: 'ready', pid: process.pid, incarnation: 'x' })";
    const error = await fails(failing(`console.log(${line}); setTimeout(() => process.exit(65), 20)`));
    assert.equal(error.exitCode, 65);
    assert.match(error.hint ?? "", /newer version/);
  });

  test("is told of without the daemon's token, whatever stands beside it", LIMIT, async () => {
    await mkdir(dataDir);
    await writeFile(join(dataDir, "runtime.json"), JSON.stringify({ socket: join(folder, "nothing"), token: "abcdef0123456789" }));
    const error = await fails(failing("console.error('it was abcdef0123456789'); process.exit(73)"));
    assert.match(error.stderr, /it was \*\*\*/);
  });

  test("a program that is not there is named", LIMIT, async () => {
    const error = await fails({ command: [join(folder, "nothing")] });
    assert.match(error.message, /nothing cannot be started/);
  });

  test("a program that is another one is named", LIMIT, async () => {
    assert.match((await fails(failing("console.log('hello')"))).message, /printed "hello" where the daemon's line was due/);
  });

  test("a data directory that cannot be made is named", LIMIT, async () => {
    await writeFile(join(folder, "file"), "");
    assert.match((await fails({ dataDir: join(folder, "file", "data") })).message, /cannot be written/);
  });

  test("one that never says it is ready is left running and told of", LIMIT, async () => {
    const error = await fails({ ...failing("process.stdin.on('end', process.exit).resume()"), readyMs: 100, restart: { limit: 1 } });
    assert.match(error.message, /died 1 times/);
    assert.match(asText((states.at(-1) as { diagnostics: Diagnostics }).diagnostics), /not ready in 100 ms and is left running/);
  });
});

describe("the policy", () => {
  test("waits double up to the longest, and old starts are forgotten", () => {
    let now = 0;
    const policy = new RestartPolicy({ limit: 4, withinMs: 1_000, initialMs: 100, maxMs: 300 }, () => now);
    for (const most of [100, 200, 300, 300]) {
      const wait = policy.next() ?? Number.NaN;
      assert.ok(wait >= most / 2 && wait <= most, `${wait} of ${most}`);
    }
    assert.equal(policy.next(), undefined);
    now = 1_001;
    assert.ok((policy.next() ?? Number.NaN) <= 100);
  });
});

/** Cuts every connection that passes through it. */
class Cutter {
  readonly #open = new Set<Socket>();
  cuts = 0;

  async listen(at: string, real: string): Promise<() => void> {
    const server = createServer((near) => {
      const far = dial(real);
      for (const [one, other] of [[near, far], [far, near]] as const) {
        this.#open.add(one);
        one.on("error", () => undefined).on("close", () => {
          this.#open.delete(one);
          other.destroy();
        }).pipe(other);
      }
    });
    server.listen(at);
    await once(server, "listening");
    return () => server.close();
  }

  cut(): void {
    if (this.#open.size > 0) this.cuts += 1;
    for (const socket of this.#open) socket.destroy();
  }
}

test("100 reconnects under events without end: none is lost, none comes twice", LIMIT, async () => {
  const maker = await shell();
  const { client } = maker;
  const project = await client.planning.projects.create({ name: "Busy", key: "BUSY" });
  const runtime = await readRuntime(dataDir);
  const cutter = new Cutter();
  const stop = await cutter.listen(join(folder, "cut.sock"), runtime.socket);
  await writeFile(join(dataDir, "runtime.json"), JSON.stringify({ ...runtime, socket: join(folder, "cut.sock") }));
  const hearer = await connect(dataDir, { reconnect: { initialMs: 1, maxMs: 5 } });
  const [made, heard]: [string[], string[]] = [[], []];
  await hearer.events.subscribe({ types: ["planning.task.created"] }, (event) => {
    assert.notEqual(event.type, "reset");
    if (event.type === "planning.task.created") heard.push(event.data.id);
  });
  while (cutter.cuts < 100) {
    const round = await Promise.all(Array.from({ length: 8 }, (_, number) => client.planning.tasks.create({ title: `task ${number}`, project: project.id })));
    made.push(...round.map(({ id }) => id));
    if (hearer.state === "connected") cutter.cut();
  }
  await until(() => heard.length >= made.length);
  await hearer.close();
  stop();
  assert.equal(heard.length, made.length);
  assert.deepEqual(new Set(heard), new Set(made));
  assert.ok(cutter.cuts >= 100);
  assert.ok((await readFile(join(dataDir, "runtime.json"), "utf8")).includes("cut.sock"));
});
