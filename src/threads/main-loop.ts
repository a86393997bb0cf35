/**
 * Runs a worker's loop (src/native/steps.ts) on the main thread: what it would wait for in poll(2) is watched in Node's event
 * loop, and between two of its steps main hears whatever else has happened. Main thread.
 */

import { nowMs } from '../native/clock.ts';
import { POLLOUT } from '../native/constants.ts';
import type { PollRequest, Steps } from '../native/steps.ts';
import type { Sys, Watch } from '../native/sys.ts';
import { MainWait } from './main-wait.ts';

/** A wait that is shorter is waited out: a timer takes a millisecond at least, and main can spare less (src/log/pace.ts). */
const BRIEF_MS = 1;
/** Steps that do not wait in one turn of the event loop: a read, and what it left unfinished. */
const STEPS_A_TURN = 4;
/** None follows in the same turn when so much time is over: four reads of a flood, in one step (docs/adr/0066-long-lines.md). */
const TURN_MS = 1;
/**
 * So many lines are heard through the event loop before main waits for the next one by itself: an exec's few do not pay what that
 * costs when something else comes instead.
 */
const LINES_FIRST = 8;
/** No loop wants to go on later than that, but never. */
const LONG_MS = 2 ** 30;
/** Of a wait in libuv's place: a step was taken, and the next wait is here too; nothing was ready; a step was taken, and main is wanted. */
const LINE = 1;
const NONE = 0;
const LEAVE = 2;
const NOTHING: PollRequest = { set: new Int32Array(0), count: 0, timeoutMs: -1 };

/** @param events a set's second number: events | revents << 16 */
function isForWriting(events = 0): boolean {
  return (events & POLLOUT) !== 0;
}

function isBrief({ timeoutMs }: PollRequest): boolean {
  return timeoutMs >= 0 && timeoutMs < BRIEF_MS;
}

export interface MainLoopEvents<Result> {
  /** Called once, with the loop's result, or with what it has thrown; not after {@link MainLoop.stop}. */
  onEnd(result: Result | undefined, error: unknown): void;
  /** After each step but the last, with the brief wait before it; it may stop the loop. On performance.now()'s clock. */
  onStep(tookMs: number, nowMs: number): void;
  /** Before it waits for an fd that is full; it may stop the loop. */
  onFull(): void;
}

export class MainLoop<Result> {
  readonly #sys: Sys;
  readonly #steps: Steps<Result>;
  readonly #events: MainLoopEvents<Result>;
  readonly #watches = new Map<number, Watch>();
  /** Those of fds that are to be written: for one wait. */
  readonly #writable: Watch[] = [];
  #request = NOTHING;
  /** The fds of the last wait, -1 where there is none. */
  #waitedFor = new Int32Array(0);
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** On performance.now()'s clock: when the timer fires, and when the loop wants to go on. */
  #timerAtMs = Number.POSITIVE_INFINITY;
  #deadlineMs = Number.POSITIVE_INFINITY;
  /** A wait that is none goes on in the next turn. */
  #going: ReturnType<typeof setImmediate> | undefined;
  /** Of main's time, since the step before. */
  #waitedMs = 0;
  /** When the clock was last looked at, by a step or before a wait. */
  #seenMs = 0;
  readonly #mainWait: MainWait;
  #linesLeft = LINES_FIRST;
  /** Somebody was told something, or asked for something: main goes on with that. */
  #mainWanted = false;
  #woken = false;
  #stopped = false;

  /** Takes the first step in a microtask: what is said in this turn of main is heard in it. */
  constructor(sys: Sys, steps: Steps<Result>, events: MainLoopEvents<Result>) {
    this.#sys = sys;
    this.#steps = steps;
    this.#events = events;
    this.#mainWait = new MainWait(sys, () => this.#waitHere());
    this.wake();
  }

  /** As a ring of the loop's doorbell, which is the first fd of its set, whether it has one or not. */
  wake(): void {
    this.giveWay();
    if (this.#woken) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      if (this.#stopped || !this.#poll(0)) return;
      this.#mark(0);
      this.#go();
    });
  }

  /** Leaves the loop where it waits: another one can go on with its memory. Its fds are its owner's as before. */
  stop(): void {
    if (this.#stopped) return;
    this.#release();
    this.#steps.return(undefined as never); // what it holds besides its memory is given back
  }

  /** What a step has called has left main something to do: microtasks, ticks, and what else libuv does not know of. */
  giveWay(): void {
    this.#mainWanted = true;
  }

  #release(): void {
    this.#stopped = true;
    this.#mainWait.close();
    for (const watch of this.#watches.values()) this.#sys.unwatch(watch);
    this.#watches.clear();
    this.#unwatchWritable();
    clearTimeout(this.#timer);
    clearImmediate(this.#going);
  }

  /** One step, and those after it that have nothing to wait for. */
  #go(): void {
    const beginMs = nowMs();
    for (let steps = 1; ; steps++) {
      if (!this.#step(steps === 1 ? beginMs : nowMs())) return;
      if (!isBrief(this.#request)) break;
      if (steps === STEPS_A_TURN || this.#seenMs - beginMs >= TURN_MS) {
        this.#going ??= setImmediate(() => this.#look());
        return;
      }
      if (!this.#poll(this.#request.timeoutMs)) return;
    }
    this.#wait();
  }

  #look(): void {
    this.#going = undefined;
    if (!this.#stopped && isBrief(this.#request) && this.#poll(this.#request.timeoutMs)) this.#go();
  }

  /** @returns whether the loop is still here. */
  #step(startMs: number): boolean {
    if (this.#writable.length > 0) this.#unwatchWritable();
    let next: IteratorResult<PollRequest, Result>;
    try {
      next = this.#steps.next();
    } catch (error) {
      this.#fail(error ?? new Error('a loop threw nothing'));
      return false;
    }
    if (next.done === true) {
      this.#release();
      this.#events.onEnd(next.value, undefined);
      return false;
    }
    this.#request = next.value;
    return this.#stepped(startMs);
  }

  /** A step was taken, which began at `startMs`. @returns whether the loop is still here. */
  #stepped(startMs: number): boolean {
    const endMs = nowMs();
    const { timeoutMs } = this.#request;
    this.#deadlineMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : endMs + timeoutMs;
    this.#seenMs = endMs;
    const tookMs = endMs - startMs + this.#waitedMs;
    this.#waitedMs = 0;
    this.#events.onStep(tookMs, endMs);
    return !this.#stopped;
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.#release();
    this.#events.onEnd(undefined, error);
  }

  /** What is ready by then. @returns whether the loop is still here. */
  #poll(timeoutMs: number): boolean {
    if (timeoutMs > 0) this.#waitedMs += timeoutMs;
    const result = this.#sys.poll(this.#request.set, this.#request.count, timeoutMs);
    if (result < 0) this.#fail(new Error(`log loop: poll: ${this.#sys.strerror(result)}`));
    return result >= 0;
  }

  #wait(): void {
    if (!this.#asBefore() && !this.#watchAll()) return;
    if (this.#deadlineMs < this.#timerAtMs) this.#setTimer();
  }

  /** Whether the fds are those of the wait before, all to be read, as nearly always. */
  #asBefore(): boolean {
    const { set, count } = this.#request;
    if (this.#waitedFor.length !== count) return false;
    for (let i = 0; i < count; i++) {
      const fd = set[2 * i] ?? -1;
      if (this.#waitedFor[i] !== fd || (fd >= 0 && isForWriting(set[2 * i + 1]))) return false;
    }
    return true;
  }

  #watchAll(): boolean {
    const { set, count } = this.#request;
    this.#waitedFor = Int32Array.from({ length: count }, (_, i) => set[2 * i] ?? -1);
    for (const [fd, watch] of this.#watches) {
      if (this.#waitedFor.includes(fd)) continue;
      this.#sys.unwatch(watch);
      this.#watches.delete(fd);
    }
    for (let i = 0; i < count; i++) {
      const fd = this.#waitedFor[i] ?? -1;
      if (fd >= 0 && !this.#watches.has(fd) && !this.#watch(fd, isForWriting(set[2 * i + 1]))) return false;
    }
    return true;
  }

  #watch(fd: number, writable: boolean): boolean {
    const watch = this.#sys.watch(fd, (status) => this.#ready(fd, status), writable);
    if (typeof watch === 'number') {
      this.#fail(new Error(`log loop: fd ${fd} cannot be watched: ${this.#sys.strerror(watch)}`));
      return false;
    }
    if (!writable) {
      this.#watches.set(fd, watch);
      return true;
    }
    this.#writable.push(watch);
    this.#events.onFull();
    return !this.#stopped;
  }

  /** What a step writes to it may close, and open another one of the same number. */
  #unwatchWritable(): void {
    for (const watch of this.#writable.splice(0)) this.#sys.unwatch(watch);
  }

  #ready(fd: number, status: number): void {
    if (status < 0) {
      this.#fail(new Error(`log loop: fd ${fd}: ${this.#sys.strerror(status)}`));
      return;
    }
    // It is about to look by itself, and at all of them.
    if (isBrief(this.#request)) return;
    this.#clearMarks();
    this.#mark(this.#waitedFor.indexOf(fd));
    this.#go();
    if (--this.#linesLeft <= 0 && this.#mayWaitHere()) this.#mainWait.plan();
  }

  /** Whether it waits for nothing but the fds that are watched, and for longer than a moment. */
  #mayWaitHere(): boolean {
    return !this.#stopped && this.#writable.length === 0 && !isBrief(this.#request);
  }

  /** In libuv's place, as long as nobody but this loop wants main. */
  #waitHere(): void {
    this.#linesLeft = LINES_FIRST;
    if (this.#mayWaitHere() && this.#mainWait.begin()) {
      this.#mainWanted = false;
      for (const watch of this.#watches.values()) this.#sys.disarm(watch);
      this.#seenMs = nowMs();
      let outcome = this.#stepHere();
      for (; outcome === LINE || (outcome === NONE && this.#stepLate()); outcome = this.#stepHere())
        if (outcome === LINE) this.#linesLeft = 1;
      if (outcome < 0) this.#fail(new Error(`log loop: poll: ${this.#sys.strerror(outcome)}`));
      for (const [fd, watch] of this.#watches) this.#rearm(fd, watch);
    }
    this.#mainWait.end();
    if (this.#stopped) return;
    if (isBrief(this.#request)) this.#going ??= setImmediate(() => this.#look());
    else this.#wait();
  }

  /**
   * Waits for something to be ready and takes a step. A function of its own, which does nothing rare: V8 compiles it as it does
   * others, and need not compile it again, for which lines would wait, when something else happens.
   * @returns {@link LINE}, {@link NONE}, {@link LEAVE}, or a negative errno.
   */
  #stepHere(): number {
    const sinceMs = this.#seenMs;
    const left = this.#deadlineMs - sinceMs;
    const ready = this.#mainWait.poll(this.#request, left < LONG_MS ? Math.max(Math.ceil(left), 0) : -1);
    if (ready <= 0) return ready;
    // No clock before the line is where it belongs: each look at one is code that this CPU may have to fetch first.
    const done = this.#request.shortStep?.() === true;
    const startMs = sinceMs + this.#mainWait.lastedMs;
    return (done ? this.#stepped(startMs) : this.#step(startMs)) && this.#staysHere() ? LINE : LEAVE;
  }

  /** Nothing was ready: its time may be over, or a signal has ended the wait. @returns whether it goes on waiting here. */
  #stepLate(): boolean {
    this.#clearMarks();
    if (this.#mainWait.late) return false;
    this.#seenMs = nowMs();
    return this.#seenMs < this.#deadlineMs || (this.#step(this.#seenMs) && this.#staysHere());
  }

  #staysHere(): boolean {
    return !this.#mainWait.wanted && !this.#mainWanted && this.#mayWaitHere() && this.#asBefore();
  }

  #rearm(fd: number, watch: Watch): void {
    const result = this.#sys.arm(watch);
    if (result < 0) this.#fail(new Error(`log loop: fd ${fd} cannot be watched: ${this.#sys.strerror(result)}`));
  }

  /** poll(2) would have written all answers; a loop need not (src/log/pump.ts). */
  #clearMarks(): void {
    const { set, count } = this.#request;
    for (let i = 0; i < count; i++) set[2 * i + 1] = (set[2 * i + 1] ?? 0) & 0xffff;
  }

  /** As poll(2) says that an fd is ready for what it is wanted for. */
  #mark(index: number): void {
    const { set } = this.#request;
    const at = 2 * index + 1;
    const events = (set[at] ?? 0) & 0xffff;
    if (at < set.length) set[at] = events | (events << 16);
  }

  /** One that fires too soon is cheaper than setting it anew for each line. */
  #setTimer(): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = this.#deadlineMs;
    this.#timer = setTimeout(() => this.#fired(), Math.ceil(this.#deadlineMs - nowMs()));
  }

  #fired(): void {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (isBrief(this.#request) || this.#deadlineMs === Number.POSITIVE_INFINITY) return;
    if (this.#deadlineMs > nowMs()) {
      this.#setTimer();
      // It has taken main out of its wait for lines, of which there were some: on with it, or the next one comes the long way.
      if (this.#linesLeft === 1 && this.#mayWaitHere()) this.#mainWait.plan();
      return;
    }
    this.#clearMarks();
    this.#go();
  }
}
