/** The main process's side of the bridge: each window calls what it was allowed, and ends with its page. */
import type { Client } from "../client.js";
import { CoderLocalError, ConnectionLostError, InvalidError, NeedsConfirmationError, RateLimitedError, TooLargeError } from "../errors.js";
import type { AnyOptions, Progress } from "../types.js";
import { asText } from "./diagnostics.js";
import { Allowed, ForbiddenError, type Grant } from "./grants.js";
import type { DaemonState } from "./state.js";
import type { Answer, CallRequest, Channel, Hello, OpenRequest, WindowOptions, WindowState, WireError } from "./wire.js";

/** Of Electron's `WebFrameMain`. */
export interface FrameLike {
  readonly origin: string;
}

/** Of Electron's `WebContents`. */
export interface SenderLike {
  readonly id: number;
  readonly mainFrame: FrameLike;
  isDestroyed(): boolean;
  send(channel: string, ...args: unknown[]): void;
  on(event: "destroyed", listener: () => void): unknown;
  on(event: "render-process-gone", listener: () => void): unknown;
  on(event: "did-navigate", listener: () => void): unknown;
}

/** Of Electron's `IpcMainEvent` and `IpcMainInvokeEvent`. */
export interface EventLike {
  readonly sender: SenderLike;
  readonly senderFrame: FrameLike | null;
}

/** Of Electron's `ipcMain`. */
export interface IpcMainLike {
  handle(channel: string, listener: (event: EventLike, ...args: unknown[]) => Promise<unknown>): void;
  removeHandler(channel: string): void;
  on(channel: string, listener: (event: EventLike, ...args: unknown[]) => void): unknown;
  removeListener(channel: string, listener: (event: EventLike, ...args: unknown[]) => void): unknown;
}

/** What is served; a `Supervisor` is one. */
export interface Source {
  readonly client: Client;
  readonly state: DaemonState;
  onState(told: (state: DaemonState) => void): () => void;
}

export interface ServeOptions {
  ipcMain: IpcMainLike;
  daemon: Source;
  /** Ask the person whether to do what needs agreement, for example with `dialog`; without it such calls are refused. */
  confirm?: (window: SenderLike, question: { operation: string; message: string }) => Promise<boolean>;
}

/** Calls, and streams, that one window may have at once. */
const MOST_CALLS = 64;
const MOST_STREAMS = 32;
/** Characters of JSON that one input may have. */
const MOST_INPUT = 4 * 1024 * 1024;
/** Items on their way to a window that it has not taken: it is slow, and the process would keep them all. */
const MOST_WAITING = 256;

/** Serve windows; they have nothing until `allow` is called for them. */
export function serveWindows(options: ServeOptions): Windows {
  return new Windows(options);
}

export class Windows {
  readonly #options: ServeOptions;
  readonly #windows = new Map<number, Window>();
  readonly #ends: (() => void)[] = [];

  /** @internal */
  constructor(options: ServeOptions) {
    this.#options = options;
    this.#handle("coder-local:hello", (window) => Promise.resolve(window.hello()));
    this.#handle("coder-local:call", (window, request) => window.call(request as CallRequest));
    this.#handle("coder-local:open", (window, request) => window.open(request as OpenRequest));
    this.#on("coder-local:cancel", (window, id) => window.cancel(id as number));
    this.#on("coder-local:close", (window, id) => window.cancel(id as number));
    this.#on("coder-local:took", (window, id, count) => window.took(id as number, count as number));
    this.#ends.push(options.daemon.onState((state) => {
      for (const window of this.#windows.values()) window.tell(state);
    }));
  }

  /** Let the page of a window call and hear what is on the list. Raises `TypeError` for one that cannot be meant. */
  allow(sender: SenderLike, grant: Grant): void {
    const known = this.#windows.get(sender.id);
    if (known !== undefined) {
      known.allowed = new Allowed(grant);
      return;
    }
    const window = new Window(sender, new Allowed(grant), this.#options);
    this.#windows.set(sender.id, window);
    sender.on("destroyed", () => {
      window.endAll();
      this.#windows.delete(sender.id);
    });
    for (const gone of ["render-process-gone", "did-navigate"] as const) sender.on(gone as "destroyed", () => window.endAll());
  }

  /** Serve no more: calls under way are cancelled. */
  close(): void {
    for (const end of this.#ends) end();
    for (const window of this.#windows.values()) window.endAll();
    this.#windows.clear();
  }

  #handle(channel: Channel, run: (window: Window, request: unknown) => Promise<unknown>): void {
    const { ipcMain } = this.#options;
    ipcMain.handle(channel, async (event, request) => {
      try {
        return await run(this.#windowOf(event), request);
      } catch (error) {
        return { error: errorToWire(error) } satisfies Answer;
      }
    });
    this.#ends.push(() => ipcMain.removeHandler(channel));
  }

  #on(channel: Channel, run: (window: Window, ...args: unknown[]) => void): void {
    const { ipcMain } = this.#options;
    const listener = (event: EventLike, ...args: unknown[]): void => {
      try {
        run(this.#windowOf(event), ...args);
      } catch {
        // A page that may ask nothing has nothing to cancel either.
      }
    };
    ipcMain.on(channel, listener);
    this.#ends.push(() => ipcMain.removeListener(channel, listener));
  }

  /** Only the main frame of an allowed window, on the page it was allowed for: an embedded one may be anybody's. */
  #windowOf(event: EventLike): Window {
    const window = this.#windows.get(event.sender.id);
    if (window === undefined) throw new ForbiddenError("this window has no access", { hint: "call allow(webContents, …) for it" });
    const frame = event.senderFrame;
    if (frame === null || frame !== event.sender.mainFrame) throw new ForbiddenError("a frame inside a page has no access");
    window.allowed.checkOrigin(frame.origin);
    return window;
  }
}

interface Going {
  abort: AbortController;
  stream: boolean;
  took: (count: number) => void;
}

/** One window, and what it has going on. */
class Window {
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
  }

  async call({ id, name, input, options }: CallRequest): Promise<Answer> {
    this.allowed.checkOperation(name);
    checkInput(input);
    const going = this.#begin(id, false);
    try {
      const { client } = this.#options.daemon;
      const onProgress = (progress: Progress): void => this.#send("coder-local:progress", id, progress);
      const given = { ...passed(options), signal: going.abort.signal, onProgress };
      return { ok: await this.#agreed(name, (confirm) => client.request(name, input, { ...given, ...confirm })) };
    } finally {
      this.#going.delete(id);
    }
  }

  /** Begin a stream, or a subscription; what comes is sent as the window takes it. */
  async open(request: OpenRequest): Promise<Answer> {
    if (request.of === "events") this.allowed.checkEvents(request.events?.types);
    else this.allowed.checkOperation(request.name ?? "");
    checkInput(request.input);
    const going = this.#begin(request.id, true);
    const credit = new Credit(MOST_WAITING);
    going.took = (count) => credit.give(count);
    going.abort.signal.addEventListener("abort", () => credit.end());
    try {
      const cursor = request.of === "events" ? await this.#subscribe(request, going, credit) : undefined;
      if (request.of === "stream") void this.#pass(request, going, credit);
      return { ok: { cursor } };
    } catch (error) {
      this.#going.delete(request.id);
      throw error;
    }
  }

  took(id: number, count: number): void {
    if (Number.isSafeInteger(count) && count > 0) this.#going.get(id)?.took(count);
  }

  cancel(id: number): void {
    const going = this.#going.get(id);
    if (going?.stream === true) this.#going.delete(id);
    going?.abort.abort();
  }

  /** The page is gone: whatever it asked for is of no use to anyone. */
  endAll(): void {
    for (const { abort } of this.#going.values()) abort.abort();
    this.#going.clear();
  }

  async #subscribe({ id, events }: OpenRequest, going: Going, credit: Credit): Promise<string> {
    const subscription = await this.#options.daemon.client.events.subscribe(
      {
        cursor: events?.cursor, types: events?.types as never, subjects: events?.subjects,
        onError: (error) => this.#ended(id, error),
      },
      async (event) => {
        this.#send("coder-local:items", id, [event]);
        await credit.take(1);
      },
    );
    const stop = (): void => subscription.close();
    if (going.abort.signal.aborted) stop();
    else going.abort.signal.addEventListener("abort", stop);
    return subscription.cursor;
  }

  async #pass({ id, name, input, options }: OpenRequest, going: Going, credit: Credit): Promise<void> {
    const { signal } = going.abort;
    try {
      const stream = this.#options.daemon.client.requestStream(name as string, input, { ...passed(options), signal });
      for await (const item of stream) {
        this.#send("coder-local:items", id, [item]);
        await credit.take(1);
      }
      this.#ended(id);
    } catch (error) {
      if (!signal.aborted) this.#ended(id, error);
    }
  }

  #ended(id: number, error?: unknown): void {
    this.#going.delete(id);
    this.#send("coder-local:end", id, error === undefined ? undefined : errorToWire(error));
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
    const going: Going = { abort: new AbortController(), stream, took: () => undefined };
    this.#going.set(id, going);
    return going;
  }

  #send(channel: Channel, ...args: unknown[]): void {
    if (!this.#sender.isDestroyed()) this.#sender.send(channel, ...args);
  }
}

/** How many items may be sent; whoever sends waits when there are no more. */
class Credit {
  #left: number;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(most: number) {
    this.#left = most;
  }

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

function passed(options: WindowOptions = {}): AnyOptions {
  const { ifRev, idempotencyKey, maxBuffered } = options;
  return { ifRev, idempotencyKey, maxBuffered };
}

function checkInput(input: unknown): void {
  if (input !== undefined && (typeof input !== "object" || input === null || Array.isArray(input))) throw new InvalidError("an input is an object", { field: "" });
  const size = JSON.stringify(input ?? {}).length;
  if (size > MOST_INPUT) throw new TooLargeError(`an input of a window has at most ${MOST_INPUT} characters, and this one ${size}`, { hint: "write it to a file, and give its path", data: { limit: MOST_INPUT } });
}

/** Return what a page may know of the state. */
export function windowState(state: DaemonState): WindowState {
  if (state.name === "ready") return { name: "ready", version: state.version, incarnation: state.incarnation };
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
