/** The types that the generated file and the hand-written ones share. */

/** An enum in an answer: the words known today, and any word that a newer daemon may add. */
export type Open<Known extends string> = Known | (string & {});

/** A moment: RFC 3339 in UTC with milliseconds, `2026-11-20T16:15:27.123Z`. */
export type Instant = string;

/** A day on the wall calendar without a zone, `2026-11-20`. */
export type LocalDate = string;

/** A length of time in ISO 8601, weeks to seconds, `PT15M`. */
export type Duration = string;

/** A place in the event log, `<epoch>:<seq>`; it equals the `id` of the last event seen. */
export type Cursor = string;

/** One page of a list. Ask again with `cursor: next_cursor` until that is null. */
export interface Page<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** The input of an operation that takes none. */
export type NoInput = Record<string, never>;

/** What an operation is: it reads, it writes in one transaction, it talks to the outside world, or it answers many items. */
export type OperationKind = "query" | "command" | "action" | "stream";

/** How far a call has come. `total` is missing when nobody can know it. */
export interface Progress {
  done: number;
  total?: number;
  message?: string;
}

/** Options of every call. */
export interface CallOptions {
  /**
   * Gives the call up: the promise rejects with the signal's reason at once, and the daemon is told to stop.
   * A command may have been carried out by then; give an `idempotencyKey` to ask again safely.
   */
  signal?: AbortSignal | undefined;
  /** Told how far the call has come. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** Options of an action. */
export interface ActionOptions extends CallOptions {
  /** The `token` of a `NeedsConfirmationError`: single use, 10 minutes, bound to the exact input. */
  confirm?: string | undefined;
}

/** Options of a command. */
export interface CommandOptions extends ActionOptions {
  /** The record must have this `rev`, else `StaleError`. */
  ifRev?: number | undefined;
  /**
   * At most 200 characters. The same key and input within 24 h gets the first answer, other input `ConflictError`;
   * hence a call that has a key is sent again by itself after a lost connection.
   */
  idempotencyKey?: string | undefined;
}

/** Options of a stream. */
export interface StreamOptions extends ActionOptions {
  /** How many items may wait for a slow reader, 10,000 by default; past that the stream fails with `TooLargeError`. */
  maxBuffered?: number | undefined;
}

/** Everything that any operation may be given. */
export type AnyOptions = CommandOptions & StreamOptions;

/** Carries out one operation; what the generated namespaces are made over. */
export type Invoke = (name: string, kind: OperationKind, input: object | undefined, options: AnyOptions | undefined) => unknown;

/** One event, as CloudEvents 1.0 JSON. `data` is thin: ids, changed field names and state words, never values. */
export interface EventEnvelope<Type extends string, Data> {
  specversion: "1.0";
  id: Cursor;
  source: string;
  type: Type;
  /** `<record>/<id>`, for example `planning.task/0193…`. */
  subject?: string | null;
  time: Instant;
  sequence: number;
  /** Who made it: `user`, `agent:<id>`, `plugin:<name>`, `peer:<id>` or `import:<source>`. */
  actor: string;
  data: Data;
}

/** An event of a type that this build of the package does not know. */
export type UnknownEvent = EventEnvelope<string, Record<string, unknown>>;

/** Data of the events that every record says by itself: `.created`, `.updated`, `.deleted`, `.restored`. */
export interface RecordChanged {
  id: string;
  rev: number;
  /** Names of the changed fields; empty for a record that is new. */
  changed: string[];
}
