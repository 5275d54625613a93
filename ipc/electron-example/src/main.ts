/** The main process: one daemon, one window, and between them a list of what the window may do. */
import { app, BrowserWindow, clipboard, dialog, ipcMain, protocol, session } from "electron";
import { createRequire } from "node:module";
import { asText, attachOrSpawn, serveWindows, type DaemonState, type Supervisor } from "@coder-local/client/electron";
import { asset } from "./assets.js";
import { grant } from "./grant.js";

const ORIGIN = "app://shell";
const PRELOAD = createRequire(import.meta.url).resolve("@coder-local/client/electron/preload");

protocol.registerSchemesAsPrivileged([{ scheme: "app", privileges: { standard: true, secure: true, supportFetchAPI: true } }]);
if (!app.requestSingleInstanceLock()) app.quit();
else void app.whenReady().then(start);
app.on("window-all-closed", () => app.quit());
app.on("second-instance", () => BrowserWindow.getAllWindows()[0]?.focus());

async function start(): Promise<void> {
  protocol.handle("app", async (request) => {
    const found = await asset(new URL(request.url).pathname);
    return found === undefined ? new Response(null, { status: 404 }) : new Response(new Uint8Array(found.body), { headers: found.headers });
  });
  session.defaultSession.setPermissionRequestHandler((_, __, decide) => decide(false));
  const daemon = await begin();
  if (daemon === undefined) return app.quit();
  await openWindow(daemon);
  app.on("before-quit", () => void daemon.close());
}

async function openWindow(daemon: Supervisor): Promise<void> {
  const window = new BrowserWindow({
    width: 1100, height: 720,
    webPreferences: { preload: PRELOAD, sandbox: true, contextIsolation: true, nodeIntegration: false },
  });
  // The window stays on its page: what it may do was given to that page, and to no other.
  window.webContents.setWindowOpenHandler(() => ({ action: "deny" }));
  window.webContents.on("will-navigate", (event) => event.preventDefault());
  const windows = serveWindows({
    ipcMain, daemon,
    confirm: async (_, { message }) => {
      const { response } = await dialog.showMessageBox(window, { type: "question", message, buttons: ["Do it", "Cancel"], defaultId: 1, cancelId: 1 });
      return response === 0;
    },
  });
  windows.allow(window.webContents, grant(ORIGIN));
  await window.loadURL(`${ORIGIN}/?folder=${encodeURIComponent(app.getPath("home"))}`);
}

/** Attach or spawn, as often as the person wants; undefined when they have enough of it. */
async function begin(): Promise<Supervisor | undefined> {
  let state: DaemonState | undefined;
  for (;;) {
    try {
      const command = [process.env["CODER_LOCAL"] ?? "coder-local"];
      return await attachOrSpawn({ command, linger: 60, onState: (now) => (state = now) });
    } catch (error) {
      if (!(await wantsAnother(error, state))) return undefined;
    }
  }
}

async function wantsAnother(error: unknown, state: DaemonState | undefined): Promise<boolean> {
  const detail = state?.name === "failed" ? `${state.hint ?? ""}\n\n${asText(state.diagnostics)}` : String(error);
  const { response } = await dialog.showMessageBox({
    type: "error", message: "The backend does not start", detail, buttons: ["Try again", "Copy and quit", "Quit"], defaultId: 0, cancelId: 2,
  });
  if (response === 1) clipboard.writeText(detail);
  return response === 0;
}
