import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ConnectionLostError } from "../src/errors.js";
import { defaultDataDir, readRuntime } from "../src/runtime.js";

describe("the default data directory", () => {
  const home = "/home/ada";
  const winHome = "C:\\Users\\ada";
  for (const [platform, at, env, expected] of [
    ["linux", home, {}, "/home/ada/.local/share/coder-local"],
    ["linux", home, { XDG_DATA_HOME: "/data" }, "/data/coder-local"],
    ["linux", home, { XDG_DATA_HOME: "data" }, "/home/ada/.local/share/coder-local"],
    ["linux", home, { CODER_LOCAL_DATA_DIR: "/elsewhere", XDG_DATA_HOME: "/data" }, "/elsewhere"],
    ["linux", home, { CODER_LOCAL_DATA_DIR: "~/it" }, "/home/ada/it"],
    ["win32", winHome, { CODER_LOCAL_DATA_DIR: "~\\it" }, "C:\\Users\\ada\\it"],
    ["linux", home, { CODER_LOCAL_DATA_DIR: "" }, "/home/ada/.local/share/coder-local"],
    ["darwin", home, {}, "/home/ada/Library/Application Support/coder-local"],
    ["win32", winHome, { LOCALAPPDATA: "D:\\Local" }, "D:\\Local\\coder-local"],
    ["win32", winHome, {}, "C:\\Users\\ada\\AppData\\Local\\coder-local"],
  ] as const) {
    test(`${platform} with ${JSON.stringify(env)}`, () => {
      assert.equal(defaultDataDir({ env, platform, home: at }), expected);
    });
  }
});

describe("runtime.json", () => {
  let folder: string;
  before(async () => void (folder = await mkdtemp(join(tmpdir(), "coder-local-"))));
  after(() => rm(folder, { recursive: true }));

  test("is read whole", async () => {
    const info = { protocol: 1, version: "0.1.0", socket: "/s", pid: 7, token: "t", incarnation: "i", data_dir: folder };
    await writeFile(join(folder, "runtime.json"), JSON.stringify(info));
    assert.deepEqual(await readRuntime(folder), info);
  });

  test("missing: says that no daemon runs, and how to start one", async () => {
    await assert.rejects(readRuntime(join(folder, "none")), (error) => {
      assert.ok(error instanceof ConnectionLostError);
      assert.match(error.message, /no daemon is running on .*none/);
      assert.match(error.hint ?? "", /coder-local serve --data-dir ".*none"/);
      return true;
    });
  });

  for (const content of ["{", "", "null", "[]", "{}", '{"socket": 7}', '{"socket": ""}']) {
    test(`damaged: ${JSON.stringify(content)} is refused with the cure`, async () => {
      await writeFile(join(folder, "runtime.json"), content);
      await assert.rejects(readRuntime(folder), (error) => error instanceof ConnectionLostError && /^start it with/.test(error.hint ?? ""));
    });
  }
});
