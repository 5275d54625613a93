/** The page in headless Chromium, with a real daemon behind it: what a person sees, does, and sees when it dies. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { attachOrSpawn, serveWindows, type Supervisor, type Windows } from "@coder-local/client/electron";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { grant } from "../src/grant.js";
import { BridgeServer, preload } from "./bridge.js";

const LIMIT = { timeout: 90_000 };
const CHECKOUT = fileURLToPath(new URL("../../../../", import.meta.url));
const FOLDERS = (process.env["PATH"] ?? "").split(delimiter);
const CHROMIUM = process.env["CHROMIUM"]
  ?? ["chromium", "chromium-browser", "google-chrome"].flatMap((name) => FOLDERS.map((folder) => join(folder, name))).find(existsSync);
/** Where the picture of the page goes, when it is to be taken anew. */
const PICTURE = process.env["PICTURE"];

let folder: string;
let daemon: Supervisor;
let server: BridgeServer;
let windows: Windows;
let browser: Browser;
let page: Page;
const said: string[] = [];

before(async () => {
  assert.ok(CHROMIUM !== undefined, "there is no Chromium: install it, or name it by CHROMIUM");
  folder = await mkdtemp(join(tmpdir(), "cl-"));
  const python = process.platform === "win32" ? [".venv", "Scripts", "python.exe"] : [".venv", "bin", "python"];
  const given = process.env["CODER_LOCAL_COMMAND"];
  const command = given === undefined ? [join(CHECKOUT, ...python), "-m", "coder_local"] : (JSON.parse(given) as string[]);
  const PYTHONPATH = [".", "plugins", "ipc"].map((root) => join(CHECKOUT, root)).join(delimiter);
  daemon = await attachOrSpawn({ dataDir: join(folder, "data"), command, env: { ...process.env, PYTHONPATH }, restart: { limit: 2, initialMs: 20 } });
  server = new BridgeServer();
  await server.listen();
  windows = serveWindows({ ipcMain: server, daemon, confirm: () => Promise.resolve(true) });
  windows.allow(server.sender, grant(server.origin));
  // Not sandboxed: it runs as root where the tests run in a container, and opens this page only.
  browser = await puppeteer.launch({ executablePath: CHROMIUM, headless: true, pipe: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  page = await browser.newPage();
  await page.setViewport({ width: 1100, height: 560 });
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  await page.evaluateOnNewDocument(preload());
  await page.goto(`${server.origin}/?folder=${encodeURIComponent(folder)}`);
  await shows("#state", "ready");
}, LIMIT);

after(async () => {
  await browser?.close();
  windows?.close();
  server?.close();
  await daemon?.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
});

async function shows(selector: string, text: string): Promise<void> {
  await page
    .waitForFunction((at: string, wanted: string) => document.querySelector(at)?.textContent?.includes(wanted), { timeout: 20_000, polling: 20 }, selector, text)
    .catch(async () => assert.fail(`${selector} does not show ${text}: ${await page.$eval("body", (body) => body.innerText)}\n${said.join("\n")}`));
}

async function shown(selector: string): Promise<string[]> {
  return page.$$eval(selector, (found) => found.map((each) => each.textContent ?? ""));
}

async function submit(form: string, text: string): Promise<void> {
  await page.type(`${form} input`, text);
  await page.click(`${form} button`);
}

test("projects and tasks are made, finished and brought back, and the feed tells of it", LIMIT, async () => {
  await submit("#new-project", "Lighthouse");
  await shows("#projects", "Lighthouse");
  for (const title of ["paint the door", "oil the hinges", "count the ships"]) {
    await submit("#new-task", title);
    await shows("#tasks", title);
  }
  await page.click("#tasks li:has(input) input");
  await shows("#feed", "planning.task.updated");
  await page.waitForFunction(() => document.querySelectorAll("#tasks li").length === 2);
  await page.click("#undo");
  await page.waitForFunction(() => document.querySelectorAll("#tasks li").length === 3);
  assert.equal((await shown("#error")).join(""), "");
});

test("a run is followed live, with its output", LIMIT, async () => {
  await page.click("#run button");
  await shows("#output", "git version");
  await page.waitForSelector('#steps[data-run="succeeded"]', { timeout: 20_000 });
  assert.deepEqual(await shown("#steps li"), ["version succeeded", "pause succeeded", "guides succeeded"]);
  await shows("#feed", "execution.run.finished");
  assert.equal((await shown("#error")).join(""), "");
  if (PICTURE === undefined) return;
  await page.$eval("#run input", (input) => (input.value = "~/lighthouse"));
  await page.screenshot({ path: PICTURE as `${string}.png` });
});

test("what was not given is refused, and names the cure", LIMIT, async () => {
  const answer = await page.evaluate(() =>
    (globalThis as unknown as { coderLocal: { call(request: object): Promise<{ error?: { kind: string; hint: string } }> } })
      .coderLocal.call({ id: 1_000_000, name: "planning.projects.delete", input: { id: "LIGHTH" } }));
  assert.equal(answer.error?.kind, "refused");
  assert.match(answer.error.hint, /planning\.projects\.delete/);
});

test("a daemon that dies is shown, comes back with all, and is given up when it dies too often", LIMIT, async () => {
  for (let died = 0; died < 2; died += 1) {
    const { incarnation, pid } = daemon.client.server;
    process.kill(pid, "SIGKILL");
    await page.waitForFunction(() => document.querySelector<HTMLElement>("#state")?.dataset["name"] !== "ready", { polling: 5 });
    await shows("#state", "ready");
    assert.notEqual(daemon.client.server.incarnation, incarnation);
    await submit("#new-task", `after ${died}`);
    await shows("#tasks", `after ${died}`);
  }
  process.kill(daemon.client.server.pid, "SIGKILL");
  await shows("#state", "failed: the daemon died 2 times");
  await shows("#diagnostics", "killed by SIGKILL");
  await page.click("#retry");
  await shows("#state", "ready");
  const { key } = await daemon.client.planning.tasks.create({ title: "after all" });
  await shows("#feed", "planning.task.created");
  await shows("#tasks", key); // the feed goes on by itself, though it is another daemon and another connection
});

test("the page broke no rule of its own policy", LIMIT, () => assert.deepEqual(said.filter((each) => !each.includes("favicon") && !each.includes("404")), []));
