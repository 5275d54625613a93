/** What goes between a window and the main process: names of channels, and the shapes of messages. Types, and nothing that runs. */
import type { AnyOptions, Cursor, OperationKind, Progress } from "../types.js";
import type { DaemonState } from "./state.js";

/** Channels of Electron's IPC. The preload script spells them out, because it may import nothing. */
export type Channel =
  | "coder-local:hello" | "coder-local:retry" | "coder-local:call" | "coder-local:cancel" | "coder-local:open" | "coder-local:close"
  | "coder-local:took" | "coder-local:items" | "coder-local:end" | "coder-local:progress" | "coder-local:state";

/** What a window is told first. */
export interface Hello {
  /** The operations that it may call, with their kinds. */
  operations: Record<string, OperationKind>;
  state: WindowState;
}

/** The state as a window sees it: what the person is to be shown, and no more. */
export type WindowState = Exclude<DaemonState, { name: "failed" | "ready" | "migrating" }>
  | { name: "ready"; version: string; incarnation: string }
  | { name: "migrating"; version: string; incarnation: string; message: string; fraction: number | null }
  | { name: "failed"; reason: string; hint: string | undefined; diagnostics: string };

/** Options that a window may give; a signal does not pass, and a confirmation is the main process's to ask for. */
export type WindowOptions = Pick<AnyOptions, "ifRev" | "idempotencyKey" | "maxBuffered">;

export interface CallRequest {
  /** Made by the window, to cancel by. */
  id: number;
  name: string;
  input?: object;
  options?: WindowOptions;
}

export interface OpenRequest {
  id: number;
  /** Items of a stream operation, or events. */
  of: "stream" | "events";
  name?: string;
  input?: object;
  options?: WindowOptions;
  events?: { cursor?: Cursor; types?: readonly string[]; subjects?: readonly string[] };
}

/** An answer, or an error as plain data: classes do not pass between processes. */
export type Answer = { ok: unknown } | { error: WireError };

export interface WireError {
  kind: string;
  message: string;
  field?: string;
  hint?: string;
  data?: Readonly<Record<string, unknown>>;
  maybeCarriedOut?: boolean;
}

/** What the preload script puts into the page's world. Everything that passes is plain data. */
export interface Bridge {
  hello(): Promise<Hello>;
  retry(): Promise<Answer>;
  call(request: CallRequest, progress?: (progress: Progress) => void): Promise<Answer>;
  cancel(id: number): void;
  /** Begin a stream; `items` is told of some at a time, and the next come when it has said so by `took`. */
  open(request: OpenRequest, items: (items: unknown[]) => void, end: (error: WireError | undefined) => void): Promise<Answer>;
  took(id: number, count: number): void;
  close(id: number): void;
  onState(told: (state: WindowState) => void): void;
}
