/** The main process: one daemon, one window, and between them a list of what the window may do. */
import { app, BrowserWindow, dialog, ipcMain, protocol, session } from "electron";
import { createRequire } from "node:module";
import { attachOrSpawn, serveWindows, StartError, type Supervisor } from "@coder-local/client/electron";
import { asset } from "./assets.js";
import { grant } from "./grant.js";

const ORIGIN = "app://shell";
const PRELOAD = createRequire(import.meta.url).resolve("@coder-local/client/electron/preload");

protocol.registerSchemesAsPrivileged([{ scheme: "app", privileges: { standard: true, secure: true, supportFetchAPI: true } }]);
if (!app.requestSingleInstanceLock()) app.quit();
else void app.whenReady().then(start);
app.on("window-all-closed", () => app.quit());

async function start(): Promise<void> {
  protocol.handle("app", async (request) => {
    const found = await asset(new URL(request.url).pathname);
    return found === undefined ? new Response(null, { status: 404 }) : new Response(new Uint8Array(found.body), { headers: found.headers });
  });
  session.defaultSession.setPermissionRequestHandler((_, __, decide) => decide(false));
  const daemon = await attachOrSpawn({ command: [process.env["CODER_LOCAL"] ?? "coder-local"], linger: 60 }).catch(showFailure);
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

async function showFailure(error: unknown): Promise<undefined> {
  const detail = error instanceof StartError ? `${error.hint ?? ""}\n\n${error.stderr}` : "";
  dialog.showErrorBox("The backend does not start", `${error instanceof Error ? error.message : String(error)}\n${detail}`);
  return undefined;
}

