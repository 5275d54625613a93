/** Where the daemon is: its data directory, and the `runtime.json` that it keeps there. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, posix, win32, type PlatformPath } from "node:path";
import { ConnectionLostError } from "./errors.js";

/** What `runtime.json` says. It may be stale after a crash: trust only what the daemon answers to `initialize`. */
export interface RuntimeInfo {
  protocol: number;
  version: string;
  incarnation: string;
  pid: number;
  /** Seconds since the epoch. */
  process_started_at: number;
  /** Path of the Unix socket, or name of the Windows pipe. */
  socket: string;
  http?: string | null;
  token: string;
  data_dir: string;
}

/** The environment that decides the default data directory; a test gives its own. */
export interface Surroundings {
  env: Readonly<Record<string, string | undefined>>;
  platform: NodeJS.Platform;
  home: string;
}

/** Return `CODER_LOCAL_DATA_DIR`, else the platform's user data directory for `coder-local`. */
export function defaultDataDir(
  { env, platform, home }: Surroundings = { env: process.env, platform: process.platform, home: homedir() },
): string {
  const chosen = env["CODER_LOCAL_DATA_DIR"];
  const paths: PlatformPath = platform === "win32" ? win32 : posix;
  if (chosen) return paths.resolve(chosen.replace(/^~(?=$|[/\\])/, home));
  if (platform === "win32") {
    return win32.join(env["LOCALAPPDATA"] || win32.join(home, "AppData", "Local"), "coder-local");
  }
  const xdg = env["XDG_DATA_HOME"] ?? "";
  // A relative XDG path is invalid by its specification, and would depend on where the program was started.
  if (posix.isAbsolute(xdg)) return posix.join(xdg, "coder-local");
  const below = platform === "darwin" ? ["Library", "Application Support"] : [".local", "share"];
  return posix.join(home, ...below, "coder-local");
}

/** Return what `<dataDir>/runtime.json` says. Raises `ConnectionLostError` without one, or for a damaged one: the next daemon writes it anew. */
export async function readRuntime(dataDir: string): Promise<RuntimeInfo> {
  const path = join(dataDir, "runtime.json");
  const hint = `start it with: coder-local serve --data-dir ${JSON.stringify(dataDir)}`;
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new ConnectionLostError(`no daemon is running on ${dataDir}`, { hint, cause: error });
    }
    throw new ConnectionLostError(`${path} cannot be read (${code ?? String(error)})`, { cause: error });
  }
  return parseRuntime(content, path, hint);
}

function parseRuntime(content: string, path: string, hint: string): RuntimeInfo {
  let info: Partial<RuntimeInfo> | null;
  try {
    info = JSON.parse(content) as Partial<RuntimeInfo> | null;
  } catch (error) {
    throw new ConnectionLostError(`no daemon can be found by ${path}: it is not JSON`, { hint, cause: error });
  }
  if (typeof info?.socket !== "string" || info.socket === "") {
    throw new ConnectionLostError(`no daemon can be found by ${path}: it names no socket`, { hint });
  }
  return info as RuntimeInfo;
}
