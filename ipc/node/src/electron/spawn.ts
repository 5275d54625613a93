/** Starts the daemon as a child, and reads its one line. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { CoderLocalError } from "../errors.js";
import { redact, secretsOf } from "./diagnostics.js";
import { EXITS, worthAnother } from "./exits.js";

export interface SpawnOptions {
  dataDir: string;
  /** The program and the words before `serve`, for example `["/opt/app/resources/coder-local/coder-local"]`. No shell reads it. */
  command: readonly string[];
  /** The whole environment, that of this process by default. */
  env?: NodeJS.ProcessEnv | undefined;
  /** Seconds that the daemon stays after its last client; without it, it follows its own settings. */
  linger?: number | undefined;
  /** How long it may take to say its line, 60,000 ms by default; data is brought up to date after that. */
  readyMs?: number | undefined;
}

/** The line that `serve` prints: `ready` of a daemon that began, `attached` of the one that was quicker. */
export interface ReadyLine {
  event: string;
  pid: number;
  incarnation: string;
  [name: string]: unknown;
}

/** The daemon is not there after it was started. */
export class StartError extends CoderLocalError {
  static override readonly kind: string = "not_started";

  /** Whether another try may help: a crash may pass, a wrong option or a folder that cannot be written does not. */
  readonly passing: boolean;
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** The end of its standard error, redacted. */
  readonly stderr: string;

  constructor(message: string, details: { hint?: string; cause?: unknown; passing?: boolean; exitCode?: number | null; signal?: string | null; stderr?: string }) {
    super(message, { hint: details.hint, cause: details.cause });
    this.passing = details.passing ?? false;
    this.exitCode = details.exitCode ?? null;
    this.signal = details.signal ?? null;
    this.stderr = details.stderr ?? "";
  }
}

const LINE_LIMIT = 64 * 1024;
const LOG_LIMIT = 4 * 1024 * 1024;
const TAIL = 4_096;

/** A daemon that this process started. */
export class Child {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #log: string;
  readonly #logged: number;
  readonly #dataDir: string;

  private constructor(child: ChildProcess, log: string, logged: number, dataDir: string) {
    this.pid = child.pid as number;
    this.#process = child;
    this.#log = log;
    this.#logged = logged;
    this.#dataDir = dataDir;
  }

  /** Start `serve` and return it with its line; `launched` is told of it before. Raises `StartError`, or the reason of `signal`. */
  static async start(options: SpawnOptions, signal: AbortSignal, launched: (child: Child) => void): Promise<[Child, ReadyLine]> {
    const { dataDir } = options;
    const log = openLog(dataDir);
    const logged = fstatSync(log.file).size;
    const process_ = launch(options, log.file);
    closeSync(log.file);
    await started(process_, options.command[0] ?? "");
    const child = new Child(process_, log.path, logged, dataDir);
    launched(child);
    try {
      return [child, await child.#readLine(options.readyMs ?? 60_000, signal)];
    } catch (error) {
      // Nobody waits for it any more: without its standard input it goes, unless another shell has attached to it.
      if (signal.aborted) process_.stdin?.destroy();
      throw error;
    } finally {
      // Its handles must not keep the shell alive; and the shell's end closes its standard input, by which it knows.
      for (const handle of [process_, process_.stdin, process_.stdout] as { unref?: () => void }[]) handle.unref?.();
    }
  }

  get ended(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  get exitCode(): number | null {
    return this.#process.exitCode;
  }

  get signal(): string | null {
    return this.#process.signalCode;
  }

  /** The end of what it has written on standard error, redacted. */
  get stderr(): string {
    return redact(tail(this.#log, this.#logged), secretsOf(this.#dataDir));
  }

  /** Why another start would end as this one did; undefined while it runs, and where another try may help. */
  get lastingFault(): StartError | undefined {
    if (worthAnother(this.exitCode)) return undefined;
    return new StartError(`the daemon ended with exit code ${this.exitCode}`, this.#details());
  }

  onEnd(told: () => void): void {
    if (this.ended) told();
    else this.#process.once("exit", told);
  }

  /** Resolves when it has ended; to false after `withinMs`. */
  async wait(withinMs: number): Promise<boolean> {
    if (this.ended) return true;
    this.#process.ref();
    try {
      await once(this.#process, "exit", { signal: AbortSignal.timeout(withinMs) });
    } catch {
      return this.ended;
    } finally {
      this.#process.unref();
    }
    return true;
  }

  async #readLine(withinMs: number, signal: AbortSignal): Promise<ReadyLine> {
    const late = AbortSignal.timeout(withinMs);
    const text = await firstLine(this.#process, AbortSignal.any([late, signal])).catch((cause: unknown) => {
      if (signal.aborted) throw signal.reason;
      // Not killed: in the middle of a migration the next start would begin anew and end the same way.
      const hint = `look into ${this.#log}; the next try attaches to it when it is ready`;
      throw new StartError(`the daemon (pid ${this.pid}) was not ready in ${withinMs} ms and is left running`, { hint, cause, stderr: this.stderr, passing: true });
    });
    const line = parse(text);
    if (line !== undefined) return line;
    await this.wait(5_000);
    throw this.#failure(text);
  }

  #failure(text: string): StartError {
    const { exitCode, signal } = this;
    const details = this.#details();
    if (text !== "") return new StartError(`the program printed ${JSON.stringify(text.slice(0, 100))} where the daemon's line was due`, { ...details, passing: false, hint: "is the command coder-local?" });
    const how = signal !== null ? `was killed by ${signal}` : `ended with exit code ${exitCode}`;
    return new StartError(`the daemon ${how} before it was ready`, details);
  }

  #details() {
    const { exitCode, signal, stderr } = this;
    const hint = exitCode === null ? undefined : EXITS.get(exitCode)?.hint;
    return { exitCode, signal, stderr, passing: worthAnother(exitCode), hint: hint ?? `look at the end of ${this.#log}` };
  }
}

function launch(options: SpawnOptions, log: number): ChildProcess {
  const [program, ...words] = options.command;
  if (program === undefined) throw new StartError("there is no program in `command`", { hint: "put its path first" });
  const linger = options.linger === undefined ? [] : ["--linger", String(options.linger)];
  const watch = ["--parent-pid", String(process.pid), "--watch-stdin"];
  return spawn(program, [...words, "serve", "--data-dir", options.dataDir, ...watch, ...linger], {
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", log],
    // Out of the terminal's process group: Ctrl-C is the shell's to answer, and the daemon then sees it go.
    detached: process.platform !== "win32",
    windowsHide: true,
  });
}

/** Wait until the system has made a process of it. */
async function started(child: ChildProcess, program: string): Promise<void> {
  if (child.pid !== undefined) {
    child.on("error", () => undefined); // a signal that could not be sent must not end the shell
    return;
  }
  const [cause] = (await once(child, "error").catch((error: unknown) => [error])) as [Error];
  throw new StartError(`${program} cannot be started: ${cause.message}`, { hint: "is it there, and executable?", cause });
}

/** Return the first line of standard output; empty where it ends without one. */
async function firstLine(child: ChildProcess, signal: AbortSignal): Promise<string> {
  const output = child.stdout;
  if (output === null) return "";
  let text = "";
  try {
    await new Promise<void>((resolve, reject) => {
      signal.throwIfAborted();
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      output.setEncoding("utf8").on("end", resolve).on("data", (piece: string) => {
        text += piece;
        if (text.includes("\n") || text.length > LINE_LIMIT) resolve();
      });
    });
  } finally {
    output.removeAllListeners("data").removeAllListeners("end");
    output.resume(); // there is nothing behind the line, and a pipe that is full would block who writes
  }
  return text.split("\n", 1)[0] ?? "";
}

function parse(text: string): ReadyLine | undefined {
  let line: Partial<ReadyLine>;
  try {
    line = JSON.parse(text) as Partial<ReadyLine>;
  } catch {
    return undefined;
  }
  const said = line?.event === "ready" || line?.event === "attached";
  return said && typeof line.pid === "number" && typeof line.incarnation === "string" ? (line as ReadyLine) : undefined;
}

function openLog(dataDir: string): { path: string; file: number } {
  const folder = join(dataDir, "logs");
  const path = join(folder, "daemon.stderr.log");
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    rotate(path);
    return { path, file: openSync(path, "a+", 0o600) };
  } catch (cause) {
    throw new StartError(`the data directory ${dataDir} cannot be written: ${(cause as Error).message}`, {
      hint: "look at its permissions and its disk, or choose another", cause,
    });
  }
}

function rotate(path: string): void {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= LOG_LIMIT) return;
  try {
    renameSync(path, `${path}.1`);
  } catch {
    // On Windows a daemon that is stopping may hold it still; it is renamed at the next start.
  }
}

function tail(path: string, since: number): string {
  try {
    const file = openSync(path, "r");
    try {
      const size = fstatSync(file).size;
      const begin = Math.max(since, size - TAIL);
      const bytes = Buffer.alloc(Math.max(0, size - begin));
      readSync(file, bytes, 0, bytes.length, begin);
      return bytes.toString("utf8").trim();
    } finally {
      closeSync(file);
    }
  } catch {
    return "";
  }
}
