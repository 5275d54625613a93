/** Errors with names: one class for each kind that may stand on the wire, and one for a lost connection. */

/** One thing wrong with an input; `field` is a JSON pointer such as `/checklist/0/text`. */
export interface Fault {
  field: string;
  message: string;
  hint?: string;
}

/** What an error carries besides its message. */
export interface ErrorDetails {
  kind?: string | undefined;
  field?: string | undefined;
  hint?: string | undefined;
  data?: Readonly<Record<string, unknown>> | undefined;
  cause?: unknown;
}

/** The base of all errors of this package; it stands by itself for a kind that this build does not know. */
export class CoderLocalError extends Error {
  /** The kind that the class stands for. */
  static readonly kind: string = "broken";

  /** The word on the wire: `invalid`, `not_found`, … */
  readonly kind: string;
  /** JSON pointer into the input. */
  readonly field: string | undefined;
  /** The cure, in one sentence. */
  readonly hint: string | undefined;
  /** Machine-readable details; empty when there are none. */
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.kind = details.kind ?? new.target.kind;
    this.field = details.field;
    this.hint = details.hint;
    this.data = details.data ?? {};
  }
}

/** The input fails its schema or a rule. All faults are named at once. */
export class InvalidError extends CoderLocalError {
  static override readonly kind: string = "invalid";

  /** Every fault of the input, never empty. */
  get faults(): readonly Fault[] {
    const several = this.data["faults"];
    if (Array.isArray(several) && several.length > 0) return several as Fault[];
    return [{ field: this.field ?? "", message: this.message, ...(this.hint === undefined ? {} : { hint: this.hint }) }];
  }
}

/** There is no such record or operation, or the caller may not see it (the answer is the same). */
export class NotFoundError extends CoderLocalError {
  static override readonly kind: string = "not_found";
}

/** A uniqueness, a state or a cycle stands against it; `data` says which. */
export class ConflictError extends CoderLocalError {
  static override readonly kind: string = "conflict";
}

/** `ifRev` does not match. */
export class StaleError extends CoderLocalError {
  static override readonly kind: string = "stale";

  /** The newer record. */
  get current(): unknown {
    return this.data["current"];
  }
}

/** A policy or a missing permission; the message says which rule and how to change it. */
export class RefusedError extends CoderLocalError {
  static override readonly kind: string = "refused";
}

/** A person must agree: show the message, then call again with the same input and `{confirm: error.token}`. */
export class NeedsConfirmationError extends CoderLocalError {
  static override readonly kind: string = "needs_confirmation";

  /** Single use, 10 minutes, bound to the exact input. */
  get token(): string | undefined {
    return text(this.data["confirm"]);
  }
}

/** Secrets are locked, the database is busy, or a plugin is migrating. */
export class LockedError extends CoderLocalError {
  static override readonly kind: string = "locked";
}

/** Over a stated limit. */
export class TooLargeError extends CoderLocalError {
  static override readonly kind: string = "too_large";

  get limit(): number | undefined {
    return number(this.data["limit"]);
  }
}

/** Too many calls. */
export class RateLimitedError extends CoderLocalError {
  static override readonly kind: string = "rate_limited";

  /** Milliseconds until it is worth asking again. */
  get retryAfterMs(): number | undefined {
    return number(this.data["retry_after_ms"]);
  }
}

/** An external operation without a network. */
export class OfflineError extends CoderLocalError {
  static override readonly kind: string = "offline";

  /** Whether an outbox took it, to be sent later. */
  get queued(): boolean {
    return this.data["queued"] === true;
  }
}

/** The deadline passed; the message says whether the work goes on. (`TimeoutError` is the name of a web platform error.) */
export class TimeoutError_ extends CoderLocalError {
  static override readonly kind: string = "timeout";

  /** Whether it ended because somebody cancelled it. */
  get cancelled(): boolean {
    return this.data["cancelled"] === true;
  }
}

/** The feature exists, but not on this platform, version or set of plugins; the message names what to enable. */
export class UnsupportedError extends CoderLocalError {
  static override readonly kind: string = "unsupported";
}

/** The daemon's fault, or bytes that are no messages. */
export class BrokenError extends CoderLocalError {
  static override readonly kind: string = "broken";

  /** Under this id the daemon's log tells more. */
  get reportId(): string | undefined {
    return text(this.data["report_id"]);
  }
}

/** The daemon cannot be reached, or went away before it answered. Never on the wire. */
export class ConnectionLostError extends CoderLocalError {
  static override readonly kind: string = "connection_lost";

  /** Whether the call may have been carried out all the same. */
  readonly maybeCarriedOut: boolean;

  constructor(message: string, details: Omit<ErrorDetails, "kind"> & { maybeCarriedOut?: boolean } = {}) {
    super(message, details);
    this.maybeCarriedOut = details.maybeCarriedOut ?? false;
  }
}

// A Map, because `kind` comes from outside and an object answers to "constructor".
const CLASSES = new Map(
  [
    InvalidError, NotFoundError, ConflictError, StaleError, RefusedError, NeedsConfirmationError, LockedError,
    TooLargeError, RateLimitedError, OfflineError, TimeoutError_, UnsupportedError, BrokenError,
  ].map((errorClass) => [errorClass.kind, errorClass]),
);

const KIND_OF_CODE = new Map<unknown, string>([
  [-32601, "not_found"],
  [-32602, "invalid"],
]);

/** Return the error for the `error` member of an answer. Never raises, whatever it is given. */
export function errorFromWire(wire: unknown): CoderLocalError {
  const error = object(wire);
  const named = object(error["data"]);
  const kind = text(named["kind"]) ?? KIND_OF_CODE.get(error["code"]) ?? "broken";
  const message = text(named["message"]) ?? text(error["message"]) ?? `the daemon answered an error of kind ${kind}`;
  const details = { kind, field: text(named["field"]), hint: text(named["hint"]), data: object(named["data"]) };
  return new (CLASSES.get(kind) ?? CoderLocalError)(message, details);
}

function object(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}
