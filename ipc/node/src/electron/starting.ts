/** Follows a daemon that answers and is not ready yet: its data may have to be brought up to date first, for minutes. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../client.js";

/** What is shown while data is brought up to date. */
export interface Migration {
  /** For a person: `migrating notes 0003 (2 of 3), 12 s`. */
  message: string;
  /** From 0 to 1, how much of the snapshot of before is written; null in any other step, whose end nobody knows. */
  fraction: number | null;
}

const ASK_MS = 500;
/** One that is over within a second is not told of: the first tables of a new data directory are made in less. */
const QUIET_S = 1;
const QUIET_ASK_MS = 20;

/**
 * Tell how far the start is, whenever it may have changed, until it is over: a migration, or undefined when there is none,
 * and calls wait for no more than plugins. Between the migrations of two plugins the first goes on.
 */
export async function* starting(client: Client, signal: AbortSignal): AsyncGenerator<Migration | undefined> {
  for (let shown = false; ;) {
    // By name: this must compile whatever operations were generated.
    const status = (await client.request("daemon.status", {}, { signal })) as { state: string; migrating?: (Migration & { elapsed_seconds: number }) | null };
    const { state, migrating } = status;
    if (state === "stopping") return; // its end tells the rest
    if (state !== "starting" && state !== "migrating") break;
    const quiet = state === "migrating" && !shown && (migrating?.elapsed_seconds ?? 0) < QUIET_S;
    if (state === "migrating" && !quiet && migrating) {
      shown = true;
      yield { message: migrating.message, fraction: migrating.fraction };
    } else if (!shown && !quiet) yield undefined;
    await sleep(quiet ? QUIET_ASK_MS : ASK_MS, undefined, { signal, ref: false });
  }
  yield undefined;
}
