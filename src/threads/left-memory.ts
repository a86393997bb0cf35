/**
 * Has main give memory back some time after a thread has left. V8 keeps the pages of a heap that is gone, 3 MiB, in a pool for the
 * next one, and goes on keeping them in a process that is idle (docs/adr/0061-what-a-thread-leaves.md). Main thread.
 */

/**
 * V8 empties its pool when pages come into it, unless it has begun to do so in the last 12 s (heap/memory-pool.cc: a timeout of 8 s and
 * a slack of 4): a collection before that frees main's own pages and none of those.
 */
const POOLED_MS = 13_000;

export class LeftMemory {
  readonly #giveBack: () => void;
  readonly #afterMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Others have left since. */
  #more = false;

  /** @param giveBack called once for all threads that leave in `afterMs`, not sooner than that behind each */
  constructor(giveBack: () => void, afterMs = POOLED_MS) {
    this.#giveBack = giveBack;
    this.#afterMs = afterMs;
  }

  threadLeft(): void {
    if (this.#timer === undefined) this.#wait();
    else this.#more = true;
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#due(), this.#afterMs);
    this.#timer.unref();
  }

  #due(): void {
    this.#timer = undefined;
    this.#giveBack();
    if (!this.#more) return;
    this.#more = false;
    this.#wait();
  }
}
