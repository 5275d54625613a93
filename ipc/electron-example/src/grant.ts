/** What the example's window may do: this list is all that its page can reach. */
import type { Grant } from "@coder-local/client/electron";

export const OPERATIONS = [
  "planning.projects.list", "planning.projects.create", "planning.ready", "planning.tasks.create", "planning.tasks.finish",
  "changes.undo", "execution.start", "execution.runs.get", "execution.runs.follow",
] as const;

/** Return the grant of a page of an origin. */
export function grant(origin: string): Grant {
  return { origin, operations: OPERATIONS, events: ["planning.*", "execution.*"], retry: true };
}
