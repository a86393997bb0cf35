/**
 * The beginning of CRI records: `2026-11-23T18:00:00.123456789+01:00 stdout F `. One clock read a batch; all but the
 * nanoseconds is kept from one second to the next, and the local offset within a quarter of an hour, since every zone's
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
  /** What records of the current second begin with; the fraction's digits are replaced each time. */
  readonly #stdout = begun(STDOUT);
  readonly #stderr = begun(STDERR);
  #second = -1;
  #minute = Number.NaN;
  #quarter = Number.NaN;
  #offsetMinutes = 0;

  constructor(sys: Sys, offsetAt: OffsetAt = localOffset) {
    this.#sys = sys;
    this.#offsetAt = offsetAt;
  }

  /** Writes the 45 bytes that a record of `stream` begins with now, tag F, to `memory[at..]`. */
  write(memory: Uint8Array, at: number, stream: Stream): void {
    this.#sys.clockGettime(CLOCK_REALTIME, this.#now);
    const second = this.#now[0] ?? 0;
    if (second !== this.#second) this.#enter(second);
    // Whole numbers throughout: V8's interpreter puts every other one into memory of its own.
    let rest = (this.#now[1] ?? 0) | 0;
    const text = stream === STDOUT ? this.#stdout : this.#stderr;
    for (let digit = FRACTION_AT + 8; digit >= FRACTION_AT; digit--) {
      const last = rest % 10;
      text[digit] = ZERO + last;
      rest = (rest - last) / 10;
    }
    memory.set(text, at);
  }

  /** Writes all but the fraction. Within a minute that is two digits: all of it takes 0.1 ms, in the middle of somebody's line. */
  #enter(second: number): void {
    this.#second = second;
    const minute = Math.floor(second / 60);
    if (minute !== this.#minute) this.#enterMinute(minute);
    const seconds = second - minute * 60;
    const tens = Math.floor(seconds / 10);
    const ones = seconds - tens * 10;
    this.#stdout[SECONDS_AT] = this.#stderr[SECONDS_AT] = ZERO + tens;
    this.#stdout[SECONDS_AT + 1] = this.#stderr[SECONDS_AT + 1] = ZERO + ones;
  }

  #enterMinute(minute: number): void {
    this.#minute = minute;
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
