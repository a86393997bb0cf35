/**
 * A strict reader of k8s-file (CRI) logs: every record's form is checked, parts of lines are joined to the bytes that
 * the container wrote. It never forgives: the first malformed byte is an error that says where it is.
 */
import { createReadStream, readFileSync } from 'node:fs';

export type StreamName = 'stdout' | 'stderr';
export type Tag = 'P' | 'F';

/** A record holds at most so much content. Source: contract section 6. */
export const MAX_CONTENT_BYTES = 8192;

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d$/;
const TIMESTAMP_BYTES = 35;
/** Timestamp, stream and tag with a blank after each: where the content starts. */
const PREFIX_BYTES = TIMESTAMP_BYTES + ' stdout F '.length;
const NEWLINE = 10;

export interface LogRecord {
  readonly timestamp: string;
  readonly stream: StreamName;
  readonly tag: Tag;
  readonly content: Buffer;
}

/** Gets one record; its content is `buffer` from `start` to `end`, valid during the call only. */
export type RecordHandler = (stream: StreamName, tag: Tag, buffer: Buffer, start: number, end: number) => void;

/** Takes a log in chunks of any size. Errors are thrown from `write` and `end`, with the byte offset of the record. */
export class K8sLogReader {
  readonly #onRecord: RecordHandler;
  #rest: Buffer = Buffer.alloc(0);
  #offsetBytes = 0;
  /** The timestamp that was checked last: a batch shares one. */
  #known: Buffer = Buffer.alloc(0);
  records = 0;

  constructor(onRecord: RecordHandler) {
    this.#onRecord = onRecord;
  }

  write(chunk: Buffer): void {
    const buffer = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (let end = buffer.indexOf(NEWLINE); end >= 0; end = buffer.indexOf(NEWLINE, start)) {
      this.#record(buffer, start, end);
      start = end + 1;
    }
    this.#rest = Buffer.from(buffer.subarray(start));
    this.#offsetBytes += start;
  }

  /** Call when the log is complete: an unfinished record is an error. */
  end(): void {
    if (this.#rest.length > 0) {
      this.#fail('record without a newline', this.#rest, 0, this.#rest.length);
    }
  }

  #record(buffer: Buffer, start: number, end: number): void {
    const content = start + PREFIX_BYTES;
    if (end < content) {
      this.#fail('record too short', buffer, start, end);
    }
    const stampEnd = start + TIMESTAMP_BYTES;
    if (this.#known.compare(buffer, start, stampEnd) !== 0) {
      if (
        !TIMESTAMP.test(buffer.toString('latin1', start, stampEnd)) ||
        Number.isNaN(Date.parse(buffer.toString('latin1', start, stampEnd)))
      ) {
        this.#fail('bad timestamp', buffer, start, end);
      }
      this.#known = Buffer.from(buffer.subarray(start, stampEnd));
    }
    const word = buffer.toString('latin1', stampEnd, content);
    const stream = word.startsWith(' stdout ') ? 'stdout' : word.startsWith(' stderr ') ? 'stderr' : undefined;
    const tag = word.endsWith(' F ') ? 'F' : word.endsWith(' P ') ? 'P' : undefined;
    if (stream === undefined || tag === undefined) {
      this.#fail('bad stream or tag', buffer, start, end);
    }
    if (end - content > MAX_CONTENT_BYTES) {
      this.#fail(`content of ${end - content} bytes`, buffer, start, end);
    }
    if (tag === 'P' && end === content) {
      this.#fail('empty part of a line', buffer, start, end);
    }
    this.records++;
    this.#onRecord(stream, tag, buffer, content, end);
  }

  #fail(what: string, buffer: Buffer, start: number, end: number): never {
    const text = JSON.stringify(buffer.toString('latin1', start, Math.min(end, start + 120)));
    throw new Error(`log record ${this.records} at byte ${this.#offsetBytes + start}: ${what}: ${text}`);
  }
}

export interface K8sLog {
  readonly records: readonly LogRecord[];
  /** What each stream wrote, the parts joined, with the newlines that F stands for. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Reads a whole log; for logs that fit in memory. */
export function readLog(path: string): K8sLog {
  const bytes = readFileSync(path);
  const records: LogRecord[] = [];
  const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const newline = Buffer.from([NEWLINE]);
  const reader = new K8sLogReader((stream, tag, buffer, start, end) => {
    const content = Buffer.from(buffer.subarray(start, end));
    const stamp = start - PREFIX_BYTES;
    records.push({ timestamp: buffer.toString('latin1', stamp, stamp + TIMESTAMP_BYTES), stream, tag, content });
    parts[stream].push(content);
    if (tag === 'F') {
      parts[stream].push(newline);
    }
  });
  reader.write(bytes);
  reader.end();
  return { records, stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) };
}

/** The content that a stream must have: `block` again and again, `times` times. Compares as the bytes come. */
export class RepeatedContent {
  readonly #block: Buffer;
  readonly #lengthBytes: number;
  #seenBytes = 0;

  constructor(block: Buffer, times: number) {
    this.#block = block;
    this.#lengthBytes = block.length * times;
  }

  /** Throws when `buffer` from `start` to `end` is not what comes next. */
  accept(buffer: Buffer, start: number, end: number): void {
    for (let from = start; from < end; ) {
      const at = this.#seenBytes % this.#block.length;
      const length = Math.min(end - from, this.#block.length - at);
      if (buffer.compare(this.#block, at, at + length, from, from + length) !== 0) {
        throw new Error(`content differs in the ${length} bytes from byte ${this.#seenBytes} on`);
      }
      this.#seenBytes += length;
      from += length;
    }
  }

  /** Throws when bytes are missing or too many. */
  end(): void {
    if (this.#seenBytes !== this.#lengthBytes) {
      throw new Error(`${this.#seenBytes} bytes of content where ${this.#lengthBytes} were written`);
    }
  }
}

/** Streams a log of any size past what each stream must contain. @returns the number of records. */
export async function verifyLog(
  path: string,
  expected: Readonly<Record<StreamName, RepeatedContent>>,
): Promise<number> {
  const newline = Buffer.from([NEWLINE]);
  const reader = new K8sLogReader((stream, tag, buffer, start, end) => {
    expected[stream].accept(buffer, start, end);
    if (tag === 'F') {
      expected[stream].accept(newline, 0, 1);
    }
  });
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    reader.write(chunk as Buffer);
  }
  reader.end();
  expected.stdout.end();
  expected.stderr.end();
  return reader.records;
}
