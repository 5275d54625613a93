/** One daemon for a shell: attached to or started, watched, started again when it dies, and given up in the open. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type Client, type ConnectOptions } from "../client.js";
import type { ConnectionState, Farewell, ServerInfo } from "../connection.js";
import { CoderLocalError, ConnectionLostError, TimeoutError_ } from "../errors.js";
import { defaultDataDir } from "../runtime.js";
import { Journal, redact, versions } from "./diagnostics.js";
import { EXITS } from "./exits.js";
import { RestartPolicy, type RestartOptions } from "./policy.js";
import { Child, StartError, type SpawnOptions } from "./spawn.js";
import { starting, type Migration } from "./starting.js";
import type { DaemonState, Diagnostics } from "./state.js";

export interface AttachOptions extends Omit<SpawnOptions, "dataDir"> {
  /** `CODER_LOCAL_DATA_DIR`, else the platform's default. */
  dataDir?: string;
  /** Told of each change of the state. */
  onState?: (state: DaemonState) => void;
  restart?: RestartOptions;
  /** How long another daemon may take to come in the place of one that went in order, 15,000 ms by default. */
  handoverMs?: number;
  /** For the connection; it always reconnects. */
  connect?: Omit<ConnectOptions, "reconnect" | "onStateChange" | "onStopping">;
  /** Gives the first start up. */
  signal?: AbortSignal;
}

const RECONNECT = { initialMs: 20, maxMs: 500 };
/** So long a connection may be away before it is asked whether the daemon lives: a drop alone is mended by then. */
const LOOK_MS = 150;
const STOP_MS = 15_000;
/** So long a daemon that said it is ready, and does not answer, may take to end before another is started beside it. */
const ANSWER_MS = 5_000;

/**
 * Attach to the daemon of a data directory, or start one; resolves when it answers, and the state is `ready`, or
 * `migrating` where its data is brought up to date first: calls may be made, and wait. Two callers, or two shells, get
 * one daemon: the lock of the directory decides. Raises `StartError` when it was given up, `UnsupportedError` when it
 * speaks another protocol, or the reason of `signal`.
 */
export async function attachOrSpawn(options: AttachOptions): Promise<Supervisor> {
  const supervisor = new Supervisor(options);
  await supervisor.retry(options.signal);
  return supervisor;
}

/** Looks after the daemon of one data directory. Made by `attachOrSpawn`. */
export class Supervisor implements AsyncDisposable {
  readonly dataDir: string;
  readonly #options: AttachOptions;
  readonly #policy: RestartPolicy;
  readonly #journal = new Journal();
  readonly #listeners = new Set<(state: DaemonState) => void>();
  #state: DaemonState = { name: "starting" };
  #client: Client | undefined;
  #child: Child | undefined;
  /** The start that came last, whatever became of it. */
  #last: Child | StartError | undefined;
  /** What the daemon said before it went. */
  #farewell: Farewell | undefined;
  #working: Promise<void> | undefined;
  #leaving: "stop" | "close" | undefined;
  /** Ends the looks at how far the start is of the daemon that is connected. */
  #looking: AbortController | undefined;
  /** Ends the tries that are under way. */
  #giveUp = new AbortController();

  /** @internal */
  constructor(options: AttachOptions) {
    this.#options = options;
    this.dataDir = options.dataDir ?? defaultDataDir();
    this.#policy = new RestartPolicy(options.restart);
    if (options.onState !== undefined) this.#listeners.add(options.onState);
  }

  get state(): DaemonState {
    return this.#state;
  }

  /** The client, for as long as the state is not `failed` or `stopped`; after `retry()` it is another one. */
  get client(): Client {
    if (this.#client === undefined) throw new ConnectionLostError("there is no daemon", { hint: "wait for the state `ready`, or call retry()" });
    return this.#client;
  }

  /** Tell of each change of the state from now on; returns how to stop that. */
  onState(told: (state: DaemonState) => void): () => void {
    this.#listeners.add(told);
    return () => this.#listeners.delete(told);
  }

  /**
   * Try anew after `failed` or `stopped`, with all tries to come; resolves when it answers. While it is there, or is
   * being started already, nothing else is begun. Raises as `attachOrSpawn` does; `signal` gives it up.
   */
  async retry(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#giveUp.signal.aborted && this.#working !== undefined) await this.#working.catch(() => undefined);
    this.#policy.forgive();
    if (this.#client !== undefined) return this.#working;
    this.#leaving = undefined;
    this.#giveUp = new AbortController();
    const giveUp = (): void => this.#giveUp.abort(signal?.reason);
    signal?.addEventListener("abort", giveUp);
    await this.#work(async () => {
      this.#become({ name: "starting" });
      await this.#attach(await this.#establish(0));
    }).finally(() => signal?.removeEventListener("abort", giveUp));
    await this.#whileBeginning();
    await this.#working; // it was lost again already, and its end may be the reason that it cannot be had
  }

  /** Wait for the moment in which it is found whether a migration that runs is worth telling. */
  async #whileBeginning(): Promise<void> {
    while (this.#looking !== undefined && (this.#state.name === "starting" || this.#state.name === "restarting")) {
      await new Promise<void>((resolve) => {
        const end = this.onState(() => resolve(end()));
      });
    }
  }

  /**
   * Stop the daemon in order, for all who use it; resolves when it has ended what runs, within 10 s, and given the
   * data directory up. Raises `TimeoutError_` when it is there and does not answer.
   */
  async stop(): Promise<void> {
    this.#leave("stop");
    await this.#working?.catch(() => undefined);
    try {
      const before = this.#runtime();
      const asked = await this.#askToStop();
      if (this.#child !== undefined) await this.#child.wait(STOP_MS);
      else if (asked) await this.#whileThere(before);
    } finally {
      await this.#end({ name: "stopped", by: "shell" });
    }
  }

  /** Let go of it: a daemon that this shell started then stops when nobody else is attached and the shell ends. */
  async close(): Promise<void> {
    this.#leave("close");
    await this.#end({ name: "stopped", by: "shell" });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What a person can send: what was tried, and what came of it, without secrets. */
  diagnostics(): Diagnostics {
    const last = this.#last;
    return {
      versions: versions(),
      platform: `${process.platform} ${process.arch}`,
      dataDir: redact(this.dataDir),
      command: redact(this.#options.command[0] ?? ""),
      state: this.#state.name,
      reason: this.#state.name === "failed" ? this.#state.reason : undefined,
      exitCode: last?.exitCode ?? null,
      signal: last?.signal ?? null,
      happenings: this.#journal.happenings,
      stderr: last?.stderr ?? "",
    };
  }

  // -- getting there ----------------------------------------------------------------------------------------------

  /** Have one thing done at a time; a second caller waits for the first one's. What fails is the state as well. */
  #work(run: () => Promise<void>): Promise<void> {
    this.#working ??= run()
      .catch(async (error: unknown) => {
        if (this.#leaving === undefined) await this.#fail(error);
        throw error;
      })
      .finally(() => (this.#working = undefined));
    return this.#working;
  }

  /** Attach, else start, and start again as often as the policy allows; `attempt` starts were made before. */
  async #establish(attempt: number): Promise<Client> {
    for (;;) {
      const there = await this.#tryAttach();
      if (there !== undefined) return there;
      if (attempt > 0) await this.#waitForTurn(attempt);
      this.#giveUp.signal.throwIfAborted();
      attempt += 1;
      try {
        await this.#spawn();
        return await this.#connect();
      } catch (error) {
        if (this.#giveUp.signal.aborted || !mayPass(error)) throw error;
        if (attempt === 1) this.#policy.next(); // the first start counts, though it does not wait
        await this.#child?.wait(ANSWER_MS);
      }
    }
  }

  async #waitForTurn(attempt: number): Promise<void> {
    this.#checkLasting();
    const wait = this.#policy.next();
    if (wait === undefined) throw this.#tooOften();
    this.#become({ name: "restarting", attempt, inMs: Math.round(wait) });
    const { signal } = this.#giveUp;
    await sleep(wait, undefined, { signal }).catch(() => signal.throwIfAborted());
    this.#checkLasting(); // its exit code may have come only now
  }

  /** A daemon may end for a reason that stays after its line as well: a migration finds that the data is of a newer version. */
  #checkLasting(): void {
    const fault = this.#last instanceof Child ? this.#last.lastingFault : undefined;
    if (fault !== undefined) throw fault;
  }

  #tooOften(): StartError {
    const last = this.#last;
    if (last instanceof StartError && EXITS.get(last.exitCode ?? 0)?.hint !== undefined) return last; // it says more, and did not die
    return new StartError(`the daemon died ${this.#policy.attempts} times and is not started again by itself`, {
      hint: "look at what it wrote last, then try again; `--safe` leaves the plugins of others out",
      exitCode: last?.exitCode ?? null, signal: last?.signal ?? null, stderr: last?.stderr ?? "",
    });
  }

  /** Return a client of the daemon that answers; undefined when none does. */
  async #tryAttach(): Promise<Client | undefined> {
    try {
      const client = await this.#connect();
      if (client.server.state === "stopping") { // it was stopped before this shell came: who is started now follows it
        await client.close();
        return undefined;
      }
      this.#journal.note(`attached to the daemon (pid ${client.server.pid})`);
      return client;
    } catch (error) {
      if (error instanceof ConnectionLostError) return undefined;
      throw error;
    }
  }

  /** Start a daemon, unless another one was quicker. Raises `StartError`. */
  async #spawn(): Promise<void> {
    this.#journal.note("starting the daemon");
    try {
      // It is this shell's own from the beginning: the connection may be back before the line has been read.
      const [child, line] = await Child.start({ ...this.#options, dataDir: this.dataDir }, this.#giveUp.signal, (begun) => this.#own(begun));
      this.#last = child;
      this.#journal.note(`${line.event} (pid ${line.pid})`);
      if (line.event !== "ready") this.#child = undefined;
    } catch (error) {
      this.#child = undefined;
      if (error instanceof StartError) this.#last = error;
      this.#journal.note(`start failed: ${(error as Error).message}`);
      throw error;
    }
  }

  #own(child: Child): void {
    this.#child = child;
    child.onEnd(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#journal.note(`the daemon (pid ${child.pid}) ended: ${child.signal ?? `exit code ${child.exitCode}`}`);
    });
  }

  #connect(): Promise<Client> {
    return connect(this.dataDir, {
      ...this.#options.connect,
      reconnect: RECONNECT,
      onStateChange: (state) => this.#changed(state),
      onStopping: (farewell) => this.#told(farewell),
    });
  }

  async #attach(client: Client): Promise<void> {
    if (this.#giveUp.signal.aborted) {
      await client.close();
      this.#giveUp.signal.throwIfAborted();
    }
    this.#client = client;
    this.#here(client);
  }

  /** Say what the daemon is that has just answered: at once, unless it migrates, which may take a moment or long. */
  #here(client: Client): void {
    const { state } = client.server;
    if (state !== "stopping") this.#farewell = undefined; // else it is the one that said so
    this.#lookNoMore();
    if (state === "starting" || state === "migrating") this.#look(client, (this.#looking = new AbortController())).catch(() => undefined);
    if (state !== "migrating") this.#ready(client.server);
  }

  #ready({ pid, incarnation, version }: ServerInfo, migration?: Migration): void {
    const about = { pid, incarnation, version, spawned: this.#child?.pid === pid };
    this.#become(migration === undefined ? { name: "ready", ...about } : { name: "migrating", ...about, ...migration });
  }

  /** Show how far the start is, to its end; a migration may begin after it has answered. */
  async #look(client: Client, looking: AbortController): Promise<void> {
    const { signal } = looking;
    try {
      for await (const migration of starting(client, signal)) {
        if (signal.aborted) return;
        this.#ready(client.server, migration);
      }
    } catch (error) {
      if (signal.aborted || client.state === "closed") return;
      this.#journal.note(`how far the start is, is not told: ${(error as Error).message}`);
      this.#ready(client.server); // whatever ails that question, each call gets an answer of its own
    }
    if (this.#looking === looking) this.#looking = undefined;
  }

  #lookNoMore(): void {
    this.#looking?.abort();
    this.#looking = undefined;
  }

  // -- watching ---------------------------------------------------------------------------------------------------

  #changed(state: ConnectionState): void {
    const client = this.#client;
    if (client === undefined || this.#leaving !== undefined) return;
    // At once, before the calls that waited are answered: who looks then finds it ready.
    if (state === "connected") this.#here(client);
    else if (state === "reconnecting") this.#lost();
    // The daemon that came will not have this client: another protocol, or another folder's. It cannot be mended here.
    else if (state === "closed" && this.#state.name !== "failed") void this.#fail(new CoderLocalError("the daemon that answers now does not take this shell", { hint: "update the older of the two" }));
  }

  #told(farewell: Farewell): void {
    this.#farewell = farewell;
    this.#journal.note(farewell.next === undefined ? "the daemon stops in order" : `the daemon hands over to version ${farewell.next}`);
  }

  #lost(): void {
    this.#lookNoMore();
    this.#journal.note("the connection was lost");
    const next = this.#farewell?.next;
    this.#become({ name: "reconnecting", ...(next === undefined ? {} : { next }) });
    void this.#work(() => this.#mend()).catch(() => undefined); // it is in the state
  }

  /** Find out whether the daemon lives, went in order, or died; and start it again only in the last case. */
  async #mend(): Promise<void> {
    const gone = this.#childOf(this.client.server.pid);
    let wanted = false;
    await sleep(LOOK_MS);
    while (!this.#isBack()) {
      if (this.#leaving !== undefined) return;
      if (!wanted && this.#wentInOrder(gone)) {
        if (await this.#anotherCame()) break;
        if (this.#leaving !== undefined) return; // the shell let go meanwhile, and has said so
        if (this.#farewell?.next === undefined) return this.#end({ name: "stopped", by: "another" });
        wanted = true; // who was to follow did not come, and nobody wished that there be none
      }
      await this.#startAgain();
    }
    if (this.#isBack() && this.#state.name !== "ready" && this.#state.name !== "migrating") this.#here(this.client);
  }

  #isBack(): boolean {
    return this.#client?.state === "connected";
  }

  /** The child that was this process; the last one may have been followed by a daemon that is none of this shell's. */
  #childOf(pid: number): Child | undefined {
    return [this.#child, this.#last].find((each) => each instanceof Child && each.pid === pid) as Child | undefined;
  }

  /** A daemon that stops in order says so, and takes its runtime.json away at last; one that is killed leaves it. */
  #wentInOrder(child: Child | undefined): boolean {
    if (this.#farewell !== undefined) return true;
    if (child?.ended && (child.exitCode !== 0 || child.signal !== null)) return false;
    return !existsSync(join(this.dataDir, "runtime.json"));
  }

  async #anotherCame(): Promise<boolean> {
    this.#journal.note("it was stopped in order; another may take its place");
    const end = performance.now() + (this.#options.handoverMs ?? 15_000);
    while (performance.now() < end && this.#leaving === undefined) {
      if (this.#isBack()) return true;
      await sleep(RECONNECT.initialMs);
    }
    return false;
  }

  async #startAgain(): Promise<void> {
    const probe = await this.#probe();
    if (probe) return sleep(RECONNECT.initialMs); // it lives: the connection comes back by itself
    await this.#waitForTurn(this.#policy.attempts + 1);
    if (this.#isBack()) return;
    try {
      await this.#spawn();
    } catch (error) {
      if (!mayPass(error)) throw error;
      return;
    }
    await this.#untilBack();
  }

  /** Tell whether somebody answers for the directory. */
  async #probe(): Promise<boolean> {
    try {
      await (await connect(this.dataDir, { ...this.#options.connect, reconnect: false })).close();
      return true;
    } catch (error) {
      if (error instanceof ConnectionLostError) return false;
      if (error instanceof TimeoutError_) return true; // it is held, by a debugger or a sleep of the machine
      throw error;
    }
  }

  async #untilBack(): Promise<void> {
    const end = performance.now() + 2 * RECONNECT.maxMs;
    while (!this.#isBack() && performance.now() < end && this.#leaving === undefined) await sleep(RECONNECT.initialMs);
  }

  // -- ends -------------------------------------------------------------------------------------------------------

  #leave(how: "stop" | "close"): void {
    this.#leaving = how;
    this.#giveUp.abort(new ConnectionLostError("the shell let go of the daemon"));
  }

  /** Also where this shell is not connected: a daemon that it has just started must not outlive the wish. False: nobody is there. */
  async #askToStop(): Promise<boolean> {
    try {
      // By name: this must compile whatever operations were generated.
      if (this.#isBack()) await this.client.request("daemon.stop");
      else {
        await using client = await connect(this.dataDir, { ...this.#options.connect, reconnect: false });
        await client.request("daemon.stop");
      }
      return true;
    } catch (error) {
      if (!(error instanceof ConnectionLostError)) throw error;
      return false;
    }
  }

  /** What the directory says of its daemon; empty when there is none. */
  #runtime(): string {
    try {
      return readFileSync(join(this.dataDir, "runtime.json"), "utf8");
    } catch {
      return "";
    }
  }

  /** Wait until the daemon that said this of itself is gone, for one that is not this shell's own child. */
  async #whileThere(runtime: string): Promise<void> {
    const end = performance.now() + STOP_MS;
    while (runtime !== "" && this.#runtime() === runtime && performance.now() < end) await sleep(RECONNECT.initialMs);
  }

  async #fail(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    this.#journal.note(`given up: ${reason}`);
    const hint = error instanceof CoderLocalError ? error.hint : undefined;
    const diagnostics = { ...this.diagnostics(), state: "failed", reason, ...(error instanceof StartError ? { exitCode: error.exitCode, signal: error.signal, stderr: error.stderr } : {}) };
    await this.#end({ name: "failed", reason, hint, diagnostics });
  }

  async #end(state: DaemonState): Promise<void> {
    this.#lookNoMore();
    const client = this.#client;
    this.#client = undefined;
    await client?.close();
    this.#become(state);
  }

  #become(state: DaemonState): void {
    const before = this.#state;
    if (state.name === before.name && JSON.stringify(state) === JSON.stringify(before)) return;
    this.#state = state;
    const shown = state.name === "migrating" && before.name === "migrating"; // it goes on, and would fill the journal
    if (state.name !== "failed" && !shown) this.#journal.note(`state: ${state.name}`);
    for (const told of this.#listeners) told(state);
  }
}

function mayPass(error: unknown): boolean {
  return error instanceof StartError ? error.passing : error instanceof ConnectionLostError;
}
