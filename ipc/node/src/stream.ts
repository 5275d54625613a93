/** A stream operation as an async iterable. */
import type { Connection } from "./connection.js";
import { TooLargeError } from "./errors.js";
import type { StreamOptions } from "./types.js";

const MAX_BUFFERED = 10_000;

/**
 * Yield the items of a stream, in order, until it ends. The call is made at the first `next()`; leaving the loop
 * cancels it. A lost connection raises `ConnectionLostError` behind the items that came.
 */
export async function* readStream<Item>(
  connection: Connection, method: string, params: object, options: StreamOptions = {},
): AsyncGenerator<Item, void, undefined> {
  const left = new AbortController();
  const inbox = new Inbox<Item>(options.maxBuffered ?? MAX_BUFFERED, method, left);
  const signal = options.signal === undefined ? left.signal : AbortSignal.any([options.signal, left.signal]);
  connection
    .request({
      method, params, signal, reads: true, resend: false,
      onProgress: options.onProgress,
      onItem: (item) => inbox.put(item as Item),
    })
    .then(() => inbox.end(), (error: unknown) => inbox.end({ error }));
  try {
    for (;;) {
      const items = await inbox.take();
      if (items === undefined) return;
      for (const item of items) {
        options.signal?.throwIfAborted();
        yield item;
      }
    }
  } finally {
    left.abort();
  }
}

/** What has come and was not read yet. Bounded, because the daemon cannot be told to slow down for one call of many. */
class Inbox<Item> {
  readonly #limit: number;
  readonly #method: string;
  readonly #overflow: AbortController;
  #items: Item[] = [];
  #end: { error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(limit: number, method: string, overflow: AbortController) {
    this.#limit = limit;
    this.#method = method;
    this.#overflow = overflow;
  }

  put(item: Item): void {
    this.#items.push(item);
    if (this.#items.length > this.#limit) {
      this.#overflow.abort(
        new TooLargeError(`more than ${this.#limit} items of ${this.#method} wait for their reader`, {
          hint: "read faster, or give a larger maxBuffered",
          data: { limit: this.#limit },
        }),
      );
    }
    this.#wake?.();
  }

  end(end: { error?: unknown } = {}): void {
    this.#end ??= end;
    this.#wake?.();
  }

  /** Return all items that came, at least one; undefined at the end. Raises what ended the stream. */
  async take(): Promise<Item[] | undefined> {
    while (this.#items.length === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    if (this.#items.length > 0) return this.#items.splice(0);
    if (this.#end !== undefined && "error" in this.#end) throw this.#end.error;
    return undefined;
  }
}
