/**
 * Main's wait in poll(2) in place of libuv's epoll: for a loop's fds, and for all else that main may have to do. Who returns from
 * it is still in the JavaScript that began it, with no way through libuv, Node and V8 in between
 * (docs/adr/0056-main-waits-in-the-logs-poll.md). Main thread.
 */

import { POLLIN } from '../native/constants.ts';
import { earlier } from '../native/rest.ts';
import type { PollRequest } from '../native/steps.ts';
import type { Sys, Watch } from '../native/sys.ts';

export class MainWait {
  readonly #sys: Sys;
  readonly #onWait: () => void;
  #watch: Watch | undefined;
  #loopFd = -1;
  /** A set without room, and the event loop's fd behind it. */
  #set = new Int32Array(0);
  readonly #lasted = new Float64Array(1);
  #planned = false;
  /** The event loop has something to do, as of the last {@link poll}. */
  wanted = false;

  /** @param onWait called in the place of main's next wait after {@link plan}; it ends with {@link end}. */
  constructor(sys: Sys, onWait: () => void) {
    this.#sys = sys;
    this.#onWait = onWait;
  }

  /** What cannot be watched is not planned: main goes on waiting in libuv. */
  plan(): void {
    if (this.#planned) return;
    this.#watch ??= this.#open();
    this.#planned = this.#watch !== undefined && this.#sys.arm(this.#watch) === 0;
  }

  #open(): Watch | undefined {
    const watch = this.#sys.watchWaits(this.#onWait);
    if (typeof watch === 'number') return undefined;
    this.#loopFd = this.#sys.loopFd();
    return watch;
  }

  /** @returns whether main has nothing else to do. */
  begin(): boolean {
    return this.#sys.loopTimeout() !== 0;
  }

  /**
   * Waits until an fd of `request` is ready or `timeoutMs` is over, or main is {@link wanted}, by an fd or by time. The request's
   * set has the answers, if there are any: a wait that a signal ends leaves those of before.
   * @param timeoutMs -1 = no limit
   * @returns how many of the request's are ready, or a negative errno.
   */
  poll(request: PollRequest, timeoutMs: number): number {
    const { set, count } = request;
    const own = 2 * count;
    if (set.length < own + 2) return this.#pollWithRoom(request, timeoutMs);
    set[own] = this.#loopFd;
    set[own + 1] = POLLIN;
    // Each time: it costs less than to know of all that may have given the event loop something to do.
    const loopMs = this.#sys.loopTimeout();
    const result = this.#sys.poll(set, count + 1, earlier(loopMs, timeoutMs), this.#lasted);
    const wanted = (set[own + 1] ?? 0) >>> 16 !== 0;
    this.wanted = wanted || loopMs === 0;
    return wanted && result > 0 ? result - 1 : result;
  }

  /** The same for a set that has no room for the event loop's fd. */
  #pollWithRoom(request: PollRequest, timeoutMs: number): number {
    const { set, count } = request;
    const length = 2 * count;
    if (this.#set.length < length + 2) this.#set = new Int32Array(length + 2);
    this.#set.set(set.subarray(0, length));
    const ready = this.poll({ set: this.#set, count, timeoutMs: request.timeoutMs }, timeoutMs);
    set.set(this.#set.subarray(0, length));
    return ready;
  }

  /** How long the last {@link poll} has waited. */
  get lastedMs(): number {
    return this.#lasted[0] ?? 0;
  }

  /** Nothing was ready: whether it is the event loop's time. */
  get late(): boolean {
    return this.wanted || this.#sys.loopTimeout() === 0;
  }

  /** libuv waits again, also after {@link close}; it has not heard how long this has lasted. */
  end(): void {
    if (this.#watch !== undefined) this.#sys.disarm(this.#watch);
    this.#planned = false;
    this.#sys.loopTimeout();
  }

  close(): void {
    if (this.#watch !== undefined) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
    this.#planned = false;
  }
}
