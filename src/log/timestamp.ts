/**
 * The beginning of CRI records: `2026-11-23T18:00:00.123456789+01:00 stdout F `. One clock read a batch; all but the
 * seconds is kept from one minute to the next, and the local offset within a quarter of an hour, since every zone's
 * offset changes at a multiple of 15 minutes UTC (tz database). Runs on the log thread; no allocation a batch.
 */

import { PREFIX_BYTES } from '../kernel/layout.ts';
import { CLOCK_REALTIME } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { STDERR, STDOUT, type Stream } from '../proto/stream.ts';

const QUARTER_MINUTES = 15;
const SECONDS_AT = 17;
const FRACTION_AT = 20;
const STREAM_AT = 35;
const ZERO = 0x30;

/** What stands behind the time. */
const STREAM_TEXT: Readonly<Record<Stream, string>> = { [STDOUT]: ' stdout F ', [STDERR]: ' stderr F ' };

/** Minutes east of UTC at a time. */
export type OffsetAt = (epochMs: number) => number;

const localOffset: OffsetAt = (epochMs) => -new Date(epochMs).getTimezoneOffset();

export class Timestamp {
  readonly #sys: Sys;
  readonly #offsetAt: OffsetAt;
  readonly #now = new Float64Array(2);
  /** What records of the current minute begin with; the seconds and their fraction are anybody's. */
  readonly #stdout = begun(STDOUT);
  readonly #stderr = begun(STDERR);
  /** Where it stands already, from a record before; -1 = nowhere. */
  #memory: Uint8Array | undefined;
  #stdoutAt = -1;
  #stderrAt = -1;
  /** The second that the minute began with. */
  #minuteAt = Number.NEGATIVE_INFINITY;
  #quarter = Number.NaN;
  #offsetMinutes = 0;

  constructor(sys: Sys, offsetAt: OffsetAt = localOffset) {
    this.#sys = sys;
    this.#offsetAt = offsetAt;
  }

  /**
   * Writes the 45 bytes that a record of `stream` begins with now, tag F, to `memory[at..]`. What it has written there for the last
   * record of the stream must be there still: most of the time that differs in a few digits.
   */
  write(memory: Uint8Array, at: number, stream: Stream): void {
    this.#sys.clockGettime(CLOCK_REALTIME, this.#now);
    const second = this.#now[0] ?? 0;
    if (second - this.#minuteAt < 0 || second - this.#minuteAt >= 60) this.#enterMinute(second);
    if (memory !== this.#memory || at !== (stream === STDOUT ? this.#stdoutAt : this.#stderrAt))
      this.#place(memory, at, stream);
    // Whole numbers throughout: V8's interpreter puts every other one into memory of its own.
    let rest = (this.#now[1] ?? 0) | 0;
    // Each time: what a line does once a second V8 compiles anew for, some time after the container's start.
    const seconds = (second - this.#minuteAt) | 0;
    const ones = seconds % 10;
    memory[at + SECONDS_AT] = ZERO + (seconds - ones) / 10;
    memory[at + SECONDS_AT + 1] = ZERO + ones;
    for (let digit = at + FRACTION_AT + 8; digit >= at + FRACTION_AT; digit--) {
      const last = rest % 10;
      memory[digit] = ZERO + last;
      rest = (rest - last) / 10;
    }
  }

  #place(memory: Uint8Array, at: number, stream: Stream): void {
    if (memory !== this.#memory) this.#forgetPlaces();
    this.#memory = memory;
    if (stream === STDOUT) this.#stdoutAt = at;
    else this.#stderrAt = at;
    memory.set(stream === STDOUT ? this.#stdout : this.#stderr, at);
  }

  #forgetPlaces(): void {
    this.#stdoutAt = -1;
    this.#stderrAt = -1;
  }

  /** Writes all but the seconds and their fraction: it takes 0.1 ms, in the middle of somebody's line. */
  #enterMinute(second: number): void {
    const minute = Math.floor(second / 60);
    this.#minuteAt = minute * 60;
    this.#forgetPlaces();
    const quarter = Math.floor(minute / QUARTER_MINUTES);
    if (quarter !== this.#quarter) {
      this.#quarter = quarter;
      this.#offsetMinutes = this.#offsetAt(minute * 60_000);
    }
    const local = new Date((minute + this.#offsetMinutes) * 60_000).toISOString().slice(0, 19);
    const distance = Math.abs(this.#offsetMinutes);
    const offset = `${this.#offsetMinutes < 0 ? '-' : '+'}${two(Math.floor(distance / 60))}:${two(distance % 60)}`;
    const text = `${local}.000000000${offset}`;
    if (text.length !== STREAM_AT) throw new RangeError(`timestamp: ${text}`);
    for (let i = 0; i < STREAM_AT; i++) {
      this.#stdout[i] = text.charCodeAt(i);
      this.#stderr[i] = text.charCodeAt(i);
    }
  }
}

function begun(stream: Stream): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES);
  bytes.set(new TextEncoder().encode(STREAM_TEXT[stream]), STREAM_AT);
  return bytes;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
