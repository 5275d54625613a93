/** One call on its way: waiting to be sent, sent, or settled. */
import type { Channel, Reply } from "./channel.js";
import { ConnectionLostError } from "./errors.js";
import type { Progress } from "./types.js";

/** What is asked, and what may be done about it when the connection is lost. */
export interface Request {
  method: string;
  params: object;
  /** It changes nothing, so a lost answer leaves no doubt. */
  reads: boolean;
  /** The daemon knows it again by its idempotency key, so it may be sent a second time. */
  resend: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  onItem?: ((item: unknown) => void) | undefined;
  /** Told of the answer before any message behind it is looked at. */
  onAnswer?: ((answer: unknown) => void) | undefined;
}

// A call that brings the daemon down each time must not do so for ever.
const MAX_SENDS = 4;

/** Who holds the calls that wait for a connection. */
export interface CallOwner {
  /** Whether the call, lost under way, will be sent again. */
  requeue(call: Call): boolean;
  /** The caller gave it up. */
  forget(call: Call): void;
}

export class Call implements Reply {
  readonly promise: Promise<unknown>;
  readonly #request: Request;
  readonly #owner: CallOwner;
  #resolve!: (answer: unknown) => void;
  #reject!: (reason: unknown) => void;
  #channel: Channel | undefined;
  #id = 0;
  #sends = 0;
  #settled = false;

  constructor(request: Request, owner: CallOwner) {
    this.#request = request;
    this.#owner = owner;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (request.signal?.aborted) this.#abort();
    else request.signal?.addEventListener("abort", this.#abort);
  }

  send(channel: Channel): void {
    this.#channel = channel;
    this.#sends += 1;
    try {
      this.#id = channel.call(this.#request.method, this.#request.params, this);
    } catch (error) {
      this.failed(error as Error);
    }
  }

  answered(result: unknown): void {
    if (!this.#settle()) return;
    guard(() => this.#request.onAnswer?.(result));
    this.#resolve(result);
  }

  failed(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }

  progressed(progress: Progress): void {
    guard(() => this.#request.onProgress?.(progress));
  }

  item(item: unknown): void {
    guard(() => this.#request.onItem?.(item));
  }

  lost(cause: Error | undefined): void {
    this.#channel = undefined;
    if (this.#settled) return;
    const again = this.#request.resend && this.#sends < MAX_SENDS && this.#owner.requeue(this);
    if (!again) this.failed(this.#lostError(cause));
  }

  /** Reject a call that was never sent, or will not be sent again. */
  drop(reason: string): void {
    if (this.#sends > 0) this.failed(this.#lostError());
    else this.failed(new ConnectionLostError(`${reason}: ${this.#request.method} was not sent, so nothing was carried out`));
  }

  readonly #abort = (): void => {
    if (!this.#settle()) return;
    this.#owner.forget(this);
    this.#channel?.cancel(this.#id);
    this.#reject(this.#request.signal?.reason);
  };

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#request.signal?.removeEventListener("abort", this.#abort);
    return true;
  }

  #lostError(cause?: Error): ConnectionLostError {
    const { method, reads, resend } = this.#request;
    const lost = `the connection was lost before ${method} was answered`;
    if (reads) {
      return new ConnectionLostError(`${lost}; it only reads, so nothing was changed`, { hint: "ask again", cause });
    }
    const times = this.#sends > 1 ? ` (it was sent ${this.#sends} times)` : "";
    const hint = resend ? "look at the daemon's log" : "look before you ask again, or give an idempotencyKey: then it is sent again by itself";
    return new ConnectionLostError(`${lost}${times}; it may have been carried out`, { hint, cause, maybeCarriedOut: true });
  }
}

/** Run a caller's function; what it throws surfaces as an uncaught error of the program, and does not harm the connection. */
export function guard(run: () => void): void {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
