/**
 * The page in a browser that is no Electron: its IPC goes over HTTP to the code of the main process, and the preload
 * script is the real one. All else, the page, the list of what it may do and the daemon, is as in the shell.
 */
import type { EventLike, FrameLike, IpcMainLike, SenderLike } from "@coder-local/client/electron";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { asset } from "../src/assets.js";

type Listener = (event: EventLike, ...args: unknown[]) => unknown;

/** `ipcMain`, and the `webContents` of the one page, behind an HTTP server. */
export class BridgeServer implements IpcMainLike {
  readonly sender: SenderLike;
  readonly #handlers = new Map<string, Listener>();
  readonly #listeners = new EventEmitter();
  readonly #server: Server;
  readonly #frame: { origin: string } = { origin: "" };
  #messages: ServerResponse | undefined;

  constructor() {
    const events = new EventEmitter();
    const frame: FrameLike = this.#frame;
    this.sender = Object.assign(events, {
      id: 1,
      mainFrame: frame,
      isDestroyed: () => false,
      send: (channel: string, ...args: unknown[]) => void this.#messages?.write(`data: ${JSON.stringify([channel, ...args])}\n\n`),
    });
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  get origin(): string {
    return this.#frame.origin;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.#frame.origin = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  handle(channel: string, listener: Listener): void {
    this.#handlers.set(channel, listener);
  }

  removeHandler(channel: string): void {
    this.#handlers.delete(channel);
  }

  on(channel: string, listener: Listener): unknown {
    return this.#listeners.on(channel, listener);
  }

  removeListener(channel: string, listener: Listener): unknown {
    return this.#listeners.removeListener(channel, listener);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.origin);
    if (pathname === "/bridge/messages") {
      this.#messages = response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(":\n\n");
    } else if (pathname === "/bridge") {
      const [how, channel, ...args] = JSON.parse(await text(request)) as [string, string, ...unknown[]];
      const event = { sender: this.sender, senderFrame: this.sender.mainFrame };
      if (how === "send") this.#listeners.emit(channel, event, ...args);
      const answer = how === "send" ? null : await this.#handlers.get(channel)?.(event, ...args);
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer ?? null));
    } else {
      const found = await asset(pathname);
      if (found === undefined) response.writeHead(404).end();
      else response.writeHead(200, found.headers).end(found.body);
    }
  }
}

async function text(request: IncomingMessage): Promise<string> {
  let all = "";
  for await (const piece of request.setEncoding("utf8")) all += piece as string;
  return all;
}

/** What runs in the page before its own scripts: the preload script, with IPC over HTTP in electron's place. */
export function preload(): string {
  const source = readFileSync(createRequire(import.meta.url).resolve("@coder-local/client/electron/preload"), "utf8");
  return `(() => {
    const listeners = new Map();
    const post = (...message) => fetch("/bridge", { method: "POST", body: JSON.stringify(message) }).then((answer) => answer.json());
    new EventSource("/bridge/messages").onmessage = ({ data }) => {
      const [channel, ...args] = JSON.parse(data);
      listeners.get(channel)?.forEach((listener) => listener({}, ...args));
    };
    const electron = {
      contextBridge: { exposeInMainWorld: (name, api) => (window[name] = api) },
      ipcRenderer: {
        invoke: (channel, ...args) => post("invoke", channel, ...args),
        send: (channel, ...args) => void post("send", channel, ...args),
        on: (channel, listener) => listeners.set(channel, [...(listeners.get(channel) ?? []), listener]),
      },
    };
    ((require, exports) => { ${source}
    })(() => electron, {});
  })()`;
}
