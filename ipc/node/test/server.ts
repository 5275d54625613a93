/** A small real server of the protocol, over a real socket, that can be made to misbehave. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeFrame, FrameParser } from "../src/framing.js";

export interface Request {
  id?: number;
  method: string;
  params: Record<string, unknown>;
}

/** What an operation is given besides its input. */
export interface Exchange {
  id: number;
  peer: Peer;
  /** Aborted when the caller cancels. */
  cancelled: AbortSignal;
}

type Operation = (params: Record<string, unknown>, exchange: Exchange) => unknown;

export class WireError extends Error {
  readonly wire: Record<string, unknown>;
  constructor(kind: string, message: string, more: Record<string, unknown> = {}) {
    super(message);
    this.wire = { code: -32000, message, data: { kind, message, ...more } };
  }
}

interface LogEvent {
  id: string;
  sequence: number;
  type: string;
  subject: string;
  [member: string]: unknown;
}

/** One connected client. */
export class Peer {
  readonly socket: Socket;
  readonly subscriptions = new Map<string, { types: string[] | undefined }>();
  readonly calls = new Map<number, AbortController>();

  constructor(socket: Socket) {
    this.socket = socket;
  }

  send(...messages: object[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(messages.map(encodeFrame)));
  }

  notify(method: string, params: object): void {
    this.send({ jsonrpc: "2.0", method, params });
  }
}

export class TestDaemon {
  readonly dataDir: string;
  readonly operations = new Map<string, Operation>();
  readonly requests: Request[] = [];
  readonly peers = new Set<Peer>();
  readonly log: LogEvent[] = [];
  epoch = "e1";
  /** Events below this sequence are forgotten. */
  oldest = 1;
  #server: Server | undefined;
  #started = 0;
  #subscriptions = 0;
  readonly #watchers = new Set<() => void>();

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
    this.operations.set("initialize", () => this.#introduction());
    this.operations.set("echo", (params) => params);
    this.operations.set("events.subscribe", (params, exchange) => this.#subscribe(params, exchange));
    this.operations.set("events.unsubscribe", (params, { peer }) => {
      peer.subscriptions.delete(params["subscription"] as string);
      return null;
    });
  }

  static async start(): Promise<TestDaemon> {
    const daemon = new TestDaemon(await mkdtemp(join(tmpdir(), "coder-local-")));
    await daemon.listen();
    return daemon;
  }

  /** Open a new socket under a new name, and write it to runtime.json, as a restarted daemon does. */
  async listen(): Promise<void> {
    this.#started += 1;
    const name = `d${this.#started}`;
    const socket = process.platform === "win32" ? `\\\\.\\pipe\\coder-local-${process.pid}-${name}` : join(this.dataDir, `${name}.sock`);
    const server = createServer((connection) => this.#accept(connection));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    await this.writeRuntime({ socket });
  }

  writeRuntime(members: object): Promise<void> {
    return writeFile(join(this.dataDir, "runtime.json"), JSON.stringify({ protocol: 1, token: "t", ...members }));
  }

  /** Cut every connection. */
  drop(): void {
    for (const peer of this.peers) peer.socket.destroy();
  }

  /** Stop listening, and cut every connection. */
  async down(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    this.drop();
    await closed;
  }

  async stop(): Promise<void> {
    await this.down();
    await rm(this.dataDir, { recursive: true, force: true });
  }

  /** Put an event into the log and send it to those who subscribed. */
  emit(type = "planning.task.created", subject = "planning.task/1"): LogEvent {
    const sequence = (this.log.at(-1)?.sequence ?? 0) + 1;
    const event: LogEvent = {
      specversion: "1.0", id: `${this.epoch}:${sequence}`, source: "coder-local", type, subject,
      time: "2026-11-20T16:15:27.123Z", sequence, actor: "user", data: { id: "1", rev: 1 },
    };
    this.log.push(event);
    for (const peer of this.peers) {
      for (const [subscription, { types }] of peer.subscriptions) {
        if (matches(event, types)) peer.notify("events.event", { subscription, cursor: event.id, event });
      }
    }
    return event;
  }

  /** Wait until what is asked is so; looked at after each message that comes and each connection that ends. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  /** The requests for one method, in order. */
  received(method: string): Request[] {
    return this.requests.filter((request) => request.method === method);
  }

  #introduction(): object {
    return {
      protocol: 1, version: "0.1.0", incarnation: `i${this.#started}`, pid: process.pid, data_dir: this.dataDir,
      http: null, scopes: ["read", "write"], workspace: null,
    };
  }

  #accept(socket: Socket): void {
    const peer = new Peer(socket);
    const parser = new FrameParser();
    this.peers.add(peer);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.peers.delete(peer);
      this.#changed();
    });
    socket.on("data", (chunk: Buffer) => {
      for (const message of parser.push(chunk)) void this.#handle(peer, message as Request);
    });
  }

  async #handle(peer: Peer, request: Request): Promise<void> {
    this.requests.push(request);
    if (request.method === "$/cancelRequest") peer.calls.get(request.params["id"] as number)?.abort();
    const answered = request.id === undefined ? undefined : this.#answer(peer, request, request.id);
    this.#changed();
    await answered;
    this.#changed();
  }

  async #answer(peer: Peer, request: Request, id: number): Promise<void> {
    const cancel = new AbortController();
    peer.calls.set(id, cancel);
    try {
      const operation = this.operations.get(request.method);
      if (operation === undefined) throw new WireError("not_found", `there is no operation ${request.method}`);
      const answer = operation(request.params, { id, peer, cancelled: cancel.signal });
      // An answer that is there at once goes out at once, before anything that follows it.
      const result = answer instanceof Promise ? ((await answer) as unknown) : answer;
      if (result !== ANSWERED) peer.send({ jsonrpc: "2.0", id, result: result ?? null });
    } catch (error) {
      const wire = error instanceof WireError ? error.wire : { code: -32603, message: String(error) };
      peer.send({ jsonrpc: "2.0", id, error: wire });
    }
  }

  #subscribe(params: Record<string, unknown>, { id, peer }: Exchange): unknown {
    this.#subscriptions += 1;
    const subscription = `s${this.#subscriptions}`;
    const head = `${this.epoch}:${this.log.at(-1)?.sequence ?? 0}`;
    const cursor = (params["cursor"] as string | undefined) ?? head;
    const types = params["types"] as string[] | undefined;
    const [epoch, sequence] = [cursor.split(":")[0], Number(cursor.split(":")[1])];
    const reason =
      epoch !== this.epoch ? "other_epoch"
      : sequence < this.oldest - 1 ? "too_old"
      : sequence > (this.log.at(-1)?.sequence ?? 0) ? "ahead"
      : undefined;
    peer.subscriptions.set(subscription, { types });
    const behind = reason !== undefined ? [] : this.log.filter((event) => event.sequence > sequence && matches(event, types));
    // Answer and events in one write, so that they come to the client in one piece.
    peer.send(
      { jsonrpc: "2.0", id, result: { subscription, cursor: reason === undefined ? cursor : head, head, min: `${this.epoch}:${this.oldest}` } },
      ...(reason === undefined ? [] : [{ jsonrpc: "2.0", method: "events.reset", params: { subscription, reason, head } }]),
      ...behind.map((event) => ({ jsonrpc: "2.0", method: "events.event", params: { subscription, cursor: event.id, event } })),
    );
    return ANSWERED;
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
    this.#watchers.clear();
  }
}

/** Returned by an operation that has sent its answer itself. */
export const ANSWERED = Symbol("answered");

function matches(event: LogEvent, types: string[] | undefined): boolean {
  return types === undefined || types.some((type) => (type.endsWith("*") ? event.type.startsWith(type.slice(0, -1)) : event.type === type));
}

/** A promise that never settles: an operation that works until its connection is cut. */
export function forever(): Promise<never> {
  return new Promise(() => undefined);
}
