/** The main process's side of the bridge: each window calls what it was allowed, and ends with its page. */
import type { Client } from "../client.js";
import { errorToWire } from "./answers.js";
import { Allowed, ForbiddenError, type Grant } from "./grants.js";
import type { DaemonState } from "./state.js";
import { Window } from "./window.js";
import type { Answer, CallRequest, Channel, OpenRequest } from "./wire.js";

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
  retry(): Promise<void>;
}

export interface ServeOptions {
  ipcMain: IpcMainLike;
  daemon: Source;
  /** Ask the person whether to do what needs agreement, for example with `dialog`; without it such calls are refused. */
  confirm?: (window: SenderLike, question: { operation: string; message: string }) => Promise<boolean>;
}

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
    this.#handle("coder-local:retry", (window) => window.retry());
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
