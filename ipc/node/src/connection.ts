/** A connection that comes back: one channel after another to whichever daemon runs on the data directory. */
import { realpath } from "node:fs/promises";
import { Call, guard, type CallOwner, type Request } from "./call.js";
import { Channel, openSocket, type ChannelOwner } from "./channel.js";
import {
  CoderLocalError, ConnectionLostError, InvalidError, RefusedError, TimeoutError_, UnsupportedError,
} from "./errors.js";
import { readRuntime, type RuntimeInfo } from "./runtime.js";
import type { Open } from "./types.js";
import { PROTOCOL } from "./version.js";

/** What the daemon answers to `initialize`. */
export interface ServerInfo {
  protocol: number;
  version: string;
  /** Another text after each start of the daemon. */
  incarnation: string;
  pid: number;
  data_dir: string;
  http: string | null;
  /** `migrating`: its data is being brought up to date, and calls wait; `daemon.status` tells how far it is. */
  state?: Open<"starting" | "migrating" | "ready" | "stopping">;
  scopes: Open<"read" | "write" | "destructive" | "external">[];
  workspace: string | null;
}

/** What a daemon says before it stops in order. */
export interface Farewell {
  /** The version of the daemon that follows, where one takes over; nobody else is to start one then. */
  next: string | undefined;
}

export type ConnectionState = "connected" | "reconnecting" | "closed";

export interface ConnectionOptions {
  dataDir: string;
  /** Members of `initialize` besides `protocol` and `token`. */
  handshake: object;
  /** How long a daemon may take to accept, and to answer `initialize`. */
  timeoutMs: number;
  /** The waits between attempts double from `initialMs` to `maxMs`; false gives up at the first loss. */
  reconnect: false | { initialMs: number; maxMs: number };
  onStateChange?: ((state: ConnectionState) => void) | undefined;
  onStopping?: ((farewell: Farewell) => void) | undefined;
}

/** Told of what concerns no single call. */
export interface ConnectionListener {
  connected(): void;
  notified(method: string, params: Record<string, unknown>): void;
  /** There will be no connection any more; `error` is missing when the caller closed it. */
  closed(error?: CoderLocalError): void;
}

export class Connection implements ChannelOwner, CallOwner {
  readonly #options: ConnectionOptions;
  #listener: ConnectionListener | undefined;
  #state: ConnectionState = "reconnecting";
  #server: ServerInfo | undefined;
  #channel: Channel | undefined;
  #opening: Channel | undefined;
  readonly #waiting = new Set<Call>();
  #delay: number;
  #connectedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #end = "the client was closed";

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#delay = options.reconnect ? options.reconnect.initialMs : 0;
  }

  /** Connect once; what stands against it is raised, not tried again. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options);
    try {
      await connection.#establish();
    } catch (error) {
      connection.#state = "closed";
      throw error;
    }
    return connection;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The answer of the daemon that is, or was last, connected. */
  get server(): ServerInfo {
    return this.#server as ServerInfo;
  }

  listen(listener: ConnectionListener): void {
    this.#listener = listener;
  }

  /** Send a call now, or as soon as there is a connection again. */
  request(request: Request): Promise<unknown> {
    const call = new Call(request, this);
    if (request.signal?.aborted) return call.promise;
    if (this.#state === "closed") call.drop(this.#end);
    else if (this.#channel !== undefined) call.send(this.#channel);
    else this.#waiting.add(call);
    return call.promise;
  }

  /** Close for good. Calls under way reject with `ConnectionLostError`. */
  async close(): Promise<void> {
    const channel = this.#channel;
    this.#shut();
    await channel?.end();
  }

  notified(method: string, params: Record<string, unknown>): void {
    if (method === "daemon.stopping") guard(() => this.#options.onStopping?.({ next: undefined }));
    else if (method === "daemon.handing_over") guard(() => this.#options.onStopping?.({ next: String(params["version"]) }));
    this.#listener?.notified(method, params);
  }

  requeue(call: Call): boolean {
    if (this.#isClosed() || !this.#options.reconnect) return false;
    this.#waiting.add(call);
    return true;
  }

  forget(call: Call): void {
    this.#waiting.delete(call);
  }

  closed(channel: Channel): void {
    if (channel !== this.#channel) return;
    this.#channel = undefined;
    const { reconnect } = this.#options;
    if (this.#state === "closed") return;
    if (!reconnect) return this.#shut(lostError(channel));
    // A daemon that dies right after each start must not be asked in a tight loop: only a lasting connection resets the wait.
    if (performance.now() - this.#connectedAt > reconnect.maxMs) this.#delay = reconnect.initialMs;
    this.#retryLater(reconnect.maxMs);
    this.#become("reconnecting");
  }

  async #establish(): Promise<void> {
    // Read anew for each attempt: another daemon may have another socket.
    const runtime = await readRuntime(this.#options.dataDir);
    const socket = await openSocket(runtime.socket, this.#options.timeoutMs);
    const channel = new Channel(socket, this);
    this.#opening = channel;
    try {
      if (this.#isClosed()) throw lostError(channel);
      const server = await this.#initialize(channel, runtime);
      await checkFolder(server, this.#options.dataDir);
      this.#server = server;
      if (channel.closed || this.#isClosed()) throw lostError(channel);
    } catch (error) {
      channel.destroy();
      throw error;
    } finally {
      this.#opening = undefined;
    }
    this.#channel = channel;
    this.#connectedAt = performance.now();
    this.#state = "connected";
    this.#listener?.connected();
    for (const call of this.#takeWaiting()) call.send(channel);
    this.#become("connected");
  }

  async #initialize(channel: Channel, runtime: RuntimeInfo): Promise<ServerInfo> {
    const { handshake, timeoutMs } = this.#options;
    // Only a pipe needs the token: a Unix socket is guarded by its folder and the peer's user.
    const token = process.platform === "win32" ? { token: runtime.token } : {};
    const late = setTimeout(
      () => channel.destroy(new TimeoutError_(`the daemon at ${runtime.socket} did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      const server = await new Promise<ServerInfo>((resolve, reject) => {
        channel.call("initialize", { ...handshake, protocol: PROTOCOL, ...token }, {
          answered: (result) => resolve(result as ServerInfo),
          failed: reject,
          lost: () => reject(lostError(channel)),
        });
      });
      return checkProtocol(server);
    } finally {
      clearTimeout(late);
    }
  }

  #retryLater(maxMs: number): void {
    // Clients that lost the same daemon must not all come back at the same moment.
    const wait = this.#delay * (0.5 + Math.random() / 2);
    this.#delay = Math.min(this.#delay * 2, maxMs);
    this.#timer = setTimeout(() => {
      this.#establish().catch((error: unknown) => {
        if (this.#isClosed()) return;
        if (isFinal(error)) this.#shut(error);
        else this.#retryLater(maxMs);
      });
    }, wait);
  }

  #shut(error?: CoderLocalError): void {
    if (this.#isClosed()) return;
    if (error !== undefined) this.#end = error.message;
    clearTimeout(this.#timer);
    this.#become("closed");
    this.#opening?.destroy();
    for (const call of this.#takeWaiting()) call.drop(this.#end);
    this.#listener?.closed(error);
  }

  #takeWaiting(): Call[] {
    const calls = [...this.#waiting];
    this.#waiting.clear();
    return calls;
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    guard(() => this.#options.onStateChange?.(state));
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

/** Whether trying again cannot help: the daemon heard us and will not have us. */
function isFinal(error: unknown): error is CoderLocalError {
  return error instanceof UnsupportedError || error instanceof RefusedError || error instanceof InvalidError;
}

function lostError(channel: Channel): CoderLocalError {
  if (channel.cause instanceof CoderLocalError) return channel.cause;
  return new ConnectionLostError("the connection to the daemon was lost", { cause: channel.cause });
}

/** A data directory that was copied brings the runtime.json of the other: calls would go to the wrong database. */
async function checkFolder(server: ServerInfo, dataDir: string): Promise<void> {
  if (typeof server.data_dir !== "string") return;
  const [served, meant] = await Promise.all([server.data_dir, dataDir].map((path) => realpath(path).catch(() => path)));
  if (served === meant) return;
  throw new ConnectionLostError(`the daemon that answers serves ${served}, not ${meant}`, {
    hint: "the folder was probably copied or moved: remove its runtime.json, and start a daemon on it",
  });
}

function checkProtocol(server: ServerInfo): ServerInfo {
  if (server.protocol >= PROTOCOL.min && server.protocol <= PROTOCOL.max) return server;
  throw new UnsupportedError(
    `the daemon ${server.version} speaks protocol ${server.protocol}, this package ${PROTOCOL.min} to ${PROTOCOL.max}`,
    { hint: server.protocol > PROTOCOL.max ? "update @coder-local/client" : "update coder-local" },
  );
}
