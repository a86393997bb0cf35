/**
 * A doorbell wakes one thread that sleeps in poll(2): an eventfd, which any thread may ring. Before it sleeps the
 * thread sets its `sleeps` word, looks once more for work, and only then polls; who has work for it rings only when
 * the word is set. So a busy thread costs its partner no system call.
 */

import { EAGAIN, EFD_CLOEXEC, EFD_NONBLOCK } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

export class Doorbell {
  readonly fd: number;
  readonly #sys: Sys;
  /** What an eventfd takes and gives: one 64-bit count. */
  readonly #count = new Uint8Array(new BigUint64Array([1n]).buffer);
  readonly #taken = new Uint8Array(8);

  /** Wraps an eventfd that stays the caller's to close. */
  constructor(sys: Sys, fd: number) {
    this.#sys = sys;
    this.fd = fd;
  }

  /** A new eventfd, close-on-exec and non-blocking; a negative errno when there is none. The caller closes it. */
  static createFd(sys: Sys): number {
    return sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }

  /** Wakes the owner now, or from its next poll at once. A full count (2^64 rings unheard) means that it is awake anyway. */
  ring(): void {
    const result = this.#sys.write(this.fd, this.#count, 0, 8);
    if (result < 0 && result !== EAGAIN) throw new Error(`doorbell: write: ${this.#sys.strerror(result)}`);
  }

  /** Takes all rings so far. Owner only. @returns whether there was one. */
  take(): boolean {
    const result = this.#sys.read(this.fd, this.#taken, 0, 8);
    if (result < 0 && result !== EAGAIN) throw new Error(`doorbell: read: ${this.#sys.strerror(result)}`);
    return result > 0;
  }
}

/** Rings `doorbell` when the word says that its owner sleeps; the word is cleared, so only the first of many rings. */
export function ring(words: Int32Array, sleepsWord: number, doorbell: Doorbell): void {
  // A plain load first: the exchange is a locked instruction, and on the data path nobody sleeps.
  if (Atomics.load(words, sleepsWord) === 1 && Atomics.exchange(words, sleepsWord, 0) === 1) doorbell.ring();
}

/** Says that the owner is about to sleep. It must look for work once more before it polls. */
export function declareSleep(words: Int32Array, sleepsWord: number): void {
  Atomics.store(words, sleepsWord, 1);
}

/** Says that the owner is awake. */
export function declareAwake(words: Int32Array, sleepsWord: number): void {
  Atomics.store(words, sleepsWord, 0);
}
