/**
 * Hands the ring's records to the log drivers, each at its own pace. A driver whose sink is stalled stays behind and
 * keeps its records in the ring, up to a limit; then it has to drop. A driver that throws, which is a bug, loses what it
 * was given, counted, and the others nothing. Runs on the log thread, for the pump; it reads and waits for nothing.
 */

import type { Diag } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import { STDERR, STDOUT, type Stream } from '../proto/stream.ts';
import { POSITION_MASK } from '../ring/layout.ts';
import type { LogDriver } from './driver.ts';
import { DriverField, type DriverState } from './driver-state.ts';
import { INTERNAL_ERROR, type Loss } from './loss.ts';

const NEWLINE = 0x0a;
/** A driver that has thrown so often is not called any more: what it should have written is counted. */
const FAILURES_MAX = 3;
/** Attempts to make a driver take one record. A quarter of a megabyte of newlines, formatted, fills an output area 12 times. */
const ATTEMPTS_MAX = 1000;

/** The log thread's own place in the ring (src/ring/consumer.ts). */
export interface ChunkCursor {
  /** Finds the record at a position: {@link offset}, {@link length}, {@link stream}; {@link after} is the next one's, also when there is none. */
  find(position: number): boolean;
  releaseTo(position: number): void;
  readonly offset: number;
  readonly length: number;
  readonly stream: number;
  readonly after: number;
  readonly head: number;
  readonly tail: number;
}

/** A driver with what the feed needs to know of it. */
export interface PumpDriver {
  readonly driver: LogDriver;
  /** Its block of shared memory. */
  readonly state: DriverState;
  readonly loss: Loss;
  /** For diagnostics. */
  readonly name: string;
}

/**
 * What runs for each line goes through arrays by index and makes no closure: an iterator, a closure's context and their like
 * are garbage until V8 has compiled the loop, and time in its interpreter (docs/adr/0045-a-containers-first-lines.md).
 */
export class Feed {
  readonly drivers: readonly PumpDriver[];
  readonly #diag: Diag;
  readonly #bytes: Uint8Array;
  readonly #cursor: ChunkCursor;

  constructor(diag: Diag, bytes: Uint8Array, cursor: ChunkCursor, drivers: readonly PumpDriver[]) {
    this.#diag = diag;
    this.#bytes = bytes;
    this.#cursor = cursor;
    this.drivers = drivers;
  }

  /** Gives every driver what it can take, and the ring back what all have. */
  all(): void {
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot !== undefined) this.#feed(slot);
    }
    this.#release();
  }

  /** One driver's sink may take something again. */
  retry(slot: PumpDriver): void {
    if (this.#attempt(slot, () => slot.driver.retry())) this.#feed(slot);
    this.#release();
  }

  /**
   * Makes drivers take, or drop, what is further behind than `keepBytes`; not one whose sink is only slow: it fills the
   * ring, until it has taken nothing for too long. At the end, when nothing is kept, all have to. @returns whether there
   * was anything.
   */
  limit(keepBytes: number): boolean {
    const cursor = this.#cursor;
    if (backlog(cursor.tail, cursor.head) <= keepBytes) return false;
    for (const slot of this.drivers) {
      if (keepBytes > 0 && this.patient(slot)) continue;
      while (backlog(cursor.tail, position(slot)) > keepBytes && cursor.find(position(slot))) this.#force(slot);
    }
    this.#release();
    return true;
  }

  /** Gives up what drivers hold outside of the ring. */
  shed(): void {
    for (const slot of this.drivers) this.#attempt(slot, () => slot.driver.shed());
  }

  /** Whether no driver holds or wants anything; false when one is not called any more. */
  get calm(): boolean {
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot !== undefined && (!slot.driver.calm || isBroken(slot))) return false;
    }
    return true;
  }

  /** When the first driver wants to be retried; Infinity = none does. */
  wakeAtMs(): number {
    let first = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot === undefined) continue;
      const each = this.wakesAtMs(slot);
      if (each < first) first = each;
    }
    return first;
  }

  /** When this one does. One that is not called any more wants nothing. */
  wakesAtMs(slot: PumpDriver): number {
    return isBroken(slot) ? Number.POSITIVE_INFINITY : slot.driver.wakeAtMs;
  }

  /** Whether its sink is slow and worth waiting for. */
  patient(slot: PumpDriver): boolean {
    return !isBroken(slot) && slot.driver.patient;
  }

  /** The fd whose POLLOUT it waits for, or -1. */
  waitFd(slot: PumpDriver): number {
    return isBroken(slot) ? -1 : slot.driver.waitFd;
  }

  reopen(): void {
    for (const slot of this.drivers) this.#attempt(slot, () => slot.driver.reopen());
  }

  /** Nothing more can be read from the stream for now, or with `last` ever. For a driver that is behind more does follow. */
  settle(stream: Stream, last: boolean): void {
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot !== undefined && this.#holds(slot, stream, last)) this.#settle(slot, stream, last);
    }
  }

  #settle(slot: PumpDriver, stream: Stream, last: boolean): void {
    this.#attempt(slot, () => slot.driver.settle(stream, last));
  }

  holdsPartial(stream: Stream): boolean {
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot !== undefined && this.#holds(slot, stream, false)) return true;
    }
    return false;
  }

  rest(): void {
    for (const slot of this.drivers) this.#attempt(slot, () => slot.driver.rest());
  }

  /** Whether all that any driver holds is in the shared memory or the log, and no line is half of either. */
  get movable(): boolean {
    for (const { driver } of this.drivers)
      if (driver.stalled || driver.holdsPartial(STDOUT, false) || driver.holdsPartial(STDERR, false)) return false;
    return true;
  }

  leave(): void {
    for (const slot of this.drivers) this.#attempt(slot, () => slot.driver.leave());
  }

  close(sync: boolean): void {
    for (const slot of this.drivers) {
      if (sync) this.#attempt(slot, () => slot.driver.sync());
      this.#attempt(slot, () => slot.driver.close());
    }
  }

  #holds(slot: PumpDriver, stream: Stream, last: boolean): boolean {
    return position(slot) === this.#cursor.tail && slot.driver.holdsPartial(stream, last) && !isBroken(slot);
  }

  #feed(slot: PumpDriver): void {
    const cursor = this.#cursor;
    const { driver, state } = slot;
    while (cursor.find(position(slot))) {
      const { after } = cursor;
      try {
        if (isBroken(slot)) this.#lose(slot);
        else if (!driver.consume(cursor.stream as Stream, cursor.offset, cursor.length)) return;
      } catch (error) {
        this.#failed(slot, error);
        this.#lose(slot);
      }
      state[DriverField.position] = after;
    }
    state[DriverField.position] = cursor.after; // past padding
  }

  /** The record that the cursor has found is taken, whatever it costs. */
  #force(slot: PumpDriver): void {
    const cursor = this.#cursor;
    const { driver, state } = slot;
    const { after } = cursor;
    try {
      let attempts = 0;
      while (!isBroken(slot) && !driver.consume(cursor.stream as Stream, cursor.offset, cursor.length)) {
        driver.shed();
        if (++attempts > ATTEMPTS_MAX) throw new Error('takes nothing');
      }
      if (isBroken(slot)) this.#lose(slot);
    } catch (error) {
      this.#failed(slot, error);
      this.#lose(slot);
    }
    state[DriverField.position] = after;
  }

  /** Calls a driver. @returns false when it threw, or is not called any more. */
  #attempt(slot: PumpDriver, call: () => void): boolean {
    if (isBroken(slot)) return true;
    try {
      call();
      return true;
    } catch (error) {
      this.#failed(slot, error);
      return false;
    }
  }

  #failed(slot: PumpDriver, error: unknown): void {
    const failures = (slot.state[DriverField.failures] ?? 0) + 1;
    slot.state[DriverField.failures] = failures;
    const last = failures >= FAILURES_MAX ? '; it gets nothing more' : '';
    this.#diag.error(`log ${slot.name}: internal error (${failures} of ${FAILURES_MAX}): ${errorText(error)}${last}`);
  }

  /** Counts the record that the cursor has found as lost, its bytes as the container wrote them. */
  #lose(slot: PumpDriver): void {
    const { offset, length } = this.#cursor;
    const from = offset + (slot.state[DriverField.takenBytes] ?? 0);
    slot.state[DriverField.takenBytes] = 0;
    let lines = 0;
    for (let at = from; at < offset + length; at++) if (this.#bytes[at] === NEWLINE) lines++;
    if (this.#bytes[offset + length - 1] !== NEWLINE) lines++;
    slot.loss.fail(INTERNAL_ERROR);
    slot.loss.drop(offset + length - from, lines);
  }

  /** What every driver has taken is the producer's again. */
  #release(): void {
    const { tail, head } = this.#cursor;
    let oldest = tail;
    for (let i = 0; i < this.drivers.length; i++) {
      const slot = this.drivers[i];
      if (slot !== undefined && backlog(tail, position(slot)) > backlog(tail, oldest)) oldest = position(slot);
    }
    if (oldest !== head) this.#cursor.releaseTo(oldest);
  }
}

function position(slot: PumpDriver): number {
  return (slot.state[DriverField.position] ?? 0) | 0; // the block holds floats: the whole number that it is
}

function isBroken(slot: PumpDriver): boolean {
  return (slot.state[DriverField.failures] ?? 0) >= FAILURES_MAX;
}

function backlog(tail: number, position: number): number {
  return (tail - position) & POSITION_MASK;
}
