/** Subscriptions that survive the connection: each resumes behind the last event it received. */
import type { Connection, ConnectionListener } from "./connection.js";
import { ConnectionLostError, LockedError, RateLimitedError, type CoderLocalError } from "./errors.js";
import type { EventMatching, EventPattern, Reset } from "./event-types.js";
import type { Cursor, UnknownEvent } from "./types.js";

export interface SubscribeOptions<Pattern extends string = EventPattern> {
  /** Start behind this event; without it, at the head of the log. */
  cursor?: Cursor | undefined;
  /** Exact types, or ones that end in `*`; all when missing. */
  types?: readonly Pattern[] | undefined;
  /** Exact subjects, or ones that end in `*`; all when missing. */
  subjects?: readonly string[] | undefined;
  /**
   * Told of what the handler threw (the subscription goes on) and of a refusal to resume (it is then closed). Without
   * it such an error is an uncaught one of the program.
   */
  onError?: ((error: unknown) => void) | undefined;
  /** How many events may wait for a slow handler, 10,000 by default; past that they are read again from the log later. */
  maxBuffered?: number | undefined;
}

/** Told of each event once, in order. A promise that it returns is awaited before the next event. */
export type EventHandler<Item> = (item: Item) => unknown;

export interface Subscription {
  /** The last event that the handler has finished with, or where the subscription began: keep it to resume there. */
  readonly cursor: Cursor;
  readonly closed: boolean;
  /** Stop at once: the handler is not called any more. */
  close(): void;
}

const MAX_BUFFERED = 10_000;
const RETRY_MS = 1_000;

/** `client.events`. */
export class EventSubscriptions implements ConnectionListener {
  readonly #connection: Connection;
  readonly #feeds = new Set<Feed>();
  readonly #byNumber = new Map<unknown, Feed>();

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.listen(this);
  }

  /**
   * Call `handler` with each event from now on, or behind `cursor`. Resolves when the daemon has taken the
   * subscription. After a lost connection it resumes by itself: nothing is left out, doubled or out of order. Where
   * the log cannot serve that, the handler gets a `Reset`.
   */
  subscribe<const Pattern extends EventPattern = "*">(
    options: SubscribeOptions<Pattern>, handler: EventHandler<EventMatching<Pattern> | Reset>,
  ): Promise<Subscription> {
    const feed = new Feed(this.#connection, this.#byNumber, options, handler as EventHandler<UnknownEvent | Reset>);
    this.#feeds.add(feed);
    feed.onClose = () => this.#feeds.delete(feed);
    if (this.#connection.state !== "reconnecting") feed.attach();
    return feed.ready;
  }

  /** @internal */
  connected(): void {
    this.#byNumber.clear();
    for (const feed of this.#feeds) feed.reconnected();
  }

  /** @internal */
  notified(method: string, params: Record<string, unknown>): void {
    const feed = this.#byNumber.get(params["subscription"]);
    if (method === "events.event") feed?.received(params["event"] as UnknownEvent, params["cursor"] as Cursor);
    else if (method === "events.reset") feed?.reset(params["reason"] as string, params["head"] as Cursor);
  }

  /** @internal */
  closed(error?: CoderLocalError): void {
    for (const feed of [...this.#feeds]) feed.fail(error);
  }
}

interface Attached {
  subscription: unknown;
  cursor: Cursor;
}

class Feed implements Subscription {
  readonly ready: Promise<Subscription>;
  onClose: (() => void) | undefined;
  readonly #connection: Connection;
  readonly #byNumber: Map<unknown, Feed>;
  readonly #options: SubscribeOptions<string>;
  readonly #handler: EventHandler<UnknownEvent | Reset>;
  #resolve!: (subscription: Subscription) => void;
  #reject!: (error: unknown) => void;
  #isReady = false;
  /** Behind this the daemon is to go on; ahead of `#delivered` by what still waits. */
  #received: Cursor | undefined;
  #delivered: Cursor | undefined;
  #queue: { item: UnknownEvent | Reset; cursor: Cursor }[] = [];
  /** True from the start, so that no event comes before the caller holds the subscription. */
  #delivering = true;
  #overflowed = false;
  #closed = false;
  #number: unknown;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    connection: Connection, byNumber: Map<unknown, Feed>, options: SubscribeOptions<string>,
    handler: EventHandler<UnknownEvent | Reset>,
  ) {
    this.#connection = connection;
    this.#byNumber = byNumber;
    this.#options = options;
    this.#handler = handler;
    this.#received = options.cursor;
    this.#delivered = options.cursor;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get cursor(): Cursor {
    return this.#delivered ?? "";
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    if (this.#closed) return;
    this.#detach();
    this.#stop();
  }

  /** Ask the daemon for the events behind the last one received. */
  attach(): void {
    const { types, subjects } = this.#options;
    const params = { cursor: this.#received, types, subjects };
    this.#connection
      .request({
        method: "events.subscribe", params, reads: true, resend: false,
        onAnswer: (answer) => this.#attached(answer as Attached),
      })
      .catch((error: unknown) => this.#refused(error as CoderLocalError));
  }

  /** The daemon has forgotten the subscription with the connection. */
  reconnected(): void {
    this.#number = undefined;
    clearTimeout(this.#timer);
    // An overflowed one comes back when its handler has caught up.
    if (!this.#overflowed) this.attach();
  }

  received(event: UnknownEvent, cursor: Cursor): void {
    if (this.#received === undefined || isBehind(cursor, this.#received)) this.#enqueue(event, cursor);
  }

  reset(reason: string, head: Cursor): void {
    this.#enqueue({ type: "reset", reason, head }, head);
  }

  /** End it: with an error, or because the client was closed. */
  fail(error: CoderLocalError | undefined): void {
    if (this.#closed) return;
    const wasReady = this.#isReady;
    this.#stop();
    if (!wasReady) this.#reject(error ?? new ConnectionLostError("the client was closed before the daemon took the subscription"));
    else if (error !== undefined) this.#report(error);
  }

  #attached(answer: Attached): void {
    if (this.#closed) return this.#unsubscribe(answer.subscription);
    this.#number = answer.subscription;
    this.#byNumber.set(answer.subscription, this);
    this.#received ??= answer.cursor;
    this.#delivered ??= answer.cursor;
    if (this.#isReady) return;
    this.#isReady = true;
    this.#resolve(this);
    setImmediate(() => void this.#deliver());
  }

  #refused(error: CoderLocalError): void {
    if (this.#closed) return;
    // The next connection attaches it again; a client that is closed ends it by `fail`.
    if (error instanceof ConnectionLostError && this.#connection.state !== "closed") return;
    const busy = error instanceof RateLimitedError || error instanceof LockedError;
    if (!busy || !this.#isReady) return this.fail(error);
    const wait = error instanceof RateLimitedError ? error.retryAfterMs : undefined;
    this.#timer = setTimeout(() => {
      if (this.#connection.state === "connected") this.attach();
    }, wait ?? RETRY_MS);
  }

  #enqueue(item: UnknownEvent | Reset, cursor: Cursor): void {
    this.#queue.push({ item, cursor });
    this.#received = cursor;
    if (this.#queue.length > (this.#options.maxBuffered ?? MAX_BUFFERED)) {
      // The log keeps what the handler cannot take yet; memory would grow without end. The socket cannot be paused
      // instead: a handler that awaits a call would wait for ever.
      this.#overflowed = true;
      this.#detach();
    }
    if (!this.#delivering) void this.#deliver();
  }

  async #deliver(): Promise<void> {
    this.#delivering = true;
    while (this.#queue.length > 0 && !this.#closed) {
      const batch = this.#queue;
      this.#queue = [];
      for (const { item, cursor } of batch) {
        if (this.#closed) break;
        try {
          const working = this.#handler(item);
          if (working instanceof Promise) await working;
        } catch (error) {
          this.#report(error);
        }
        this.#delivered = cursor;
      }
    }
    this.#delivering = false;
    if (!this.#overflowed || this.#closed) return;
    this.#overflowed = false;
    if (this.#connection.state === "connected") this.attach();
  }

  #detach(): void {
    if (this.#number === undefined) return;
    this.#byNumber.delete(this.#number);
    this.#unsubscribe(this.#number);
    this.#number = undefined;
  }

  #unsubscribe(number: unknown): void {
    if (this.#connection.state !== "connected") return;
    // Whatever stands against it, the daemon forgets the subscription with the connection.
    this.#connection
      .request({ method: "events.unsubscribe", params: { subscription: number }, reads: true, resend: false })
      .catch(() => undefined);
  }

  #stop(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.#number !== undefined) this.#byNumber.delete(this.#number);
    this.#queue = [];
    this.onClose?.();
  }

  #report(error: unknown): void {
    const { onError } = this.#options;
    queueMicrotask(() => {
      if (onError === undefined) throw error;
      onError(error);
    });
  }
}

/** Whether `cursor` lies behind `last` in the log. Another epoch is another log, which the daemon announces by a reset. */
function isBehind(cursor: Cursor, last: Cursor): boolean {
  const [epoch, seq] = split(cursor);
  const [lastEpoch, lastSeq] = split(last);
  return epoch !== lastEpoch || seq > lastSeq;
}

function split(cursor: Cursor): [epoch: string, seq: number] {
  const colon = cursor.lastIndexOf(":");
  return [cursor.slice(0, colon), Number(cursor.slice(colon + 1))];
}
