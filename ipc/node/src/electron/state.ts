/** What becomes of the daemon, as a shell and its windows see it. Types, and nothing that needs Node. */

/** What a shell shows of the daemon. */
export type DaemonState =
  | { name: "starting" }
  | { name: "ready"; pid: number; incarnation: string; version: string; /** Whether this shell started it. */ spawned: boolean }
  /** It answers, and its data is brought up to date; calls wait. It is told anew whenever the message changes, and becomes `ready` by itself. */
  | { name: "migrating"; pid: number; incarnation: string; version: string; spawned: boolean; /** For a person: what is done, and for how long. */ message: string; /** From 0 to 1, where that is known. */ fraction: number | null }
  /** The connection was lost; the daemon may be there, or another one that takes its place. Calls wait. */
  | { name: "reconnecting"; /** The version that takes over, where the daemon said so. */ next?: string }
  /** It died, and is started again in `inMs`. */
  | { name: "restarting"; attempt: number; inMs: number }
  /** It was given up: show `reason`, `hint` and the diagnostics, and offer `retry()`. */
  | { name: "failed"; reason: string; hint: string | undefined; diagnostics: Diagnostics }
  /** It was stopped in order: by this shell, or by somebody else, who may have had a reason. `retry()` starts it. */
  | { name: "stopped"; by: "shell" | "another" };

/** One thing that happened; `at` is in milliseconds since the shell began to look after the daemon. */
export interface Happening {
  at: number;
  what: string;
}

export interface Diagnostics {
  /** Versions of this package, Node and, in Electron, Electron. */
  versions: Record<string, string>;
  platform: string;
  /** Folder of the data, below `~` where it is there. */
  dataDir: string;
  /** The program; its arguments are left out where they could hold a secret. */
  command: string;
  /** The state's word, as `state.name` has it. */
  state: string;
  /** Why it does not run, if it does not. */
  reason: string | undefined;
  exitCode: number | null;
  signal: string | null;
  /** At most the last 200. */
  happenings: Happening[];
  /** The end of what the daemon wrote on standard error, at most 4 KB. */
  stderr: string;
}
