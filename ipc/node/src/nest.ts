/** Makes `client.planning.tasks.create` out of the list of operation names. */
import type { AnyOptions, Invoke, OperationKind } from "./types.js";

/**
 * Return nested objects with one function for each operation, so that a misspelt name is `undefined` and not a call.
 * A name that is also the beginning of others (`search` and `search.rebuild`) is a function with members.
 */
export function nest<Api>(kinds: Readonly<Record<string, OperationKind>>, invoke: Invoke): Api {
  const root = newNode();
  // Sorted, so that a name comes before those that it begins.
  for (const [name, kind] of Object.entries(kinds).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const words = name.split(".");
    const last = words.pop() as string;
    const node = words.reduce(childOf, root);
    define(node, last, (input?: object, options?: AnyOptions) => invoke(name, kind, input, options));
  }
  return root as Api;
}

function childOf(node: object, word: string): object {
  // Own members only: `constructor` and `call` may be words of a name.
  if (!Object.hasOwn(node, word)) define(node, word, newNode());
  return (node as Record<string, object>)[word] as object;
}

function newNode(): object {
  return Object.create(null) as object;
}

function define(node: object, word: string, value: unknown): void {
  Object.defineProperty(node, word, { value, enumerable: true, configurable: true });
}
