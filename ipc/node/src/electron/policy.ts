/** When a daemon that died is started again, and when no more: a count in a window of time, and waits that double. */

export interface RestartOptions {
  /** Starts in `withinMs` before the shell is told that it failed, 5 by default; 0 never starts one again. */
  limit?: number;
  /** The time in which they are counted, 120,000 ms by default. */
  withinMs?: number;
  /** The first wait, 250 ms by default; each is twice the one before. */
  initialMs?: number;
  /** The longest wait, 10,000 ms by default. */
  maxMs?: number;
}

/** Counts starts. An endless supervisor hides a broken program, and cannot be stopped by the person. */
export class RestartPolicy {
  readonly #options: Required<RestartOptions>;
  readonly #now: () => number;
  #starts: number[] = [];

  constructor(options: RestartOptions = {}, now: () => number = () => performance.now()) {
    this.#options = { limit: 5, withinMs: 120_000, initialMs: 250, maxMs: 10_000, ...options };
    this.#now = now;
  }

  /** How many starts count now. */
  get attempts(): number {
    const since = this.#now() - this.#options.withinMs;
    this.#starts = this.#starts.filter((at) => at > since);
    return this.#starts.length;
  }

  /** Count a start, and return the milliseconds to wait before it; undefined when there were too many. */
  next(): number | undefined {
    const made = this.attempts;
    if (made >= this.#options.limit) return undefined;
    this.#starts.push(this.#now());
    const wait = Math.min(this.#options.initialMs * 2 ** made, this.#options.maxMs);
    // Shells that lost the same daemon must not all start one at the same moment.
    return wait * (0.5 + Math.random() / 2);
  }

  /** Forget the starts: the person asked for another try. */
  forgive(): void {
    this.#starts = [];
  }
}
