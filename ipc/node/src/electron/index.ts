/** For Electron's main process, and for any other Node program that looks after a daemon. */
export { asText } from "./diagnostics.js";
export { ForbiddenError, type Grant } from "./grants.js";
export { RestartPolicy, type RestartOptions } from "./policy.js";
export { StartError, type SpawnOptions } from "./spawn.js";
export type { DaemonState, Diagnostics, Happening } from "./state.js";
export { attachOrSpawn, Supervisor, type AttachOptions } from "./supervisor.js";
export {
  serveWindows, Windows, type EventLike, type FrameLike, type IpcMainLike, type SenderLike, type ServeOptions, type Source,
} from "./windows.js";
export type { Bridge, Hello, WindowState } from "./wire.js";
