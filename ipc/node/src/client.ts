/** The client: typed calls, streams and events of one daemon. */
import { Connection, type ConnectionState, type Farewell, type ServerInfo } from "./connection.js";
import { EventSubscriptions } from "./events.js";
import { buildApi, operationKinds, type Api, type Operations } from "./generated/operations.js";
import { defaultDataDir } from "./runtime.js";
import { readStream } from "./stream.js";
import type {
  ActionOptions, AnyOptions, CallOptions, CommandOptions, OperationKind, StreamOptions,
} from "./types.js";
import { VERSION } from "./version.js";

/** Names of the operations of some kind, of all kinds by default. */
export type OperationName<Kind extends OperationKind = OperationKind> = {
  [Name in keyof Operations]: Operations[Name]["kind"] extends Kind ? Name : never;
}[keyof Operations];

/** Names of the operations that answer once. */
export type CallName = OperationName<"query" | "command" | "action">;

/** Names of the operations that answer with many items. */
export type StreamName = OperationName<"stream">;

interface OptionsOfKind {
  query: CallOptions;
  command: CommandOptions;
  action: ActionOptions;
  stream: StreamOptions;
}

/** What comes behind the name in `call` and `stream`; the input may be left out where every field of it may. */
export type Arguments<Name extends OperationName> = {} extends Operations[Name]["input"]
  ? [input?: Operations[Name]["input"], options?: OptionsOfKind[Operations[Name]["kind"]]]
  : [input: Operations[Name]["input"], options?: OptionsOfKind[Operations[Name]["kind"]]];

export interface ConnectOptions {
  /** Who asks; it stands in the daemon's log. */
  client?: { name: string; version: string };
  /** The workspace that calls are about where they name none. */
  workspace?: string;
  /** How long a daemon may take to accept and to introduce itself, 10,000 ms by default. */
  timeoutMs?: number;
  /**
   * After a lost connection, try again after `initialMs` (50), then twice that, up to `maxMs` (5,000), until `close()`.
   * `false`: the first loss closes the client.
   */
  reconnect?: false | { initialMs?: number; maxMs?: number };
  /** Told when the connection is lost, is back, and is closed. */
  onStateChange?: (state: ConnectionState) => void;
  /** Told before the connection ends when the daemon stops in order: by somebody's wish, or for another to follow it. */
  onStopping?: (farewell: Farewell) => void;
}

/** A client with a function for each operation: `client.planning.tasks.create({title})`. */
export type Client = CoderLocalClient & Api;

/**
 * Connect to the daemon that runs on `dataDir` (`CODER_LOCAL_DATA_DIR`, else the platform's default). It keeps the
 * program running until `close()`. Raises `ConnectionLostError` when none runs, `TimeoutError_` when it does not answer,
 * `UnsupportedError` when it speaks another protocol.
 */
export async function connect(dataDir: string = defaultDataDir(), options: ConnectOptions = {}): Promise<Client> {
  const connection = await Connection.open({
    dataDir,
    handshake: {
      client: options.client ?? { name: "@coder-local/client", version: VERSION },
      ...(options.workspace === undefined ? {} : { workspace: options.workspace }),
    },
    timeoutMs: options.timeoutMs ?? 10_000,
    reconnect: options.reconnect === false ? false : { initialMs: 50, maxMs: 5_000, ...options.reconnect },
    onStateChange: options.onStateChange,
    onStopping: options.onStopping,
  });
  const client = new CoderLocalClient(connection);
  const api = buildApi((name, kind, input, callOptions) =>
    kind === "stream" ? client.requestStream(name, input, callOptions) : client.request(name, input, callOptions),
  );
  return join(client, api);
}

/** Everything of a client but the generated functions. Made by `connect`. */
export class CoderLocalClient implements AsyncDisposable {
  /** Subscriptions that resume by themselves. */
  readonly events: EventSubscriptions;
  readonly #connection: Connection;

  /** @internal */
  constructor(connection: Connection) {
    this.#connection = connection;
    this.events = new EventSubscriptions(connection);
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** What the daemon said of itself when it was last connected. */
  get server(): ServerInfo {
    return this.#connection.server;
  }

  /** Call an operation by its wire name. */
  call<Name extends CallName>(name: Name, ...[input, options]: Arguments<Name>): Promise<Operations[Name]["output"]> {
    return this.request(name, input, options as AnyOptions | undefined) as Promise<Operations[Name]["output"]>;
  }

  /** Read a stream operation by its wire name; leaving the loop cancels it. */
  stream<Name extends StreamName>(name: Name, ...args: Arguments<Name>): AsyncGenerator<Operations[Name]["output"], void> {
    const [input, options] = args as [object?, StreamOptions?];
    return this.requestStream(name, input, options);
  }

  /** Call an operation that this build does not know, of somebody else's plugin for example. */
  request(name: string, input?: object, options: AnyOptions = {}): Promise<unknown> {
    return this.#connection.request({
      method: name,
      params: wireParams(input, options),
      reads: (operationKinds as Readonly<Record<string, OperationKind>>)[name] === "query",
      resend: options.idempotencyKey !== undefined,
      signal: options.signal,
      onProgress: options.onProgress,
    });
  }

  /** Read a stream operation that this build does not know. */
  requestStream<Item = unknown>(name: string, input?: object, options: StreamOptions = {}): AsyncGenerator<Item, void> {
    return readStream<Item>(this.#connection, name, wireParams(input, options), options);
  }

  /** Close for good: subscriptions end, calls under way reject with `ConnectionLostError`. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function wireParams(input: object | undefined, options: AnyOptions): object {
  return {
    ...input,
    ...(options.ifRev === undefined ? {} : { if_rev: options.ifRev }),
    ...(options.idempotencyKey === undefined ? {} : { idempotency_key: options.idempotencyKey }),
    ...(options.confirm === undefined ? {} : { confirm: options.confirm }),
  };
}

function join(client: CoderLocalClient, api: Api): Client {
  for (const [domain, functions] of Object.entries(api) as [string, object][]) {
    // Operations of a domain called `events` stand beside `subscribe`; over any other member they would hide it.
    if (domain === "events") Object.assign(client.events, functions);
    else if (domain in client) throw new TypeError(`a domain cannot be called ${domain}: the client has a member of that name`);
    else Object.defineProperty(client, domain, { value: functions, enumerable: true });
  }
  return client as Client;
}
