/** A real daemon: a process of its own on a data directory of its own, that a test may kill and start again. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

/** How long a daemon may take to say that it is ready, and to end. */
export const DAEMON_MS = 30_000;

const CHECKOUT = fileURLToPath(new URL("../../../../", import.meta.url));

/** The one line of `serve`. */
export interface ReadyLine {
  event: "ready" | "attached";
  protocol: number;
  version: string;
  incarnation: string;
  pid: number;
  socket: string;
  http: string | null;
  data_dir: string;
}

export class Daemon {
  readonly dataDir: string;
  readonly #log: string;
  #child: ChildProcess | undefined;
  #ready: ReadyLine | undefined;

  private constructor(folder: string) {
    this.dataDir = join(folder, "data");
    this.#log = join(folder, "log");
  }

  /** Start one on a new data directory; `plugins` are folders that are put beside its data, not yet enabled. */
  static async start(...plugins: string[]): Promise<Daemon> {
    const daemon = new Daemon(await mkdtemp(join(tmpdir(), "cl-")));
    for (const name of plugins) {
      const source = join(CHECKOUT, ...name.split("/"));
      await cp(source, join(daemon.dataDir, "plugins", name.split("/").at(-1) as string), {
        recursive: true, filter: (path) => !path.includes("__pycache__"),
      });
    }
    try {
      await daemon.up();
    } catch (error) {
      await daemon.remove();
      throw error;
    }
    return daemon;
  }

  get ready(): ReadyLine {
    return this.#ready as ReadyLine;
  }

  /** Start the process, and wait for its line. */
  async up(): Promise<void> {
    const [command, environment] = commandLine();
    const log = openSync(this.#log, "a");
    // With our pid it ends by itself should this process be killed: no test leaves one behind.
    const options = ["serve", "--data-dir", this.dataDir, "--parent-pid", String(process.pid)];
    const child = spawn(command[0] as string, [...command.slice(1), ...options], {
      env: environment, stdio: ["ignore", "pipe", log],
    });
    closeSync(log);
    this.#child = child;
    this.#ready = JSON.parse(await this.#firstLine(child)) as ReadyLine;
  }

  /** SIGKILL: nothing in the process can react. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.ended();
  }

  /** Wait until the process has ended by itself, and return its exit code. */
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      await once(child, "exit", { signal: AbortSignal.timeout(DAEMON_MS) });
    }
    return child?.exitCode ?? null;
  }

  /** Kill the process, and remove all that it kept. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(join(this.dataDir, ".."), { recursive: true, force: true, maxRetries: 10 });
  }

  /** Return the first line of standard output; raises when it ended without one, or none came in time. */
  async #firstLine(child: ChildProcess): Promise<string> {
    let reason = `none in ${DAEMON_MS} ms, or it ended`;
    child.once("error", (error) => (reason = String(error)));
    const late = setTimeout(() => child.kill("SIGKILL"), DAEMON_MS);
    try {
      for await (const line of createInterface({ input: child.stdout as Readable })) return line;
    } finally {
      clearTimeout(late);
    }
    throw new Error(`no ready line (${reason}); the log ends ${(await readFile(this.#log, "utf8")).slice(-3000)}`);
  }
}

/** `CODER_LOCAL_COMMAND`, a JSON array, or the checkout's own environment. */
export function commandLine(): [command: string[], environment: NodeJS.ProcessEnv] {
  const given = process.env["CODER_LOCAL_COMMAND"];
  if (given !== undefined) return [JSON.parse(given) as string[], process.env];
  const python = process.platform === "win32" ? [".venv", "Scripts", "python.exe"] : [".venv", "bin", "python"];
  const roots = [".", "plugins", "ipc"].map((root) => join(CHECKOUT, root));
  return [[join(CHECKOUT, ...python), "-m", "coder_local"], { ...process.env, PYTHONPATH: roots.join(delimiter) }];
}
