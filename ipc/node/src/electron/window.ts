/** One window in the main process: what its page has going on, in bounds, until the page is gone. */
import type { Client } from "../client.js";
import { InvalidError, NeedsConfirmationError, RateLimitedError, TooLargeError } from "../errors.js";
import type { AnyOptions, Progress } from "../types.js";
import { errorToWire, windowState, withoutWaysIn } from "./answers.js";
import { PageEvents } from "./events.js";
import type { Allowed } from "./grants.js";
import type { DaemonState } from "./state.js";
import type { SenderLike, ServeOptions } from "./windows.js";
import type { Answer, CallRequest, Channel, Hello, OpenRequest, WindowOptions } from "./wire.js";

/** Calls, and streams, that one window may have at once. */
const MOST_CALLS = 64;
const MOST_STREAMS = 32;
/** Characters of JSON that one input may have. */
const MOST_INPUT = 4 * 1024 * 1024;
/** Items on their way to a window that it has not taken: it is slow, and the process would keep them all. */
const MOST_WAITING = 256;
/** Items of a stream that wait for a window which takes none. */
const MOST_BUFFERED = 10_000;

/** A call, or a stream, until it has ended. A page that is loaded anew counts from 1 again: the number alone names none. */
interface Going {
  id: number;
  abort: AbortController;
  stream: boolean;
  credit: Credit;
  events?: PageEvents;
}

export class Window {
  allowed: Allowed;
  readonly #sender: SenderLike;
  readonly #options: ServeOptions;
  readonly #going = new Map<number, Going>();

  constructor(sender: SenderLike, allowed: Allowed, options: ServeOptions) {
    this.#sender = sender;
    this.allowed = allowed;
    this.#options = options;
  }

  hello(): Hello {
    return { operations: this.allowed.operations, state: windowState(this.#options.daemon.state) };
  }

  tell(state: DaemonState): void {
    this.#send("coder-local:state", windowState(state));
    if (state.name !== "ready") return;
    // After `failed` and `stopped` it is another client, and the one before took its subscriptions with it.
    for (const { events } of this.#going.values()) events?.resume(this.#options.daemon.client);
  }

  async retry(): Promise<Answer> {
    this.allowed.checkRetry();
    await this.#options.daemon.retry();
    return { ok: null };
  }

  async call({ id, name, input, options }: CallRequest): Promise<Answer> {
    this.allowed.checkOperation(name);
    checkInput(input);
    const going = this.#begin(id, false);
    try {
      const { client } = this.#options.daemon;
      const onProgress = (progress: Progress): void => this.#sendTo(going, "coder-local:progress", progress);
      const given = { ...passed(options), signal: going.abort.signal, onProgress };
      return { ok: withoutWaysIn(name, await this.#agreed(name, (confirm) => client.request(name, input, { ...given, ...confirm }))) };
    } finally {
      this.#forget(going);
    }
  }

  /** Begin a stream, or a subscription; what comes is sent as the window takes it. */
  async open(request: OpenRequest): Promise<Answer> {
    if (request.of === "events") this.allowed.checkEvents(request.events?.types);
    else this.allowed.checkOperation(request.name);
    checkInput(request.input);
    checkInput(request.events);
    const going = this.#begin(request.id, true);
    try {
      const { client } = this.#options.daemon;
      if (request.of === "events") return { ok: { cursor: await this.#hear(client, request, going) } };
      void this.#pass(client, request, going);
      return { ok: {} };
    } catch (error) {
      this.#forget(going);
      throw error;
    }
  }

  took(id: number, count: number): void {
    if (Number.isSafeInteger(count) && count > 0) this.#going.get(id)?.credit.give(count);
  }

  cancel(id: number): void {
    const going = this.#going.get(id);
    if (going?.stream === true) this.#forget(going);
    going?.abort.abort();
  }

  /** The page is gone: whatever it asked for is of no use to anyone. */
  endAll(): void {
    for (const { abort } of this.#going.values()) abort.abort();
    this.#going.clear();
  }

  #hear(client: Client, { events }: OpenRequest, going: Going): Promise<string> {
    const send = (event: unknown): Promise<void> => {
      this.#sendTo(going, "coder-local:items", [event]);
      return going.credit.take(1);
    };
    going.events = new PageEvents(events ?? {}, send, (error) => this.#ended(going, error), going.abort.signal);
    return going.events.begin(client);
  }

  async #pass(client: Client, { name, input, options }: OpenRequest, going: Going): Promise<void> {
    try {
      const stream = client.requestStream(name as string, input, { ...passed(options), signal: going.abort.signal });
      for await (const item of stream) {
        this.#sendTo(going, "coder-local:items", [item]);
        await going.credit.take(1);
      }
      this.#ended(going);
    } catch (error) {
      this.#ended(going, error);
    }
  }

  #ended(going: Going, error?: unknown): void {
    this.#forget(going);
    this.#sendTo(going, "coder-local:end", error === undefined ? undefined : errorToWire(error));
  }

  /** Have the person asked where the daemon wants that. The page never sees what confirms: it could agree by itself. */
  async #agreed(operation: string, run: (confirm: { confirm?: string }) => Promise<unknown>): Promise<unknown> {
    try {
      return await run({});
    } catch (error) {
      const { confirm } = this.#options;
      if (!(error instanceof NeedsConfirmationError) || error.token === undefined || confirm === undefined) throw error;
      if (!(await confirm(this.#sender, { operation, message: error.message }))) throw error;
      return await run({ confirm: error.token });
    }
  }

  #begin(id: number, stream: boolean): Going {
    if (!Number.isSafeInteger(id)) throw new InvalidError("a request has a number", { field: "/id" });
    if (this.#going.has(id)) throw new InvalidError("a request has a number of its own", { field: "/id" });
    const most = stream ? MOST_STREAMS : MOST_CALLS;
    if ([...this.#going.values()].filter((each) => each.stream === stream).length >= most) {
      throw new RateLimitedError(`this window has ${most} ${stream ? "streams open" : "calls under way"}`, { hint: "wait for some of them", data: { retry_after_ms: 100 } });
    }
    const going: Going = { id, abort: new AbortController(), stream, credit: new Credit() };
    going.abort.signal.addEventListener("abort", () => going.credit.end());
    this.#going.set(id, going);
    return going;
  }

  #forget(going: Going): void {
    if (this.#going.get(going.id) === going) this.#going.delete(going.id);
  }

  /** Send what belongs to a call or a stream, unless the page that asked for it is gone, or wants it no more. */
  #sendTo(going: Going, channel: Channel, ...args: unknown[]): void {
    if (!going.abort.signal.aborted) this.#send(channel, going.id, ...args);
  }

  #send(channel: Channel, ...args: unknown[]): void {
    if (!this.#sender.isDestroyed()) this.#sender.send(channel, ...args);
  }
}

/** How many items may be sent; whoever sends waits when there are no more. */
class Credit {
  #left = MOST_WAITING;
  #ended = false;
  #wake: (() => void) | undefined;

  give(count: number): void {
    this.#left = Math.min(MOST_WAITING, this.#left + count);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async take(count: number): Promise<void> {
    this.#left -= count;
    while (this.#left <= 0 && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

/** Return the options that a page may give, in bounds: what waits for it waits in this process. */
function passed(options: WindowOptions = {}): AnyOptions {
  const { ifRev, idempotencyKey, maxBuffered = MOST_BUFFERED } = options;
  return { ifRev, idempotencyKey, maxBuffered: Math.min(Number(maxBuffered) || MOST_BUFFERED, MOST_BUFFERED) };
}

function checkInput(input: unknown): void {
  if (input !== undefined && (typeof input !== "object" || input === null || Array.isArray(input))) throw new InvalidError("an input is an object", { field: "" });
  const size = JSON.stringify(input ?? {}).length;
  if (size > MOST_INPUT) throw new TooLargeError(`an input of a window has at most ${MOST_INPUT} characters, and this one ${size}`, { hint: "write it to a file, and give its path", data: { limit: MOST_INPUT } });
}
