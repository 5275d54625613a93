/** The events that one page hears: over reconnects by the client's own subscription, and over another client by a new one. */
import type { Client } from "../client.js";
import { ConnectionLostError } from "../errors.js";
import type { Subscription } from "../events.js";
import type { Reset } from "../event-types.js";
import type { UnknownEvent } from "../types.js";
import type { OpenRequest } from "./wire.js";

export class PageEvents {
  readonly #asked: NonNullable<OpenRequest["events"]>;
  readonly #send: (item: UnknownEvent | Reset) => Promise<void>;
  readonly #end: (error: unknown) => void;
  readonly #signal: AbortSignal;
  #client: Client | undefined;
  #subscription: Subscription | undefined;
  /** Of the last event that was sent, which the subscription does not count before the page has room for another. */
  #cursor: string | undefined;

  /** `send` resolves when the page has room for more; `signal` ends it. */
  constructor(asked: NonNullable<OpenRequest["events"]>, send: (item: UnknownEvent | Reset) => Promise<void>, end: (error: unknown) => void, signal: AbortSignal) {
    this.#asked = asked;
    this.#send = send;
    this.#end = end;
    this.#signal = signal;
    this.#cursor = asked.cursor;
    signal.addEventListener("abort", () => this.#subscription?.close());
  }

  /** Resolves to the cursor where they begin, when the daemon has taken the subscription. */
  async begin(client: Client): Promise<string> {
    await this.#subscribe(client);
    return this.#cursor ?? "";
  }

  /** Go on behind the last event with another client; nothing happens while it is the same. */
  resume(client: Client): void {
    if (client === this.#client || this.#signal.aborted) return;
    this.#subscription?.close();
    this.#subscribe(client).catch((error: unknown) => {
      // One that was closed meanwhile has another behind it.
      if (!(error instanceof ConnectionLostError)) this.#end(error);
    });
  }

  async #subscribe(client: Client): Promise<void> {
    this.#client = client;
    const { types, subjects } = this.#asked;
    const subscription = await client.events.subscribe({ cursor: this.#cursor, types: types as never, subjects, onError: this.#end }, (item: UnknownEvent | Reset) => {
      this.#cursor = item.type === "reset" ? (item as Reset).head : (item as UnknownEvent).id;
      return this.#send(item);
    });
    this.#cursor ??= subscription.cursor;
    if (this.#signal.aborted || this.#client !== client) subscription.close();
    else this.#subscription = subscription;
  }
}
