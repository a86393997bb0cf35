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
  /** A request's set, and the event loop's fd behind it. */
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
   * set has the answers.
   * @param timeoutMs -1 = no limit
   * @returns 1 when something of the request's is ready, 0, or a negative errno.
   */
  poll({ set, count }: PollRequest, timeoutMs: number): number {
    const length = 2 * count;
    if (this.#set.length < length + 2) this.#set = new Int32Array(length + 2);
    const own = this.#set;
    for (let i = 0; i < length; i += 2) {
      own[i] = set[i] ?? 0;
      own[i + 1] = (set[i + 1] ?? 0) & 0xffff; // a wait that a signal ends gives no answers
    }
    own[length] = this.#loopFd;
    own[length + 1] = POLLIN;
    // Each time: it costs less than to know of all that may have given the event loop something to do.
    const loopMs = this.#sys.loopTimeout();
    const result = this.#sys.poll(own, count + 1, earlier(loopMs, timeoutMs), this.#lasted);
    let ready = result < 0 ? result : 0;
    for (let i = 1; i < length; i += 2) {
      const answer = own[i] ?? 0;
      set[i] = answer;
      if (answer >>> 16 !== 0) ready = 1;
    }
    this.wanted = loopMs === 0 || (own[length + 1] ?? 0) >>> 16 !== 0;
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
