/** One life of one socket: frames in both directions, calls matched with their answers. It knows no reconnecting. */
import { connect, type Socket } from "node:net";
import { BrokenError, ConnectionLostError, errorFromWire, TimeoutError_, type CoderLocalError } from "./errors.js";
import { encodeFrame, FrameParser } from "./framing.js";
import type { Progress } from "./types.js";

/**
 * What becomes of one call. The channel calls these in the order of the bytes, before it looks at the next message:
 * an answer that must be known before the notification behind it (a subscription's number) is known.
 */
export interface Reply {
  answered(result: unknown): void;
  failed(error: CoderLocalError): void;
  /** The channel closed before the answer; `cause` tells why, where that is known. */
  lost(cause: Error | undefined): void;
  progressed?(progress: Progress): void;
  item?(item: unknown): void;
}

/** Told of a channel's notifications, and once of its end. */
export interface ChannelOwner {
  notified(method: string, params: Record<string, unknown>): void;
  closed(channel: Channel): void;
}

interface Message {
  id?: number | string | null;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
}

export class Channel {
  readonly #socket: Socket;
  readonly #owner: ChannelOwner;
  readonly #parser = new FrameParser();
  readonly #pending = new Map<number, Reply>();
  #nextId = 1;
  #cause: Error | undefined;
  #closed = false;

  constructor(socket: Socket, owner: ChannelOwner) {
    this.#socket = socket;
    this.#owner = owner;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => (this.#cause ??= error));
    socket.on("close", () => this.#finish());
  }

  /** Why it closed, where that is known. */
  get cause(): Error | undefined {
    return this.#cause;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Send a call and return its id. Raises what `encodeFrame` does, and sends nothing then. */
  call(method: string, params: object, reply: Reply): number {
    const id = this.#nextId++;
    const frame = encodeFrame({ jsonrpc: "2.0", id, method, params });
    if (this.#closed) {
      queueMicrotask(() => reply.lost(this.#cause));
      return id;
    }
    this.#pending.set(id, reply);
    this.#socket.write(frame);
    return id;
  }

  /** Ask the daemon to stop the call, and forget it: its answer is dropped. */
  cancel(id: number): void {
    if (this.#pending.delete(id)) this.notify("$/cancelRequest", { id });
  }

  /** Send what has no answer. */
  notify(method: string, params: object): void {
    if (!this.#closed) this.#socket.write(encodeFrame({ jsonrpc: "2.0", method, params }));
  }

  /** Close at once; calls under way are lost. */
  destroy(cause?: Error): void {
    this.#cause ??= cause;
    this.#socket.destroy();
    this.#finish();
  }

  /** Send what is written, then close; calls under way are lost. */
  end(): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.once("close", () => resolve());
      if (this.#socket.closed) resolve();
      else this.#socket.end(() => this.destroy());
    });
  }

  #read(chunk: Buffer): void {
    try {
      for (const message of this.#parser.push(chunk)) {
        if (this.#closed) return;
        for (const one of Array.isArray(message) ? message : [message]) this.#dispatch((one ?? {}) as Message);
      }
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #dispatch(message: Message): void {
    if (message.method !== undefined) this.#notified(message.method, message.params ?? {});
    else if (typeof message.id === "number") this.#answered(message.id, message);
    // Without an id the daemon could not read a frame, so some call would wait for ever.
    else throw new BrokenError("the daemon could not read a message", { cause: errorFromWire(message.error) });
  }

  #answered(id: number, message: Message): void {
    const reply = this.#pending.get(id);
    this.#pending.delete(id);
    if (message.error === undefined) reply?.answered(message.result);
    else reply?.failed(errorFromWire(message.error));
  }

  #notified(method: string, params: Record<string, unknown>): void {
    if (method === "$/progress") this.#replyOf(params)?.progressed?.(progressFrom(params));
    else if (method === "$/item") this.#replyOf(params)?.item?.(params["item"]);
    else this.#owner.notified(method, params);
  }

  #replyOf(params: Record<string, unknown>): Reply | undefined {
    return this.#pending.get(params["id"] as number);
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    const lost = [...this.#pending.values()];
    this.#pending.clear();
    for (const reply of lost) reply.lost(this.#cause);
    this.#owner.closed(this);
  }
}

function progressFrom({ done, total, message }: Record<string, unknown>): Progress {
  return {
    done: Number(done),
    ...(typeof total === "number" ? { total } : {}),
    ...(typeof message === "string" && message !== "" ? { message } : {}),
  };
}

/** Connect to a Unix socket or Windows pipe. Raises `ConnectionLostError`, or `TimeoutError_` after `timeoutMs`. */
export function openSocket(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new TimeoutError_(`${path} did not accept within ${timeoutMs} ms`)), timeoutMs);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeListener("error", failed);
      resolve(socket);
    });
    const failed = (error: Error): void => {
      clearTimeout(timer);
      const hint = "the daemon that wrote runtime.json is gone; start one with: coder-local serve";
      reject(error instanceof TimeoutError_ ? error : new ConnectionLostError(`nobody answers at ${path}`, { hint, cause: error }));
    };
    socket.once("error", failed);
  });
}
