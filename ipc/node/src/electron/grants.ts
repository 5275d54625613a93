/** What one window may do: a list of operations and events, and whose page it is. */
import { CoderLocalError } from "../errors.js";
import { operationKinds } from "../generated/operations.js";
import type { OperationKind } from "../types.js";

export interface Grant {
  /** Wire names, or ones that end in `.*`: `planning.tasks.*`. */
  operations: readonly string[];
  /** Types of events, or ones that end in `*`; none when missing. */
  events?: readonly string[];
  /** Whether its page may have a daemon started that was given up or stopped; not when missing. */
  retry?: boolean;
  /** Origin of the page, for example `app://shell`, or `file://`. A page that was navigated elsewhere is refused. */
  origin: string;
}

/** The window asked for what it was not given. Never on the socket: the main process says so itself. */
export class ForbiddenError extends CoderLocalError {
  static override readonly kind: string = "refused";
}

const NEVER = /^tokens\./;
const KINDS: Readonly<Record<string, OperationKind>> = operationKinds;

/** One window's list, looked through once. */
export class Allowed {
  readonly #grant: Grant;
  readonly #events: readonly string[];

  /** Raises `TypeError` for a list that can be no one's intention. */
  constructor(grant: Grant) {
    for (const name of grant.operations) {
      if (name === "*" || name === "") throw new TypeError("a window is given operations by name or by domain, not all at once");
      if (NEVER.test(name)) throw new TypeError(`${name} answers with a token, which no page may have`);
    }
    if (grant.origin === "" || grant.origin === "null") throw new TypeError("a grant names the origin of its page");
    this.#grant = grant;
    this.#events = grant.events ?? [];
  }

  /** The operations of this build that are allowed, and those of other plugins that are named whole. */
  get operations(): Record<string, OperationKind> {
    const known = Object.entries(KINDS).filter(([name]) => this.#has(name));
    const others = this.#grant.operations.filter((name) => !name.endsWith("*") && !(name in KINDS));
    return Object.fromEntries([...known, ...others.map((name): [string, OperationKind] => [name, "action"])]);
  }

  /** Raises `ForbiddenError` for a page of another origin. */
  checkOrigin(origin: string): void {
    if (origin === this.#grant.origin) return;
    throw new ForbiddenError(`a page of ${origin} has no access here`, { hint: `the window was allowed for ${this.#grant.origin} only` });
  }

  /** Raises `ForbiddenError` for an operation that is not on the list. */
  checkOperation(name: unknown): void {
    if (typeof name === "string" && this.#has(name)) return;
    throw new ForbiddenError(`this window may not call ${String(name)}`, { hint: `put ${JSON.stringify(name)} into the \`operations\` it is allowed`, data: { operation: name } });
  }

  /** Raises `ForbiddenError` for types of events that are not all on the list; without any, all are asked for. */
  checkEvents(types: unknown): void {
    // What comes from a page is of any shape; and no types at all is, to the daemon, no limit.
    for (const type of Array.isArray(types) && types.length > 0 ? (types as unknown[]) : ["*"]) {
      if (typeof type === "string" && this.#events.some((allowed) => covers(allowed, type))) continue;
      throw new ForbiddenError(`this window may not hear ${String(type)}`, { hint: `put ${JSON.stringify(type)} into the \`events\` it is allowed, or ask for fewer`, data: { event: type } });
    }
  }

  /** Raises `ForbiddenError` unless the page may have the daemon started. */
  checkRetry(): void {
    if (this.#grant.retry === true) return;
    throw new ForbiddenError("this window may not have the daemon started", { hint: "put `retry: true` into what it is allowed" });
  }

  #has(name: string): boolean {
    return !NEVER.test(name) && this.#grant.operations.some((allowed) => covers(allowed, name));
  }
}

function covers(allowed: string, name: string): boolean {
  return allowed.endsWith("*") ? name.startsWith(allowed.slice(0, -1)) : name === allowed;
}
