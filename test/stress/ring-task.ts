/**
 * What the two threads of the ring's stress test agree on: their task, and the bytes that a record's number stands for.
 */

export interface RingTask {
  readonly role: 'producer' | 'consumer' | 'visitor';
  readonly memory: WebAssembly.Memory;
  readonly capacityBytes: number;
  readonly seed: number;
  /** The producer ends after so many records. */
  readonly records: number;
  /** eventfds: the producer's, and one a consumer. */
  readonly producerFd: number;
  readonly consumerFds: readonly number[];
}

export interface RingResult {
  readonly records: number;
  readonly bytes: number;
  /** How often the thread slept in poll. */
  readonly sleeps: number;
  /** Sleeps that nobody ended though there was work: lost wake-ups. */
  readonly lost: number;
  /** A visitor's comings. */
  readonly visits: number;
}

/** A sleep this long was not ended by a ring: either thread has something to say every few microseconds. */
export const SLEEP_LIMIT_MS = 4000;

/** A record that has so many bytes says its number. Its stream is the lowest byte of that. */
export const NUMBER_BYTES = 4;

/** Byte `i` of record `number`. */
export function byteOf(number: number, i: number): number {
  if (i < NUMBER_BYTES) return number >>> (8 * i);
  return (Math.imul(number, 0x9e3779b1) >>> 13) + i * 7 + (i >> 8);
}
