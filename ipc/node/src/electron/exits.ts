/** What each exit code of `serve` has a shell do: the table of docs/spawn-contract.md, which a test compares. */

export interface Exit {
  /** Whether another start may end otherwise, so that it is tried, as often as the policy allows. */
  readonly again: boolean;
  /** What to do about it; without it, the log is named. */
  readonly hint?: string;
}

/** Any other code, and an end by a signal, is a crash: that is tried again. */
export const EXITS: ReadonlyMap<number, Exit> = new Map([
  [0, { again: true }],
  [2, { again: false, hint: "the command has options that this version does not know: update the daemon" }],
  // It may be stopping, or be held by a debugger. One of another protocol is found by the shell itself when it attaches.
  [8, { again: true, hint: "another process holds the data directory and does not answer: look at it with `coder-local status`" }],
  [65, { again: false, hint: "the data was written by a newer version: install it, or restore a snapshot" }],
  [70, { again: true }],
  [73, { again: false, hint: "the data directory cannot be used: look at its permissions and its disk" }],
  [130, { again: false, hint: "somebody interrupted it: start it when it is wanted" }],
]);

/** Tell whether another start may end otherwise than with this code; null is an end by a signal. */
export function worthAnother(code: number | null): boolean {
  return code === null || (EXITS.get(code)?.again ?? true);
}
