/**
 * Compares a k8s-file log, byte for byte, with what the container is known to have written to its stdout. Streams both;
 * stops at the first difference. Reads the log's file and nothing else.
 */

import { createReadStream } from 'node:fs';
import { K8sLogReader, LogFormatError, type LogRecord, timestampSeconds } from './k8s-log.ts';

export interface VerifyResult {
  /** undefined when every byte is right, else the first difference and where it is. */
  readonly difference: string | undefined;
  /** What the records hold without their headers, up to a difference. */
  readonly payloadBytes: number;
  readonly lines: number;
  readonly records: number;
  readonly logBytes: number;
  /** From the first record's timestamp to the last one's. */
  readonly seconds: number;
}

/** The CRI's limit on the content of one record. */
const MAX_CONTENT_BYTES = 8192;
const READ_BYTES = 1 << 20;
const SHOWN_BYTES = 40;
const NEWLINE = Buffer.from('\n');

/** @throws when the log cannot be read; a log that is wrong is a result, not an error. */
export async function verifyLog(path: string, expected: Iterable<Buffer>): Promise<VerifyResult> {
  const comparison = new Comparison(expected);
  const difference = await firstDifference(path, comparison);
  return { difference, ...comparison.result() };
}

async function firstDifference(path: string, comparison: Comparison): Promise<string | undefined> {
  const reader = new K8sLogReader();
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
      for (const record of reader.push(chunk as Buffer)) {
        const difference = comparison.take(record);
        if (difference !== undefined) return difference;
      }
      comparison.logBytes += (chunk as Buffer).length;
    }
    reader.end();
    return comparison.end();
  } catch (error) {
    if (error instanceof LogFormatError) return error.message;
    throw error;
  }
}

/** Goes along the expected bytes as the records come. */
class Comparison {
  logBytes = 0;
  readonly #blocks: Iterator<Buffer>;
  #block: Buffer = Buffer.alloc(0);
  #blockAt = 0;
  #payloadBytes = 0;
  #lines = 0;
  #records = 0;
  #firstStamp: Buffer | undefined;
  #lastStamp: Buffer | undefined;

  constructor(expected: Iterable<Buffer>) {
    this.#blocks = expected[Symbol.iterator]();
  }

  /** @returns the difference, or undefined. */
  take(record: LogRecord): string | undefined {
    this.#firstStamp ??= record.timestamp;
    this.#lastStamp = record.timestamp;
    this.#records++;
    const { content, isFull } = record;
    if (!record.isStdout) return this.#tell(record, `a record of stderr: ${shown(content)}`);
    if (content.length > MAX_CONTENT_BYTES) return this.#tell(record, `a record with ${content.length} bytes`);
    if (!this.#matches(content) || (isFull && !this.#matches(NEWLINE))) {
      const wanted = this.#block.subarray(this.#blockAt);
      const found = isFull ? Buffer.concat([content, NEWLINE]) : content;
      const expected = wanted.length === 0 ? 'the end' : shown(wanted);
      return this.#tell(record, `expected ${expected}, found in ${shown(found)}`);
    }
    if (isFull) this.#lines++;
    return undefined;
  }

  /** To be called when the log has ended. @returns what is missing, or undefined. */
  end(): string | undefined {
    if (!this.#advance()) return undefined;
    const next = shown(this.#block.subarray(this.#blockAt));
    return `the log ends early: payload offset ${this.#payloadBytes} (line ${this.#lines + 1}) should be ${next}`;
  }

  result(): Omit<VerifyResult, 'difference'> {
    const [first, last] = [this.#firstStamp, this.#lastStamp];
    const seconds = first === undefined || last === undefined ? 0 : timestampSeconds(last) - timestampSeconds(first);
    return {
      payloadBytes: this.#payloadBytes,
      lines: this.#lines,
      records: this.#records,
      logBytes: this.logBytes,
      seconds,
    };
  }

  /** Steps over the bytes that are as expected. @returns whether all of them are. */
  #matches(bytes: Buffer): boolean {
    for (let at = 0; at < bytes.length; ) {
      if (!this.#advance()) return false;
      const length = Math.min(bytes.length - at, this.#block.length - this.#blockAt);
      const isEqual = this.#block.compare(bytes, at, at + length, this.#blockAt, this.#blockAt + length) === 0;
      const step = isEqual ? length : commonLength(this.#block.subarray(this.#blockAt), bytes.subarray(at));
      this.#blockAt += step;
      this.#payloadBytes += step;
      at += step;
      if (!isEqual) return false;
    }
    return true;
  }

  /** Takes the next block when this one is used up. @returns false at the end. */
  #advance(): boolean {
    if (this.#blockAt < this.#block.length) return true;
    const { done, value } = this.#blocks.next();
    if (done === true) {
      this.#block = Buffer.alloc(0);
      this.#blockAt = 0;
      return false;
    }
    this.#block = value;
    this.#blockAt = 0;
    return true;
  }

  #tell(record: LogRecord, what: string): string {
    return `payload offset ${this.#payloadBytes} (line ${this.#lines + 1}, record at log offset ${record.offset}): ${what}`;
  }
}

function commonLength(a: Buffer, b: Buffer): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function shown(bytes: Buffer): string {
  const text = JSON.stringify(bytes.subarray(0, SHOWN_BYTES).toString('latin1'));
  return bytes.length > SHOWN_BYTES ? `${text}...` : text;
}
