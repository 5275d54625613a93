import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as errors from "../src/errors.js";

const { errorFromWire } = errors;

function wire(kind: string, more: object = {}): unknown {
  return { code: -32000, message: "m", data: { kind, message: "no such task", ...more } };
}

describe("errors", () => {
  for (const [kind, errorClass] of Object.entries({
    invalid: errors.InvalidError, not_found: errors.NotFoundError, conflict: errors.ConflictError,
    stale: errors.StaleError, refused: errors.RefusedError, needs_confirmation: errors.NeedsConfirmationError,
    locked: errors.LockedError, too_large: errors.TooLargeError, rate_limited: errors.RateLimitedError,
    offline: errors.OfflineError, timeout: errors.TimeoutError_, unsupported: errors.UnsupportedError,
    broken: errors.BrokenError,
  })) {
    test(`${kind} is a ${errorClass.name}`, () => {
      const error = errorFromWire(wire(kind, { field: "/id", hint: "look at the list", data: { a: 1 } }));
      assert.equal(error.constructor, errorClass);
      assert.ok(error instanceof errors.CoderLocalError && error instanceof Error);
      assert.deepEqual(
        [error.name, error.kind, error.message, error.field, error.hint, error.data],
        [errorClass.name, kind, "no such task", "/id", "look at the list", { a: 1 }],
      );
    });
  }

  for (const kind of ["quota_spent", "constructor", "__proto__", ""]) {
    test(`the unknown kind ${JSON.stringify(kind)} is the base class`, () => {
      const error = errorFromWire(wire(kind));
      assert.equal(error.constructor, errors.CoderLocalError);
      assert.equal(error.kind, kind);
      assert.deepEqual(error.data, {});
    });
  }

  test("an error without data is named by its code", () => {
    assert.ok(errorFromWire({ code: -32601, message: "no method" }) instanceof errors.NotFoundError);
    assert.ok(errorFromWire({ code: -32602, message: "bad params" }) instanceof errors.InvalidError);
    assert.equal(errorFromWire({ code: -32603, message: "oh" }).message, "oh");
  });

  for (const nothing of [null, undefined, 7, "x", [], {}, { data: null }, { data: [1] }, { data: { kind: 7, data: "x" } }]) {
    test(`${JSON.stringify(nothing)} is a broken error with a message`, () => {
      const error = errorFromWire(nothing);
      assert.ok(error instanceof errors.BrokenError);
      assert.equal(error.message, "the daemon answered an error of kind broken");
    });
  }

  test("an invalid input names all its faults, or the one", () => {
    const faults = [{ field: "/title", message: "too long" }, { field: "/due", message: "no zone", hint: "add Z" }];
    const several = errorFromWire(wire("invalid", { data: { faults } }));
    assert.deepEqual(several instanceof errors.InvalidError && several.faults, faults);
    const one = errorFromWire(wire("invalid", { field: "/title", hint: "shorten it" }));
    assert.deepEqual(one instanceof errors.InvalidError && one.faults, [{ field: "/title", message: "no such task", hint: "shorten it" }]);
  });

  test("the details that kinds carry have names", () => {
    const of = (kind: string, data: object): unknown => errorFromWire(wire(kind, { data }));
    assert.deepEqual((of("stale", { current: { rev: 4 } }) as errors.StaleError).current, { rev: 4 });
    assert.equal((of("needs_confirmation", { confirm: "abc" }) as errors.NeedsConfirmationError).token, "abc");
    assert.equal((of("too_large", { limit: 9 }) as errors.TooLargeError).limit, 9);
    assert.equal((of("rate_limited", { retry_after_ms: 250 }) as errors.RateLimitedError).retryAfterMs, 250);
    assert.equal((of("offline", { queued: true }) as errors.OfflineError).queued, true);
    assert.equal((of("timeout", { cancelled: true }) as errors.TimeoutError_).cancelled, true);
    assert.equal((of("broken", { report_id: "r1" }) as errors.BrokenError).reportId, "r1");
  });
});
