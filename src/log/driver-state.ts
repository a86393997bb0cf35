/**
 * What a log driver must not forget when its thread dies: how far it is in the ring, what it has lost, what it has
 * begun. One block of shared memory a driver, so that the worker that takes over goes on where its predecessor stopped.
 * Numbers only, one writer: the log thread.
 */

import { DRIVER_BYTES, DRIVERS_MAX, DRIVERS_OFFSET } from '../ring/layout.ts';

/** A driver's block; index it with {@link DriverField}. Fresh memory is all zero. */
export type DriverState = Float64Array;

export const DriverField = {
  /** Pump: ring position up to which the driver has taken everything. */
  position: 0,
  /** Pump: how often the driver has thrown. */
  failures: 1,
  /** Driver: bytes it has taken of the ring record that comes next, for a record that it could not take at once. */
  takenBytes: 2,
  /** Driver: bytes of stdout's and stderr's output areas that the sink is done with. */
  stdoutDoneBytes: 3,
  stderrDoneBytes: 4,
  /** Driver: the done field of the lane that wrote last: what {@link fragmentBytes} counts is of its first record. */
  writingLane: 5,
  /** Sink: 1 once {@link sizeBytes} and {@link totalBytes} are known. */
  opened: 8,
  /** Sink: where the last whole record in the file ends. */
  sizeBytes: 9,
  /** Sink: bytes that --log-global-size-max counts. */
  totalBytes: 10,
  /** Sink: bytes of the next record that are in the file already and could not be taken back. */
  fragmentBytes: 11,
  /** Sink: 1 while a new file is wanted and not yet there. */
  reopenWanted: 12,
  /** Sink: 1 once something was written, so that there is something to make durable. */
  written: 13,
  /** Loss: 1 while the sink cannot write; its negative errno; another one that came after it (0: none). */
  failing: 16,
  errno: 17,
  otherErrno: 18,
  /** Loss: what was dropped since it last worked, and when, in ms since 1970. */
  droppedBytes: 19,
  droppedRecords: 20,
  firstMs: 21,
  lastMs: 22,
  /** Loss: the same over the whole session, and how often it happened. */
  allBytes: 23,
  allRecords: 24,
  episodes: 25,
} as const;

/** Driver `index`'s block in a session's shared memory. Throws RangeError when there is no room for as many. */
export function driverState(memory: WebAssembly.Memory, index: number): DriverState {
  if (index >= DRIVERS_MAX) throw new RangeError(`log: no room for driver ${index}`);
  return new Float64Array(memory.buffer, DRIVERS_OFFSET + index * DRIVER_BYTES, DRIVER_BYTES / 8);
}

/** A block of its own, for a driver that nobody takes over (tests). */
export function ownDriverState(): DriverState {
  return new Float64Array(DRIVER_BYTES / 8);
}
