export { CoderLocalClient, connect } from "./client.js";
export type { Arguments, CallName, Client, ConnectOptions, OperationName, StreamName } from "./client.js";
export type { ConnectionState, Farewell, ServerInfo } from "./connection.js";
export * from "./errors.js";
export { isEvent } from "./event-types.js";
export type { EventMatching, EventOf, EventPattern, EventType, KnownEvent, Reset } from "./event-types.js";
export type { EventHandler, EventSubscriptions, SubscribeOptions, Subscription } from "./events.js";
export * from "./generated/operations.js";
export { defaultDataDir, readRuntime } from "./runtime.js";
export type { RuntimeInfo } from "./runtime.js";
export type {
  ActionOptions, CallOptions, CommandOptions, Cursor, Duration, EventEnvelope, Instant, LocalDate, NoInput, Open,
  OperationKind, Page, Progress, RecordChanged, StreamOptions, UnknownEvent,
} from "./types.js";
export { PROTOCOL, VERSION } from "./version.js";
