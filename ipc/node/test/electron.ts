/** A stand-in for Electron's two ends of IPC: one process, and messages that are copied as Electron copies them. */
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import type { Bridge, EventLike, FrameLike, IpcMainLike, SenderLike } from "../src/electron/index.js";

type Listener = (event: EventLike, ...args: unknown[]) => unknown;

const PRELOAD = readFileSync(new URL("../src/electron/preload.cjs", import.meta.url), "utf8");

/** `ipcMain`. */
export class FakeMain implements IpcMainLike {
  readonly handlers = new Map<string, Listener>();
  readonly listeners = new Map<string, Set<Listener>>();

  handle(channel: string, listener: Listener): void {
    if (this.handlers.has(channel)) throw new Error(`${channel} has a handler`);
    this.handlers.set(channel, listener);
  }

  removeHandler(channel: string): void {
    this.handlers.delete(channel);
  }

  on(channel: string, listener: Listener): this {
    this.listeners.set(channel, (this.listeners.get(channel) ?? new Set()).add(listener));
    return this;
  }

  removeListener(channel: string, listener: Listener): this {
    this.listeners.get(channel)?.delete(listener);
    return this;
  }
}

/** `webContents` of one window, with the renderer behind it. */
export class FakeWindow extends EventEmitter implements SenderLike {
  readonly id: number;
  mainFrame: FrameLike;
  /** How many messages went to the page. */
  sent = 0;
  readonly #main: FakeMain;
  readonly #renderer = new EventEmitter();
  #gone = false;

  constructor(main: FakeMain, id: number, origin = "app://shell") {
    super();
    this.#main = main;
    this.id = id;
    this.mainFrame = { origin };
  }

  isDestroyed(): boolean {
    return this.#gone;
  }

  send(channel: string, ...args: unknown[]): void {
    this.sent += 1;
    const copied = structuredClone(args);
    setImmediate(() => this.#renderer.emit(channel, {}, ...copied));
  }

  destroy(): void {
    this.#gone = true;
    this.emit("destroyed");
  }

  /** Run the preload script as a sandboxed one is run: nothing can be required but electron. */
  bridge(frame: FrameLike = this.mainFrame): Bridge {
    let made: unknown;
    const event: EventLike = { sender: this, senderFrame: frame };
    const electron = {
      contextBridge: { exposeInMainWorld: (name: string, api: unknown) => void (made = name === "coderLocal" ? api : made) },
      ipcRenderer: {
        invoke: async (channel: string, ...args: unknown[]) =>
          structuredClone(await this.#main.handlers.get(channel)?.(event, ...(structuredClone(args) as unknown[]))),
        send: (channel: string, ...args: unknown[]) => {
          const copied = structuredClone(args);
          setImmediate(() => this.#main.listeners.get(channel)?.forEach((listener) => listener(event, ...copied)));
        },
        on: (channel: string, listener: (event: unknown, ...args: unknown[]) => void) => this.#renderer.on(channel, listener),
      },
    };
    const load = (name: string): unknown => {
      if (name === "electron") return electron;
      throw new Error(`a sandboxed preload script cannot require ${name}`);
    };
    new Function("require", "exports", PRELOAD)(load, {});
    return made as Bridge;
  }
}
