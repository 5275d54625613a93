/** Read by the compiler only: what must be an error is one, and what is written is what an editor offers. */
import { CoderLocalClient, type Client, type EventMatching, type EventOf, type Page, type Task, type UnknownEvent } from "../src/index.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<T extends true>(): T | undefined {
  return undefined;
}

export async function calls(client: Client): Promise<void> {
  const task = await client.planning.tasks.create({ title: "a", priority: "high" }, { idempotencyKey: "k" });
  holds<Same<typeof task, Task>>();
  const page = await client.call("planning.tasks.list");
  holds<Same<typeof page, Page<Task>>>();
  // A word that this build does not know may stand in an answer, never in an input.
  const status: string = task.status === "doing" ? "in hand" : task.status;
  // @ts-expect-error no such priority
  await client.planning.tasks.create({ title: status, priority: "very" });
  // @ts-expect-error title is missing
  await client.planning.tasks.create({});
  // @ts-expect-error no such field
  await client.call("planning.tasks.create", { title: "a", titel: "b" });
  // @ts-expect-error the input is missing
  await client.call("planning.tasks.create");
  // @ts-expect-error no such operation
  await client.call("planning.tasks.creat", { title: "a" });
  // @ts-expect-error no such operation
  await client.planning.tasks.creat({ title: "a" });
  // @ts-expect-error a query takes no revision
  await client.planning.tasks.list({}, { ifRev: 1 });
}

export async function events(client: Client): Promise<void> {
  await client.events.subscribe({ types: ["planning.task.created", "planning.task.deleted"] }, (item) => {
    // @ts-expect-error a reset has no data: it must be told apart first
    void item.data;
    if (item.type === "reset") return;
    holds<Same<typeof item, EventOf<"planning.task.created" | "planning.task.deleted">>>();
  });
  await client.events.subscribe({ types: ["elsewhere.*"] }, (item) => {
    if (item.type !== "reset") holds<Same<UnknownEvent, Exclude<typeof item, { type: "reset" }>>>();
  });
  holds<Same<EventMatching<"planning.task.up*">, EventOf<"planning.task.updated">>>();
  holds<Same<EventMatching<"planning.task.updated">["data"]["rev"], number>>();
}

export const isDisposable: AsyncDisposable | undefined = CoderLocalClient.prototype;
