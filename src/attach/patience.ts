/**
 * How long the attach server waits for whom: for a client that takes nothing, and after the container's end for
 * anything at all, because conmon must end some time. Moments are CLOCK_MONOTONIC milliseconds; it asks no clock.
 */

/** After the container's end a client that takes nothing for so long is given up, and so is a ring that never ends. */
export const LAST_PATIENCE_MS = 10_000;

export class Patience {
  readonly #stallTimeoutMs: number;
  /** When the container's end was heard of; Infinity = it runs. */
  #endedMs = Number.POSITIVE_INFINITY;
  /** When somebody got something after that, or the end was heard of. */
  #lastSentMs = Number.POSITIVE_INFINITY;

  /** @param stallTimeoutMs for a client that takes nothing while the container runs; 0 = for ever. */
  constructor(stallTimeoutMs: number) {
    this.#stallTimeoutMs = stallTimeoutMs === 0 ? Number.POSITIVE_INFINITY : stallTimeoutMs;
  }

  /** The container is gone: from now on patience is limited. */
  end(nowMs: number): void {
    this.#endedMs = nowMs;
    this.#lastSentMs = nowMs;
  }

  /** After the end: somebody got something. */
  sent(nowMs: number): void {
    this.#lastSentMs = nowMs;
  }

  /** When a client is given up that has taken nothing since `stalledSinceMs`; Infinity = never. */
  clientDeadlineMs(stalledSinceMs: number): number {
    // Its time after the end begins with the end, however long it has been behind before.
    const lastMs = Math.max(stalledSinceMs, this.#endedMs) + LAST_PATIENCE_MS;
    return Math.min(stalledSinceMs + this.#stallTimeoutMs, lastMs);
  }

  /** When the ring's end is no longer waited for; Infinity while the container runs. */
  get ringDeadlineMs(): number {
    return this.#lastSentMs + LAST_PATIENCE_MS;
  }
}
