/** Runs the test files of this folder with Node's runner; words after `npm test --` choose files by name. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// Named one by one: what `node --test` makes of a folder or a pattern differs between Node 20, 22 and platforms.
const folder = dirname(fileURLToPath(import.meta.url));
const chosen = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((file) => file.endsWith(".test.js") && (chosen.length === 0 || chosen.some((word) => file.includes(word))))
  .map((file) => join(folder, file));
if (files.length === 0) {
  console.error(`no test file is called like ${chosen.join(" ")}`);
  process.exit(1);
}
process.exit(spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit" }).status ?? 1);
