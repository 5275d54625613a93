/**
 * The preload script: puts `window.coderLocal` into the page's world. Set it as `webPreferences.preload`, by
 * `require.resolve("@coder-local/client/electron/preload")`. It may import nothing but electron, for a sandboxed
 * preload script can load nothing else; and it decides nothing: what a window may do is looked up in the main process.
 */
import type { Bridge, WindowState, WireError } from "./wire.js" with { "resolution-mode": "import" };
import type { Progress } from "../types.js" with { "resolution-mode": "import" };

/** Of Electron's `ipcRenderer`. */
interface IpcRendererLike {
  invoke(channel: string, ...args: unknown[]): Promise<unknown>;
  send(channel: string, ...args: unknown[]): void;
  on(channel: string, listener: (event: unknown, ...args: unknown[]) => void): unknown;
}

interface Stream {
  items: (items: unknown[]) => void;
  end: (error: WireError | undefined) => void;
}

/** Return the bridge over Electron's IPC. */
function makeBridge(ipc: IpcRendererLike): Bridge {
  const streams = new Map<number, Stream>();
  const progress = new Map<number, (progress: Progress) => void>();
  const states = new Set<(state: WindowState) => void>();
  ipc.on("coder-local:items", (_, id, items) => streams.get(id as number)?.items(items as unknown[]));
  ipc.on("coder-local:end", (_, id, error) => {
    const stream = streams.get(id as number);
    streams.delete(id as number);
    stream?.end(error as WireError | undefined);
  });
  ipc.on("coder-local:progress", (_, id, how) => progress.get(id as number)?.(how as Progress));
  ipc.on("coder-local:state", (_, state) => states.forEach((told) => told(state as WindowState)));
  return {
    hello: () => ipc.invoke("coder-local:hello") as ReturnType<Bridge["hello"]>,
    retry: () => ipc.invoke("coder-local:retry") as ReturnType<Bridge["retry"]>,
    call: async (request, told) => {
      if (told !== undefined) progress.set(request.id, told);
      try {
        return (await ipc.invoke("coder-local:call", request)) as Awaited<ReturnType<Bridge["call"]>>;
      } finally {
        progress.delete(request.id);
      }
    },
    cancel: (id) => ipc.send("coder-local:cancel", id),
    open: async (request, items, end) => {
      streams.set(request.id, { items, end });
      const answer = (await ipc.invoke("coder-local:open", request)) as Awaited<ReturnType<Bridge["open"]>>;
      if ("error" in answer) streams.delete(request.id);
      return answer;
    },
    took: (id, count) => ipc.send("coder-local:took", id, count),
    close: (id) => {
      streams.delete(id);
      ipc.send("coder-local:close", id);
    },
    onState: (told) => void states.add(told),
  };
}

const { contextBridge, ipcRenderer } = require("electron") as {
  contextBridge: { exposeInMainWorld(name: string, api: unknown): void };
  ipcRenderer: IpcRendererLike;
};
contextBridge.exposeInMainWorld("coderLocal", makeBridge(ipcRenderer));
