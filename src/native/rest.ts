/**
 * When a thread gives memory back: once after its start and again after much work, each time as soon as it has had nothing
 * to do for a moment. In between it asks for no wake-up, so that an idle thread sleeps for ever. Any worker thread.
 */

import { EINVAL, MADV_DONTNEED } from './constants.ts';
import type { Steps } from './steps.ts';
import type { Sys } from './sys.ts';

/** Nothing to do for so long: a container that has just been created, or the end of a burst. */
export const QUIET_MS = 1000;
/** Work that never pauses for so long, but is so little that nobody minds, is no reason to wait either. */
const LATEST_MS = 30_000;
/** Less work than this leaves nothing worth giving back. */
const WORTH_BYTES = 1 << 20;
/** 64 KiB on some arm64 kernels. */
const PAGE_SIZES = [4096, 65536];

export class Rest {
  readonly #now: () => number;
  /** When it is due; Infinity = not before there was work. */
  #atMs: number;
  #latestMs: number;
  /** When it last looked at the clock. */
  #seenMs: number;
  #workedBytes = 0;
  /** Work at the last rest, and when {@link #latestMs} was set. */
  #restedBytes = 0;
  #markedBytes = 0;

  /** @param now a clock that only goes forward, ms */
  constructor(now: () => number) {
    this.#now = now;
    this.#seenMs = now();
    this.#atMs = this.#seenMs + QUIET_MS;
    this.#latestMs = this.#seenMs + LATEST_MS;
  }

  /**
   * Whether the moment has come; then it counts as taken. Asks no clock while there is nothing to give back.
   * @param workedBytes a number that grows with the work
   */
  due(workedBytes: number): boolean {
    if (this.#atMs === Number.POSITIVE_INFINITY && workedBytes - this.#restedBytes < WORTH_BYTES) return false;
    const nowMs = this.#now();
    this.#seenMs = nowMs;
    if (workedBytes !== this.#workedBytes) this.#worked(workedBytes, nowMs);
    if (nowMs < this.#atMs) return false;
    this.#restedBytes = workedBytes;
    this.#atMs = Number.POSITIVE_INFINITY;
    return true;
  }

  /** How long a poll may last, since {@link due} was asked; -1 = for ever. The clock was read then: a line needs no second look. */
  timeoutMs(): number {
    return this.#atMs === Number.POSITIVE_INFINITY ? -1 : Math.max(Math.ceil(this.#atMs - this.#seenMs), 0);
  }

  #worked(workedBytes: number, nowMs: number): void {
    const fresh = this.#atMs === Number.POSITIVE_INFINITY;
    if (fresh || workedBytes - this.#markedBytes >= WORTH_BYTES) {
      this.#markedBytes = workedBytes;
      this.#latestMs = nowMs + LATEST_MS;
    }
    this.#workedBytes = workedBytes;
    this.#atMs = Math.min(nowMs + QUIET_MS, this.#latestMs);
  }
}

/**
 * A loop that rests: its waits end early when it is time for that, as if nothing had become ready. The loop looks at its
 * fds then and waits again.
 */
export function* resting<Result>(
  steps: Steps<Result>,
  rest: Rest,
  workedBytes: () => number,
  onRest: () => void,
): Steps<Result> {
  for (let next = steps.next(); ; next = steps.next()) {
    if (next.done === true) return next.value;
    const request = next.value;
    request.timeoutMs = earlier(request.timeoutMs, rest.timeoutMs());
    yield request;
    if (rest.due(workedBytes())) onRest();
  }
}

/** The earlier of two timeouts of poll(2), of which -1 is never. */
export function earlier(a: number, b: number): number {
  if (a === -1) return b;
  return b === -1 ? a : Math.min(a, b);
}

/**
 * Gives the pages that lie whole between two offsets back to the kernel: they read as zero afterwards. Nobody may use them
 * meanwhile. What the kernel refuses stays as it is.
 */
export function forgetPages(sys: Sys, bytes: Uint8Array, from: number, to: number): void {
  for (const pageBytes of PAGE_SIZES) {
    const first = Math.ceil(from / pageBytes) * pageBytes;
    const end = Math.floor(to / pageBytes) * pageBytes;
    if (end <= first || sys.madvise(bytes.subarray(first, end), MADV_DONTNEED) !== EINVAL) return;
  }
}
