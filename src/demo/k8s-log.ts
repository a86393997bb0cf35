/**
 * Reads the k8s-file log format: cuts a stream of bytes into records. One record is one line,
 * `TIMESTAMP STREAM TAG CONTENT`; the tag F says that the content was ended by a newline, P that it goes on.
 * No I/O. Source: Kubernetes, design-proposals, kubelet-cri-logging.md.
 */

/** One record. The buffers are views of the bytes that were pushed: as long as those stay, they stay. */
export interface LogRecord {
  /** Offset of the record in the log, in bytes. */
  readonly offset: number;
  readonly timestamp: Buffer;
  readonly isStdout: boolean;
  /** True for F. */
  readonly isFull: boolean;
  readonly content: Buffer;
}

/** Why a line is no record. */
export class LogFormatError extends Error {
  override readonly name = 'LogFormatError';
  readonly offset: number;

  constructor(offset: number, line: Buffer) {
    const start = line.subarray(0, 80).toString('latin1');
    super(`log offset ${offset}: not a k8s-file record: ${JSON.stringify(start)}`);
    this.offset = offset;
  }
}

const NEWLINE = 0x0a;
const SPACE = 0x20;
const FULL = 0x46;
const PARTIAL = 0x50;
const STREAM_AND_TAG_BYTES = ' stdout F '.length;
const STDOUT = Buffer.from(' stdout ');
const STDERR = Buffer.from(' stderr ');
/** RFC 3339 with nine digits and a numeric offset; `Z` is allowed too. */
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:[+-]\d\d:\d\d|Z)$/;

/** Seconds since 1970 of a record's timestamp. A double holds them to a microsecond. */
export function timestampSeconds(timestamp: Buffer): number {
  const [, seconds, fraction, zone] = /^([^.]+)\.(\d+)(.+)$/.exec(timestamp.toString('latin1')) ?? [];
  return Date.parse(`${seconds}${zone}`) / 1000 + Number(`0.${fraction}`);
}

export class K8sLogReader {
  /** The start of a record whose end has not come yet. */
  #rest = Buffer.alloc(0);
  #offset = 0;
  /** The last good timestamp: conmon reads the clock once a batch, so most records share it. */
  #checked: Buffer = Buffer.alloc(0);

  /** Takes the next bytes of the log and gives the records that are complete. @throws LogFormatError. */
  *push(bytes: Buffer): Generator<LogRecord, void, void> {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let start = 0;
    for (let end = all.indexOf(NEWLINE); end !== -1; end = all.indexOf(NEWLINE, start)) {
      yield this.#parse(all.subarray(start, end));
      this.#offset += end + 1 - start;
      start = end + 1;
    }
    // A copy: the caller may use its buffer again.
    this.#rest = Buffer.from(all.subarray(start));
  }

  /** @throws LogFormatError when the log ended in the middle of a record. */
  end(): void {
    if (this.#rest.length > 0) throw new LogFormatError(this.#offset, this.#rest);
  }

  #parse(line: Buffer): LogRecord {
    const stampBytes = line.indexOf(SPACE);
    const contentAt = stampBytes + STREAM_AND_TAG_BYTES;
    const timestamp = line.subarray(0, stampBytes);
    const stream = line.subarray(stampBytes, contentAt - 2);
    const tag = line[contentAt - 2];
    const isStdout = stream.equals(STDOUT);
    const isRecord =
      stampBytes > 0 &&
      line.length >= contentAt &&
      (isStdout || stream.equals(STDERR)) &&
      (tag === FULL || tag === PARTIAL) &&
      line[contentAt - 1] === SPACE &&
      this.#isTimestamp(timestamp);
    if (!isRecord) throw new LogFormatError(this.#offset, line);
    return { offset: this.#offset, timestamp, isStdout, isFull: tag === FULL, content: line.subarray(contentAt) };
  }

  #isTimestamp(bytes: Buffer): boolean {
    if (bytes.equals(this.#checked)) return true;
    if (!TIMESTAMP.test(bytes.toString('latin1'))) return false;
    this.#checked = Buffer.from(bytes);
    return true;
  }
}
