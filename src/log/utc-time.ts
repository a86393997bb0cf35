/**
 * The time in records of the json-file: RFC 3339 in UTC, nanoseconds without trailing zeros, as Go's RFC3339Nano prints
 * it. All but the fraction is kept from one second to the next. Log thread; no allocation a batch.
 */

import { CLOCK_REALTIME } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** `2026-11-23T18:00:00.123456789Z` */
export const UTC_TIME_MAX_BYTES = 30;
const SECONDS_BYTES = 19;
const ZERO = 0x30;
const POINT = 0x2e;
const ZULU = 0x5a;

export class UtcTime {
  readonly #sys: Sys;
  readonly #now = new Float64Array(2);
  readonly #text = new Uint8Array(SECONDS_BYTES);
  #second = -1;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Writes the time to `memory[at..]`. @returns how many bytes it has, at most {@link UTC_TIME_MAX_BYTES}. */
  write(memory: Uint8Array, at: number): number {
    this.#sys.clockGettime(CLOCK_REALTIME, this.#now);
    const second = this.#now[0] ?? 0;
    if (second !== this.#second) {
      this.#second = second;
      const text = new Date(second * 1000).toISOString();
      for (let i = 0; i < SECONDS_BYTES; i++) this.#text[i] = text.charCodeAt(i);
    }
    memory.set(this.#text, at);
    let rest = this.#now[1] ?? 0;
    let end = at + SECONDS_BYTES;
    if (rest > 0) {
      memory[end] = POINT;
      let digits = 9;
      for (; rest % 10 === 0; digits--) rest /= 10;
      for (let digit = end + digits; digit > end; digit--) {
        const next = Math.trunc(rest / 10);
        memory[digit] = ZERO + (rest - next * 10);
        rest = next;
      }
      end += 1 + digits;
    }
    memory[end] = ZULU;
    return end + 1 - at;
  }
}
