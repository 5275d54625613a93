/** What a page is told: of the state, of an error, of an answer; each without what is not a page's to know. */
import { CoderLocalError, ConnectionLostError } from "../errors.js";
import { asText } from "./diagnostics.js";
import type { DaemonState } from "./state.js";
import type { WindowState, WireError } from "./wire.js";

/** Fields of answers that tell where the daemon listens: a page comes through its bridge, and by no other way. */
const WAYS_IN: Readonly<Record<string, readonly string[]>> = { "daemon.status": ["socket", "http"] };

/** Return what a page may know of the state. */
export function windowState(state: DaemonState): WindowState {
  if (state.name === "ready") return { name: "ready", version: state.version, incarnation: state.incarnation };
  if (state.name === "migrating") {
    const { pid: _, spawned: __, ...shown } = state;
    return shown;
  }
  if (state.name === "failed") return { name: "failed", reason: state.reason, hint: state.hint, diagnostics: asText(state.diagnostics) };
  return state;
}

/** Return an error as plain data, without what confirms. */
export function errorToWire(error: unknown): WireError {
  if (!(error instanceof CoderLocalError)) return { kind: "broken", message: error instanceof Error ? error.message : String(error) };
  const { confirm: _, ...data } = error.data;
  return {
    kind: error.kind,
    message: error.message,
    ...(error.field === undefined ? {} : { field: error.field }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(Object.keys(data).length === 0 ? {} : { data }),
    ...(error instanceof ConnectionLostError ? { maybeCarriedOut: error.maybeCarriedOut } : {}),
  };
}

/** Return an answer without the places where the daemon listens: they are null in it. */
export function withoutWaysIn(operation: string, answer: unknown): unknown {
  const hidden = Object.hasOwn(WAYS_IN, operation) ? WAYS_IN[operation] : undefined;
  if (hidden === undefined || typeof answer !== "object" || answer === null) return answer;
  return { ...answer, ...Object.fromEntries(hidden.map((field) => [field, null])) };
}
