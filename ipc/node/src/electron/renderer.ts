/** The client of a page: the same functions as in the main process, over the bridge that the preload script made. */
import { errorFromWire, CoderLocalError, ConnectionLostError } from "../errors.js";
import { buildApi, type Api } from "../generated/operations.js";
import type { EventMatching, EventPattern, Reset } from "../event-types.js";
import type { AnyOptions, Cursor, OperationKind } from "../types.js";
import type { Answer, Bridge, Hello, OpenRequest, WindowOptions, WindowState, WireError } from "./wire.js";

export type { Bridge, Hello, WindowState } from "./wire.js";
export * from "../errors.js";

/** What a page hears; leaving the loop ends it. */
export interface EventsOptions<Pattern extends string> {
  cursor?: Cursor;
  types: readonly Pattern[];
  subjects?: readonly string[];
  /** Ends it while the loop waits for the next event; the loop then raises the signal's reason. */
  signal?: AbortSignal;
}

/** A page's client. */
export interface PageClient {
  /** The functions of the operations; one that the window was not allowed is refused with the cure. */
  readonly api: Api;
  /** What the window may call, with the kind of each. */
  readonly operations: Readonly<Record<string, OperationKind>>;
  readonly state: WindowState;
  /** Tell of each change of the state, and of the present one at once. */
  onState(told: (state: WindowState) => void): () => void;
  /** Have the daemon started that was given up or stopped; resolves when it answers. Raises why it does not. */
  retry(): Promise<void>;
  /** Call an operation by its wire name. */
  request(name: string, input?: object, options?: AnyOptions): Promise<unknown>;
  /** Read a stream operation by its wire name. */
  requestStream<Item = unknown>(name: string, input?: object, options?: AnyOptions): AsyncGenerator<Item, void>;
  /** Read events; over a lost connection nothing is left out or doubled, and where the log cannot serve that a `Reset` comes. */
  events<const Pattern extends EventPattern>(options: EventsOptions<Pattern>): AsyncGenerator<EventMatching<Pattern> | Reset, void>;
}

/** Return the client of a page, over `window.coderLocal`. Raises `RefusedError` for a window that was allowed nothing. */
export async function connectPage(bridge: Bridge | undefined = (globalThis as { coderLocal?: Bridge }).coderLocal): Promise<PageClient> {
  if (bridge === undefined) {
    throw new ConnectionLostError("this page has no bridge", { hint: "set webPreferences.preload to @coder-local/client/electron/preload" });
  }
  const hello = await bridge.hello();
  if ("error" in hello) throw errorFrom(hello.error as WireError);
  return new Page(bridge, hello);
}

class Page implements PageClient {
  readonly api: Api;
  readonly operations: Readonly<Record<string, OperationKind>>;
  readonly #bridge: Bridge;
  readonly #told = new Set<(state: WindowState) => void>();
  #state: WindowState;
  #ids = 0;

  constructor(bridge: Bridge, hello: Hello) {
    this.#bridge = bridge;
    this.#state = hello.state;
    this.operations = hello.operations;
    this.api = buildApi((name, kind, input, options) =>
      kind === "stream" ? this.requestStream(name, input, options) : this.request(name, input, options),
    );
    bridge.onState((state) => {
      this.#state = state;
      for (const told of this.#told) told(state);
    });
  }

  get state(): WindowState {
    return this.#state;
  }

  onState(told: (state: WindowState) => void): () => void {
    this.#told.add(told);
    told(this.#state);
    return () => this.#told.delete(told);
  }

  async retry(): Promise<void> {
    settled(await this.#bridge.retry());
  }

  async request(name: string, input?: object, options: AnyOptions = {}): Promise<unknown> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const id = (this.#ids += 1);
    const request = { id, name, ...(input === undefined ? {} : { input }), options: passed(options) };
    const cancel = (): void => this.#bridge.cancel(id);
    signal?.addEventListener("abort", cancel);
    try {
      const answer = await this.#bridge.call(request, onProgress);
      signal?.throwIfAborted();
      return settled(answer);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  requestStream<Item>(name: string, input?: object, options: AnyOptions = {}): AsyncGenerator<Item, void> {
    return this.#read<Item>({ id: 0, of: "stream", name, ...(input === undefined ? {} : { input }), options: passed(options) }, options.signal);
  }

  events<const Pattern extends EventPattern>({ signal, ...events }: EventsOptions<Pattern>): AsyncGenerator<EventMatching<Pattern> | Reset, void> {
    return this.#read<EventMatching<Pattern> | Reset>({ id: 0, of: "events", events }, signal);
  }

  async *#read<Item>(asked: OpenRequest, signal?: AbortSignal): AsyncGenerator<Item, void> {
    const id = (this.#ids += 1);
    let waiting: Item[] = [];
    let end: { error?: WireError | undefined } | undefined;
    let wake: (() => void) | undefined;
    const come = (items: unknown[]): void => {
      waiting.push(...(items as Item[]));
      wake?.();
    };
    const over = (error?: WireError | null): void => {
      end = { error: error ?? undefined };
      wake?.();
    };
    const stopped = (): void => wake?.();
    signal?.addEventListener("abort", stopped);
    try {
      settled(await this.#bridge.open({ ...asked, id }, come, over));
      for (;;) {
        signal?.throwIfAborted();
        const items = waiting;
        waiting = [];
        yield* items;
        if (items.length > 0) this.#bridge.took(id, items.length);
        else if (end !== undefined) break;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
      if (end.error !== undefined) throw errorFrom(end.error);
    } finally {
      signal?.removeEventListener("abort", stopped);
      if (end === undefined) this.#bridge.close(id);
    }
  }
}

function passed({ ifRev, idempotencyKey, maxBuffered }: AnyOptions): WindowOptions {
  return Object.fromEntries(Object.entries({ ifRev, idempotencyKey, maxBuffered }).filter(([, value]) => value !== undefined));
}

function settled(answer: Answer): unknown {
  if ("error" in answer) throw errorFrom(answer.error);
  return answer.ok;
}

/** Return an error of its class again. */
function errorFrom(error: WireError): CoderLocalError {
  if (error.kind !== "connection_lost") return errorFromWire({ message: error.message, data: error });
  return new ConnectionLostError(error.message, { hint: error.hint, maybeCarriedOut: error.maybeCarriedOut ?? false });
}
