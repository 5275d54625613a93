/** The base protocol's frames: `Content-Length: N`, an empty line, N bytes of UTF-8 JSON. */
import { BrokenError, InvalidError, TooLargeError } from "./errors.js";

const MAX_HEADER = 8 * 1024;
const MAX_BODY = 256 * 1024 * 1024;
// The daemon hangs up on a larger message, which would lose every other call under way.
const MAX_SENT = 16 * 1024 * 1024;
const CONTENT_LENGTH = /^content-length:[ \t]*(\d{1,15})[ \t]*$/im;

/**
 * Return the frame of one message. Raises `TooLargeError` over the daemon's limit of 16 MiB, `InvalidError` for NaN and
 * infinities, `TypeError` for what else JSON cannot say (a cycle, a BigInt).
 */
export function encodeFrame(message: unknown): Buffer {
  const text = JSON.stringify(message, refuseNaN);
  const length = Buffer.byteLength(text);
  if (length > MAX_SENT) {
    throw new TooLargeError(`a message of ${length} bytes is over the daemon's limit of ${MAX_SENT}`, { data: { limit: MAX_SENT } });
  }
  const header = `Content-Length: ${length}\r\n\r\n`;
  const frame = Buffer.allocUnsafe(header.length + length);
  frame.write(header, 0, "latin1");
  frame.write(text, header.length, "utf8");
  return frame;
}

/**
 * Turns bytes, however they are cut, into messages. Each byte is copied at most once: a body that spans chunks goes
 * straight to its final place, so a large message costs time in proportion to its size.
 */
export class FrameParser {
  readonly #maxBody: number;
  #header: Buffer | undefined;
  #body: Buffer | undefined;
  #filled = 0;

  constructor(options: { maxBody?: number } = {}) {
    this.#maxBody = options.maxBody ?? MAX_BODY;
  }

  /** Yield the messages that this chunk completes. Raises `BrokenError` where the bytes are no frames; stop reading then. */
  *push(chunk: Buffer): Generator<unknown, void, undefined> {
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.#body === undefined ? this.#takeHeader(rest) : this.#takeBody(this.#body, rest);
      if (this.#body !== undefined && this.#filled === this.#body.length) {
        const body = this.#body;
        this.#body = undefined;
        yield decode(body);
      }
    }
  }

  #takeHeader(chunk: Buffer): Buffer {
    const before = this.#header?.length ?? 0;
    const header = this.#header === undefined ? chunk : Buffer.concat([this.#header, chunk.subarray(0, MAX_HEADER)]);
    const end = headerEnd(header, Math.max(0, before - 3));
    if ((end ?? header.length) > MAX_HEADER) throw new BrokenError(`a frame's header is longer than ${MAX_HEADER} bytes`);
    if (end === undefined) {
      // A copy, because the socket may use the chunk's memory again.
      this.#header = Buffer.from(header);
      return chunk.subarray(chunk.length);
    }
    this.#header = undefined;
    return this.#startBody(contentLength(header.subarray(0, end)), chunk.subarray(end - before));
  }

  #startBody(length: number, rest: Buffer): Buffer {
    if (length > this.#maxBody) throw new BrokenError(`a frame of ${length} bytes is over the limit of ${this.#maxBody}`);
    if (rest.length >= length) {
      this.#body = rest.subarray(0, length);
      this.#filled = length;
      return rest.subarray(length);
    }
    this.#body = Buffer.allocUnsafe(length);
    this.#filled = 0;
    return rest;
  }

  #takeBody(body: Buffer, chunk: Buffer): Buffer {
    const copied = chunk.copy(body, this.#filled, 0, body.length - this.#filled);
    this.#filled += copied;
    return chunk.subarray(copied);
  }
}

/** JSON would turn it into null, which may well mean something else there: "clear this field". */
function refuseNaN(name: string, value: unknown): unknown {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  throw new InvalidError(`${JSON.stringify(name)} is ${value}, which JSON cannot say`, { hint: "send null or a number" });
}

function headerEnd(bytes: Buffer, from: number): number | undefined {
  const index = bytes.indexOf("\r\n\r\n", from, "latin1");
  return index < 0 ? undefined : index + 4;
}

function contentLength(header: Buffer): number {
  const match = CONTENT_LENGTH.exec(header.toString("latin1"));
  if (match === null) {
    const start = JSON.stringify(header.subarray(0, 80).toString("latin1"));
    throw new BrokenError(`a frame's header has no Content-Length; it begins ${start}`);
  }
  return Number(match[1]);
}

function decode(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new BrokenError("a frame's body is not JSON", { cause: error });
  }
}
