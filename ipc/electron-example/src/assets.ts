/** The files of the page, by their paths: the same for Electron's `app://shell` and for a test server. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("page/", import.meta.url));
/** The client's own modules, which the page's import map names. */
const CLIENT = fileURLToPath(new URL("../", import.meta.resolve("@coder-local/client/electron/renderer")));
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
};

export interface Asset {
  body: Buffer;
  headers: Record<string, string>;
}

/** Return a file of the page; undefined if there is none at that path. */
export async function asset(path: string): Promise<Asset | undefined> {
  const [root, rest] = path.startsWith("/client/") ? [CLIENT, path.slice("/client/".length)] : [PAGE, path === "/" ? "index.html" : path.slice(1)];
  const file = normalize(join(root, rest));
  const type = TYPES[extname(file)];
  if (type === undefined || !file.startsWith(root.endsWith(sep) ? root : root + sep)) return undefined;
  const body = await readFile(file).catch(() => undefined);
  return body === undefined ? undefined : { body, headers: { "Content-Type": type, "Content-Security-Policy": policy(body, type) } };
}

/** Nothing from elsewhere, and no script in the page but its import map, which is named by its hash. */
function policy(body: Buffer, type: string): string {
  const map = type.startsWith("text/html") ? /<script type="importmap">([^]*?)<\/script>/.exec(body.toString())?.[1] : undefined;
  const hash = map === undefined ? "" : ` 'sha256-${createHash("sha256").update(map).digest("base64")}'`;
  return `default-src 'none'; script-src 'self'${hash}; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}
