/**
 * A worker's loop as steps between its waits, so that one thread can run one loop or many. A loop is a generator that
 * yields what it wants to poll and goes on when something is ready or its time is over. Any worker thread.
 */

import { POLLIN } from './constants.ts';
import type { Sys } from './sys.ts';

/** What a loop waits for. The object and its set belong to the loop, which may use them again. */
export interface PollRequest {
  /** (fd, events | revents << 16) pairs; revents are the answer. What follows those that count is for who polls, one pair if there is one. */
  set: Int32Array<ArrayBuffer>;
  /** How many pairs of `set` count. */
  count: number;
  /** -1 = until something is ready; a fraction counts. */
  timeoutMs: number;
  /**
   * A step's work when something is ready, without the loop: for what is done often and somebody waits for, since a generator that
   * goes on is code that no CPU has at hand (docs/adr/0062-from-poll-to-the-line.md). Who polls may call it before the next step,
   * and has not to. @returns whether that was all, and the same request is the next one; the set's answers are void then. It throws
   * nothing: what goes wrong is the next step's to throw.
   */
  readonly shortStep?: () => boolean;
}

export type Steps<Result> = Generator<PollRequest, Result, void>;

/** Runs one loop to its end, with a thread of its own. Throws what it throws, and when poll fails. */
export function runSteps<Result>(sys: Sys, steps: Steps<Result>): Result {
  for (let next = steps.next(); ; next = steps.next()) {
    if (next.done === true) return next.value;
    const request = next.value;
    do {
      const result = sys.poll(request.set, request.count, request.timeoutMs);
      if (result < 0) throw new Error(`worker: poll: ${sys.strerror(result)}`);
    } while (request.shortStep?.() === true);
  }
}

interface Running {
  readonly steps: Steps<unknown>;
  readonly onEnd: (result: unknown, error: unknown) => void;
  request: PollRequest;
  /** On performance.now()'s clock. */
  deadlineMs: number;
}

/** Runs any number of loops, each in its turn: what one step of a loop may take is the loop's own bound. */
export class StepLoop {
  readonly #sys: Sys;
  readonly #running = new Set<Running>();
  #set = new Int32Array(64);

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  get size(): number {
    return this.#running.size;
  }

  /** Takes a loop's first step. `onEnd` is called once, with its result, or with what it has thrown. */
  add<Result>(steps: Steps<Result>, onEnd: (result: Result | undefined, error: unknown) => void): void {
    const request = { set: new Int32Array(0), count: 0, timeoutMs: 0 };
    const running: Running = { steps, onEnd: onEnd as Running['onEnd'], request, deadlineMs: 0 };
    this.#running.add(running);
    this.#step(running);
  }

  /** Waits for `ownFd` and for all loops, then lets each that has a reason take a step. @returns whether `ownFd` is ready. */
  turn(ownFd: number): boolean {
    const running = [...this.#running];
    const count = running.reduce((sum, { request }) => sum + request.count, 1);
    if (this.#set.length < 2 * count) this.#set = new Int32Array(4 * count);
    const set = this.#set;
    set[0] = ownFd;
    set[1] = POLLIN;
    let at = 2;
    let deadlineMs = Number.POSITIVE_INFINITY;
    for (const { request, deadlineMs: each } of running) {
      set.set(request.set.subarray(0, 2 * request.count), at);
      at += 2 * request.count;
      deadlineMs = Math.min(deadlineMs, each);
    }
    const timeoutMs = deadlineMs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, deadlineMs - performance.now());
    const result = this.#sys.poll(set, count, timeoutMs);
    if (result < 0) throw new Error(`worker: poll: ${this.#sys.strerror(result)}`);
    const nowMs = performance.now();
    at = 2;
    for (const each of running) {
      const end = at + 2 * each.request.count;
      if (nowMs >= each.deadlineMs || hasRevents(set, at, end)) {
        each.request.set.set(set.subarray(at, end));
        this.#step(each);
      }
      at = end;
    }
    return hasRevents(set, 0, 2);
  }

  #step(running: Running): void {
    try {
      const next = running.steps.next();
      if (next.done !== true) {
        running.request = next.value;
        const { timeoutMs } = next.value;
        running.deadlineMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
        return;
      }
      this.#running.delete(running);
      running.onEnd(next.value, undefined);
    } catch (error) {
      this.#running.delete(running);
      running.onEnd(undefined, error ?? new Error('a worker threw nothing'));
    }
  }
}

/** Whether a pair between two places of a set has an answer. poll(2) clears those without. */
function hasRevents(set: Int32Array, from: number, to: number): boolean {
  for (let i = from + 1; i < to; i += 2) if ((set[i] ?? 0) >>> 16 !== 0) return true;
  return false;
}
