/** The types of events, and which of them a subscription's patterns let through. */
import type { Events } from "./generated/operations.js";
import type { Cursor, EventEnvelope, Open, UnknownEvent } from "./types.js";

/** Every type of event that this build of the package knows. */
export type EventType = keyof Events & string;

/** The event of one type, `EventOf<"planning.task.created">`; a union for several types. */
export type EventOf<Type extends EventType> = Type extends EventType ? EventEnvelope<Type, Events[Type]> : never;

/** Any event that this build knows. A newer daemon says others too: a `switch` over `type` needs its `default`. */
export type KnownEvent = EventOf<EventType>;

/** An exact type of event, or one that ends in `*`: `planning.*`. */
export type EventPattern = EventType | `${string}*` | (string & {});

/** The events that a pattern lets through. */
export type EventMatching<Pattern extends string> = Pattern extends EventType
  ? EventOf<Pattern>
  : Pattern extends `${infer Prefix}*`
    ? Known<Extract<KnownEvent, { type: `${Prefix}${string}` }>>
    : UnknownEvent;

type Known<Event> = [Event] extends [never] ? UnknownEvent : Event;

/**
 * The events behind the cursor cannot be served: load anew what you hold. The subscription goes on from `head` by
 * itself. Its `type` has no dot, so it is told from every event.
 */
export interface Reset {
  type: "reset";
  reason: Open<"too_old" | "other_epoch" | "ahead">;
  head: Cursor;
}

/** Whether a subscription's item is the event of that type. */
export function isEvent<Type extends EventType>(item: { type: string }, type: Type): item is EventOf<Type> {
  return item.type === type;
}
