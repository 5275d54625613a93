/** What a person can send when the daemon does not start: what was tried, when, and what came of it. No secrets. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { VERSION } from "../version.js";
import type { Diagnostics, Happening } from "./state.js";

const MOST = 200;
const SECRET = /((?:token|secret|password|authorization|api[_-]?key)["']?\s*[:=]\s*["']?(?:bearer\s+)?)[^\s"',;}]+/gi;
const BEARER = /(bearer\s+)[\w.~+/=-]+/gi;

/** Remembers what happened. */
export class Journal {
  readonly #begun = performance.now();
  #happenings: Happening[] = [];

  note(what: string): void {
    this.#happenings.push({ at: Math.round(performance.now() - this.#begun), what: redact(what) });
    // The beginning tells why it was started, the end why it is not there: the middle may go.
    if (this.#happenings.length > MOST) this.#happenings.splice(MOST / 2, 1);
  }

  get happenings(): Happening[] {
    return [...this.#happenings];
  }
}

/** Return a text without what looks like a secret, and without the name of the person's home. */
export function redact(text: string, secrets: readonly string[] = []): string {
  let told = text.replace(BEARER, "$1***").replace(SECRET, "$1***");
  for (const secret of secrets) if (secret.length > 0) told = told.replaceAll(secret, "***");
  const home = homedir();
  return home.length > 1 ? told.replaceAll(home, "~") : told;
}

/** Return what must not stand in diagnostics whatever it stands beside: the token of the data directory's daemon. */
export function secretsOf(dataDir: string): string[] {
  try {
    const { token } = JSON.parse(readFileSync(join(dataDir, "runtime.json"), "utf8")) as { token?: unknown };
    return typeof token === "string" ? [token] : [];
  } catch {
    return []; // no daemon is there, and its token is worth nothing
  }
}

/** Return what versions are at work. */
export function versions(): Record<string, string> {
  const { node, electron, chrome } = process.versions;
  return {
    client: VERSION,
    ...Object.fromEntries(Object.entries({ node, electron, chrome }).filter((each): each is [string, string] => each[1] !== undefined)),
  };
}

/** Return diagnostics as text, to be shown or sent. */
export function asText(found: Diagnostics): string {
  const ended = found.exitCode !== null ? `exit code ${found.exitCode}` : found.signal !== null ? `killed by ${found.signal}` : "";
  return [
    `coder-local: ${found.state}${found.reason === undefined ? "" : `: ${found.reason}`}`,
    ...(ended === "" ? [] : [ended]),
    Object.entries(found.versions).map(([name, version]) => `${name} ${version}`).join(", ") + `, ${found.platform}`,
    `data directory ${found.dataDir}, program ${found.command}`,
    "",
    ...found.happenings.map(({ at, what }) => `${String(at).padStart(8)} ms  ${what}`),
    "",
    "standard error:",
    found.stderr === "" ? "(nothing)" : found.stderr,
  ].join("\n");
}
