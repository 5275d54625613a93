/** A shell in a process of its own: attaches or spawns, says so in one line, and stays until it is killed. */
import { attachOrSpawn } from "../src/electron/index.js";

const [dataDir, command] = process.argv.slice(2) as [string, string];
const daemon = await attachOrSpawn({ dataDir, command: JSON.parse(command) as string[] });
console.log(JSON.stringify({ pid: daemon.client.server.pid, spawned: daemon.state.name === "ready" && daemon.state.spawned }));
