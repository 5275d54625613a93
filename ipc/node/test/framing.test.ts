import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { BrokenError } from "../src/errors.js";
import { encodeFrame, FrameParser } from "../src/framing.js";

function parse(parser: FrameParser, ...chunks: Buffer[]): unknown[] {
  return chunks.flatMap((chunk) => [...parser.push(chunk)]);
}

const MESSAGES = [{ jsonrpc: "2.0", id: 1, method: "a" }, { text: "zażółć 🦊 \r\n\r\n" }, [], { last: true }];
const SECOND = JSON.stringify(MESSAGES[1]);
const BYTES = Buffer.concat([
  encodeFrame(MESSAGES[0]),
  Buffer.from(`Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length:  ${Buffer.byteLength(SECOND)} \r\nX: y\r\n\r\n${SECOND}`),
  ...MESSAGES.slice(2).map(encodeFrame),
]);

describe("framing", () => {
  test("writes the length in bytes, not in characters", () => {
    assert.equal(encodeFrame({ a: "ż🦊" }).toString(), 'Content-Length: 14\r\n\r\n{"a":"ż🦊"}');
  });

  test("reads the same messages wherever the bytes are cut in two", () => {
    for (let cut = 0; cut <= BYTES.length; cut += 1) {
      assert.deepEqual(parse(new FrameParser(), BYTES.subarray(0, cut), BYTES.subarray(cut)), MESSAGES, `cut at ${cut}`);
    }
  });

  test("reads the same messages in pieces of every size", () => {
    for (let size = 1; size <= BYTES.length; size += 1) {
      const pieces = Array.from({ length: Math.ceil(BYTES.length / size) }, (_, i) => BYTES.subarray(i * size, (i + 1) * size));
      assert.deepEqual(parse(new FrameParser(), ...pieces), MESSAGES, `pieces of ${size}`);
    }
  });

  test("keeps nothing of a chunk that the socket writes over", () => {
    const parser = new FrameParser();
    const found = [...BYTES].flatMap((byte) => {
      const chunk = Buffer.from([byte]);
      const messages = [...parser.push(chunk)];
      chunk.fill(0);
      return messages;
    });
    assert.deepEqual(found, MESSAGES);
  });

  test("takes time in proportion to a large message", { timeout: 20_000 }, () => {
    // 64 MB in pieces of 1 kB: copying what is there at each piece would move two terabytes.
    const body = Buffer.alloc(64 * 1024 * 1024, "x").fill('"', 0, 1).fill('"', 64 * 1024 * 1024 - 1);
    const frame = Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
    const parser = new FrameParser();
    let messages = 0;
    for (let at = 0; at < frame.length; at += 1024) messages += [...parser.push(frame.subarray(at, at + 1024))].length;
    assert.equal(messages, 1);
  });

  for (const [fault, bytes, message] of [
    ["a header without a length", "Content-Type: x\r\n\r\n{}", /no Content-Length; it begins "Content-Type: x/],
    ["a length that is no number", "Content-Length: -1\r\n\r\n{}", /no Content-Length/],
    ["a header without an end", "x".repeat(9000), /longer than 8192 bytes/],
    ["a body over the limit", "Content-Length: 1001\r\n\r\n", /1001 bytes is over the limit of 1000/],
    ["a body that is not JSON", "Content-Length: 2\r\n\r\n{]", /not JSON/],
    ["an empty body", "Content-Length: 0\r\n\r\n", /not JSON/],
  ] as const) {
    test(`refuses ${fault}`, () => {
      assert.throws(
        () => parse(new FrameParser({ maxBody: 1000 }), Buffer.from(bytes)),
        (error) => error instanceof BrokenError && message.test(error.message),
      );
    });
  }

  test("refuses an endless header that comes byte by byte", () => {
    const parser = new FrameParser();
    assert.throws(() => {
      for (let i = 0; i < 9000; i += 1) parse(parser, Buffer.from("x"));
    }, /longer than 8192 bytes/);
  });
});
