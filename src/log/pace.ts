/**
 * When the log thread lets output come together for a moment before it reads again: while a container writes short lines
 * faster than one by one is worth the system calls. A line that comes alone never waits: the moment follows a read, and
 * there is none before reads have followed each other quickly for a while. Log thread (docs/adr/0054-a-line-a-write.md).
 */

/**
 * How long. A pipe of {@link ROOMY_BYTES} holds what comes meanwhile at 4 GB/s; the kernel adds up to 50 us of its own
 * (prctl(2), PR_SET_TIMERSLACK).
 */
export const PAUSE_MS = 0.2;
/** Pipes that are smaller might be full before it is over: they are read at once, as terminals are. */
export const ROOMY_BYTES = 1 << 20;
/** So many turns, each of which has read something, are looked at together. */
const TURNS = 16;
/** They follow each other quickly when one came every 0.1 ms in the mean. */
const QUICK_MS = TURNS * 0.1;
/** From one pause to the next when there was nothing to read for a while in between: then it does not pay any longer. */
const SLOW_MS = 2.5 * PAUSE_MS;
/** A turn that has read so much needs no pause to be worth it. */
export const PLENTY_BYTES = 1 << 17;

export class Pace {
  readonly #now: () => number;
  #quick = false;
  /** When there was a look before; not yet, or never mind. */
  #sinceMs = Number.NEGATIVE_INFINITY;
  /** Turns until {@link pauses} is asked, the last of them included; whoever takes one counts it. */
  turnsLeft = TURNS;

  /** @param now a clock that only goes forward, ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** After the last of {@link turnsLeft} turns, which have read `bytes` of one stream. @returns whether the next one should wait. */
  pauses(bytes: number): boolean {
    const nowMs = this.#now();
    this.#quick = nowMs - this.#sinceMs < (this.#quick ? SLOW_MS : QUICK_MS);
    this.#sinceMs = nowMs;
    this.turnsLeft = this.#quick ? 1 : TURNS;
    return this.#quick && bytes < PLENTY_BYTES;
  }

  /** The next one does not, whatever was before. */
  reset(): void {
    this.#quick = false;
    this.#sinceMs = Number.NEGATIVE_INFINITY;
    this.turnsLeft = TURNS;
  }
}
