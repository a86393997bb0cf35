/**
 * The log thread's loop: poll the container's pipes and the doorbell, read straight into the ring, hand each batch to
 * the drivers, repeat. It sleeps in poll without a timeout when there is nothing to do, and never waits for anything
 * else. It never waits for clients or the runtime. Drivers are fed by ./feed.ts.
 */

import type { Diag } from '../diag/diag.ts';
import { EAGAIN, EIO, F_GETPIPE_SZ, POLLIN, POLLOUT } from '../native/constants.ts';
import { earlier, type Rest } from '../native/rest.ts';
import { type PollRequest, runSteps, type Steps } from '../native/steps.ts';
import type { Sys } from '../native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../proto/attach-messages.ts';
import type { LogCounters, Source as SourcePlan, ToLogWorker } from '../proto/log-messages.ts';
import type { Stream } from '../proto/stream.ts';
import { type ChunkCursor, Feed, type PumpDriver } from './feed.ts';
import { PAUSE_MS, Pace, ROOMY_BYTES } from './pace.ts';

export type { ChunkCursor, PumpDriver } from './feed.ts';

/** One read(2) while clients share the ring: two fit what they may hold, one that is sent and one that is read (docs/adr/0053). */
export const READ_BYTES = 3 << 18;
/** And while nobody else reads: all that a pipe holds, so that the container is woken once for it (docs/adr/0028-long-reads.md). */
export const READ_ALONE_BYTES = 1 << 20;
/** Of what consumers may hold, a stalled log leaves so much: what is too old is dropped before the container has to wait. */
export const UNSTALLED_BYTES = 1 << 19;
/** A read shorter than this is not worth a system call: the ring's lap end is skipped instead. */
const LEAST_READ_BYTES = 4096;
/** What is read of one stream before the doorbell and the other stream get their turn. */
const TURN_BYTES = 1 << 22;
/** At its end a terminal is read until it is empty, but not for ever. */
const TERMINAL_DRAIN_BYTES = 1 << 20;
/** How long the container's end waits for the reader of a FIFO, as for attached clients (src/threads/output.ts). */
const SLOW_READER_MS = 1000;
/** How long the end waits for a sink that is slow but takes something every now and then. */
const PATIENT_END_MS = 10_000;
/** How often a terminal that nobody has open is looked at: somebody may open it again (contract section 5). */
const HUNG_UP_MS = 100;

/** The ring's writing side, as the pump needs it (src/ring/producer.ts). */
export interface ChunkProducer {
  tryClaim(wantBytes: number, leastBytes: number): number;
  readonly claimedBytes: number;
  commit(usedBytes: number, stream: number, quietly?: boolean): void;
  tryClaimIdle(wantAloneBytes: number, wantBytes: number): number;
  tryRewind(): boolean;
  readonly alone: boolean;
  wake(): void;
  unlimit(): void;
  admitConsumers(): void;
  end(): void;
}

/** Attach clients that have everything, to whom a short record is sent from here (src/attach/direct-sender.ts). */
export interface DirectClients {
  /** Sends what was committed. @returns false when something is left for the thread that sends the rest, which must be woken then. */
  send(): boolean;
}

export interface PumpParts {
  readonly sys: Sys;
  readonly diag: Diag;
  /** The session's shared memory. */
  readonly bytes: Uint8Array;
  readonly producer: ChunkProducer;
  readonly cursor: ChunkCursor;
  readonly drivers: readonly PumpDriver[];
  readonly clients: DirectClients;
  /** How much of the ring a driver whose sink is stalled may keep. */
  readonly keepBytes: number;
  /** A clock that only goes forward, ms. */
  readonly now?: () => number;
  readonly counters: LogCounters;
  readonly doorbell: { readonly fd: number; take(): boolean };
  /** Says that the producer is about to sleep for want of space, so that a consumer which releases some rings. */
  declareSleep(): void;
  declareAwake(): void;
  /** The next message of main, undefined when there is none. */
  nextMessage(): ToLogWorker | undefined;
  /** Every driver has made its new file, or has tried. */
  onReopened(): void;
  /** Says when nothing has come for a while; absent = never. */
  readonly rest?: Rest;
  /** Then: memory may be given back. Drivers have done so. */
  onRest?(): void;
}

/** What a read has come to: as much as was claimed, less, nothing, or no room to read into. */
type ReadOutcome = 'full' | 'short' | 'empty' | 'blocked';

interface Source {
  readonly stream: Stream;
  readonly terminal: boolean;
  /** A pipe that holds what comes while nobody reads it for a moment (./pace.ts). */
  readonly roomy: boolean;
  /** Nobody has the terminal open: it is polled now and then, or poll would return at once. */
  hungUp: boolean;
  /** -1 once it has ended; poll(2) passes over it then. */
  fd: number;
}

export class Pump {
  readonly #parts: PumpParts;
  readonly #feed: Feed;
  readonly #now: () => number;
  /** Their fds stay main's: who takes over after a crash must find them, not what got their numbers since. */
  #sources: Source[] = [];
  /** (fd, events | revents << 16) pairs: the doorbell, the sources, then what stalled drivers wait for. */
  #pollSet: Int32Array<ArrayBuffer>;
  readonly #request: PollRequest = {
    set: new Int32Array(0),
    count: 0,
    timeoutMs: 0,
    shortStep: () => this.#takeLine(),
  };
  /** The wait is one between two lines. */
  #betweenLines = false;
  /** Where the next line goes between two lines, -1 if there is no room yet, and whether nobody has to hear of it. */
  #aheadOffset = -1;
  #aheadUnheard = false;
  /** Whom {@link #takeLine} has read for the step that follows, and how that went. */
  #lineSource: Source | undefined;
  #lineOutcome: ReadOutcome = 'empty';
  #lineError: Error | undefined;
  #ending: Extract<ToLogWorker, { kind: 'end' }> | undefined;
  #leaving = false;
  /** What was read when it was last asked to leave. */
  #lookedBytes: number;
  /** A claim failed: nothing is read until a consumer has released something. */
  #full = false;
  readonly #pace: Pace;
  /** The sources are left alone for a moment, so that more comes together. */
  #pausing = false;
  /** Whether the last claim was made with nobody but the log thread reading, and nothing in the ring. */
  #alone = false;
  /** Who was read last, and the bytes of all reads by then. */
  #pacedSource: Source | undefined;
  #pacedBytes = 0;

  constructor(parts: PumpParts) {
    this.#parts = parts;
    this.#lookedBytes = parts.counters.readBytes;
    this.#feed = new Feed(parts.diag, parts.bytes, parts.cursor, parts.drivers);
    this.#now = parts.now ?? (() => performance.now());
    this.#pace = new Pace(this.#now);
    this.#pollSet = pollSet(1 + parts.drivers.length);
  }

  /** Runs until main has said that the container is gone and what it left is written. Throws only for bugs. */
  run(): boolean {
    return runSteps(this.#parts.sys, this.steps());
  }

  /** The same as steps, for a thread that runs several. @returns whether it was left: another one goes on, and this one is not closed. */
  *steps(): Steps<boolean> {
    this.#feed.all(); // what a worker that died had read and not passed on
    this.#takeMessages();
    while (this.#ending === undefined) {
      if (this.#leaving) return true;
      const wasFull = this.#full;
      // Between two lines, most of the time: who wants nothing is asked once, and not for each thing that he may want.
      const calm = !wasFull && this.#feed.calm && !this.#hungUp();
      const paused = this.#pausing;
      if (this.#prepare(calm)) {
        this.#betweenLines = calm && !paused;
        if (this.#betweenLines) this.#claimAhead();
        yield this.#request;
        this.#betweenLines = false;
        if (this.#lineError !== undefined) throw this.#lineError;
        if (wasFull) this.#parts.declareAwake();
      }
      if (!calm) this.#retryDrivers();
      if (this.#ready(0)) {
        this.#parts.doorbell.take();
        this.#full = false;
        this.#parts.producer.admitConsumers();
        this.#takeMessages();
      }
      this.#pausing = false;
      // While the ring was full, or in a pause, the sources were not asked: whether more is there is not known yet.
      if (!this.#full && !wasFull && !paused) this.#readAll(calm);
      this.#lineSource = undefined;
      if (!this.#full && this.#parts.rest?.due(this.#parts.counters.readBytes) === true) this.#giveBack();
    }
    this.#parts.producer.unlimit();
    if (this.#ending.drain) for (const source of this.#sources) this.#drain(source);
    yield* this.#finish();
    for (const source of this.#sources) this.#close(source);
    this.#parts.producer.end();
    return false;
  }

  #giveBack(): void {
    this.#feed.rest();
    this.#parts.onRest?.();
  }

  /** Another loop goes on. */
  leave(): void {
    this.#feed.leave();
  }

  /** Ends the drivers: everything is written or counted. */
  close(sync: boolean): void {
    this.#feed.close(sync);
  }

  /** Fills the next request in. @returns false when there is space again after all: then there is nothing to wait for. */
  #prepare(calm: boolean): boolean {
    this.#fillPollSet(calm); // each time: who watches the fds in poll's place (src/threads/main-loop.ts) adds answers and takes none away
    if (this.#full) {
      this.#parts.declareSleep();
      // Space may have come before the flag was seen: look once more.
      if (this.#parts.producer.tryClaim(READ_BYTES, LEAST_READ_BYTES) !== -1) {
        this.#full = false;
        this.#parts.declareAwake();
        return false;
      }
    }
    if (this.#pausing) this.#request.timeoutMs = PAUSE_MS;
    else this.#request.timeoutMs = calm ? (this.#parts.rest?.timeoutMs() ?? -1) : this.#timeoutMs();
    return true;
  }

  #fillPollSet(calm: boolean): void {
    const set = this.#pollSet;
    set[0] = this.#parts.doorbell.fd;
    set[1] = POLLIN;
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[i];
      set[2 + 2 * i] = source === undefined || this.#full || this.#pausing || source.hungUp ? -1 : source.fd;
      set[3 + 2 * i] = POLLIN;
    }
    const drivers = this.#feed.drivers;
    const first = 2 * (1 + this.#sources.length);
    for (let i = 0; i < drivers.length; i++) {
      const slot = drivers[i];
      set[first + 2 * i] = slot === undefined || calm ? -1 : this.#feed.waitFd(slot);
      set[first + 2 * i + 1] = POLLOUT;
    }
    this.#request.set = set;
    this.#request.count = 1 + this.#sources.length + drivers.length;
  }

  #ready(slot: number): boolean {
    return (this.#pollSet[2 * slot + 1] ?? 0) >>> 16 !== 0;
  }

  #takeMessages(): void {
    for (let message = this.#parts.nextMessage(); message !== undefined; message = this.#parts.nextMessage()) {
      if (message.kind === 'begin') this.#begin(message.sources);
      else if (message.kind === 'reopen') this.#reopen();
      else if (message.kind === 'leave') this.#leave(message.belowBytes);
      else this.#ending = message;
    }
  }

  #leave(belowBytes: number): void {
    const { readBytes } = this.#parts.counters;
    this.#leaving = readBytes - this.#lookedBytes < belowBytes && this.#feed.movable;
    this.#lookedBytes = readBytes;
  }

  #reopen(): void {
    this.#feed.reopen();
    this.#parts.onReopened();
  }

  #begin(sources: readonly SourcePlan[]): void {
    this.#sources = sources.map(({ fd, stream, terminal }) => {
      const roomy = !terminal && this.#parts.sys.fcntl(fd, F_GETPIPE_SZ, 0) >= ROOMY_BYTES;
      return { fd, stream, terminal, roomy, hungUp: false };
    });
    this.#pollSet = pollSet(1 + this.#sources.length + this.#feed.drivers.length);
  }

  /** A held partial line is written as soon as nothing follows it; a terminal without a user is looked at again. */
  #timeoutMs(): number {
    const wakeAtMs = this.#feed.wakeAtMs();
    const retryMs = wakeAtMs === Number.POSITIVE_INFINITY ? -1 : Math.max(Math.ceil(wakeAtMs - this.#now()), 0);
    // A full ring reads nothing, so nothing follows a held part before a consumer has released something.
    if (this.#full) return retryMs;
    if (this.#holdsPartial()) return 0;
    const quietMs = earlier(retryMs, this.#parts.rest?.timeoutMs() ?? -1);
    return this.#hungUp() ? earlier(quietMs, HUNG_UP_MS) : quietMs;
  }

  /** Stalled drivers whose time has come, or whose sink says that it takes something again. */
  #retryDrivers(): void {
    const drivers = this.#feed.drivers;
    const first = 1 + this.#sources.length;
    for (let i = 0; i < drivers.length; i++) {
      const slot = drivers[i];
      if (slot === undefined) continue;
      const wakeAtMs = this.#feed.wakesAtMs(slot);
      if (this.#ready(first + i) || (wakeAtMs !== Number.POSITIVE_INFINITY && wakeAtMs <= this.#now()))
        this.#feed.retry(slot);
    }
    // A sink that was worth waiting for may no longer be.
    if (this.#full) this.#feed.limit(this.#parts.keepBytes);
  }

  /** @param calm whether nothing was held before the wait, so that nothing can be settled by it */
  #readAll(calm: boolean): void {
    let ready = 0;
    let last: Source | undefined;
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[i];
      if (source === undefined) continue;
      // Also after each wait for something else: a read of a terminal that is still closed costs one system call.
      // What it has just turned out to be does not count.
      if (source.hungUp && source !== this.#lineSource) source.hungUp = false;
      else if (this.#ready(1 + i)) {
        this.#readTurn(source);
        ready++;
        last = source;
      } else if (!calm) this.#settle(source.stream, false);
    }
    if (last === undefined) return;
    // One look for many lines: each function that a line takes is time (docs/adr/0052-the-worst-hundredth.md).
    if (ready === 1 && last === this.#pacedSource && this.#pace.turnsLeft > 1) this.#pace.turnsLeft--;
    else this.#paceAfter(last, ready);
  }

  /**
   * Whether the sources are left alone for a moment now. Not when both streams say something: after a pause nobody can tell
   * which said it first. Not when somebody reads the ring: what an attached client answers may be what the container waits for.
   */
  #paceAfter(source: Source, ready: number): void {
    const bytes = this.#parts.counters.readBytes - this.#pacedBytes;
    this.#pacedBytes += bytes;
    const other = ready > 1 || source !== this.#pacedSource;
    this.#pacedSource = source;
    if (other || !source.roomy || !this.#alone || this.#full) this.#pace.reset();
    else this.#pausing = this.#pace.pauses(bytes);
  }

  /**
   * A whole step, when nothing but the pump's next line has come: most of the time it is no more. The read comes first, and what it
   * brings is with clients and log before anything else is looked at.
   */
  #takeLine(): boolean {
    if (!this.#betweenLines || this.#ready(0)) return false;
    const source = this.#firstReady();
    if (source === undefined) return false;
    try {
      return this.#readLine(source);
    } catch (error) {
      this.#lineError = error instanceof Error ? error : new Error(String(error));
      return false;
    }
  }

  /** @returns whether the step is done with it. */
  #readLine(source: Source): boolean {
    this.#lineSource = source;
    const offset = this.#aheadOffset;
    this.#aheadOffset = -1;
    if (offset !== -1) this.#alone = this.#aheadUnheard;
    this.#lineOutcome =
      offset === -1 ? this.#readOnce(source, TURN_BYTES) : this.#readInto(source, offset, this.#aheadUnheard);
    if (this.#lineOutcome !== 'short' || this.#pace.turnsLeft === 1 || !this.#isAlone(source) || !this.#feed.calm)
      return false;
    this.#pace.turnsLeft--;
    const { rest } = this.#parts;
    if (rest?.due(this.#parts.counters.readBytes) === true) this.#giveBack();
    this.#request.timeoutMs = rest?.timeoutMs() ?? -1;
    this.#claimAhead();
    return true;
  }

  /**
   * Makes room for the next line before it comes. Who begins to read meanwhile is let in with the doorbell that it rings, after
   * that line at the latest; who reads already only reads on.
   */
  #claimAhead(): void {
    const { producer } = this.#parts;
    let offset = producer.tryClaimIdle(READ_ALONE_BYTES, READ_BYTES);
    if (offset === -1 && producer.tryRewind()) {
      this.#feed.all(); // passes the padding: nothing else is there
      offset = producer.tryClaimIdle(READ_ALONE_BYTES, READ_BYTES);
    }
    this.#aheadOffset = offset;
    this.#aheadUnheard = producer.alone;
  }

  #firstReady(): Source | undefined {
    for (let i = 0; i < this.#sources.length; i++) if (this.#ready(1 + i)) return this.#sources[i];
    return undefined;
  }

  /** Whether it is the one that was read last, and no other has anything. */
  #isAlone(source: Source): boolean {
    if (source !== this.#pacedSource) return false;
    for (let i = 0; i < this.#sources.length; i++) if (this.#ready(1 + i) && this.#sources[i] !== source) return false;
    return true;
  }

  /** A read that filled its claim is likely to be followed by more: the next one needs no poll. */
  #readTurn(source: Source): void {
    if (source === this.#lineSource && this.#lineOutcome !== 'full') return;
    for (let left = TURN_BYTES; left > 0; ) {
      const before = this.#parts.counters.readBytes;
      if (this.#readOnce(source, left) !== 'full') return;
      left -= this.#parts.counters.readBytes - before;
    }
  }

  /** One read of at most `leftBytes` through to the drivers. The caller goes on reading after a full one, up to `leftBytes`. */
  #readOnce(source: Source, leftBytes: number): ReadOutcome {
    const { producer } = this.#parts;
    let offset = producer.tryClaimIdle(Math.min(leftBytes, READ_ALONE_BYTES), Math.min(leftBytes, READ_BYTES));
    // In that look at the ring nobody was let in: with nobody there, nobody has to hear of what comes.
    const unheard = offset !== -1 && producer.alone;
    this.#alone = unheard;
    if (offset === -1) offset = this.#claim(leftBytes);
    if (offset === -1) {
      this.#full = true;
      return 'blocked';
    }
    return this.#readInto(source, offset, unheard);
  }

  /** One read into what is claimed. */
  #readInto(source: Source, offset: number, unheard: boolean): ReadOutcome {
    const { producer, sys, counters, clients } = this.#parts;
    const claimed = producer.claimedBytes;
    const result = sys.read(source.fd, this.#parts.bytes, offset, claimed);
    counters.reads++;
    producer.commit(Math.max(result, 0), source.stream, true);
    if (result > 0) {
      counters.readBytes += result;
      // Before the log, which takes longer, and on a disk that hangs for ever (docs/adr/0058-the-client-first.md).
      if (!unheard && !(result <= PACKET_PAYLOAD_MAX && clients.send())) producer.wake();
      this.#feed.all();
      return result === claimed ? 'full' : 'short';
    }
    if (source.terminal && (result === EIO || result === 0)) {
      source.hungUp = true;
      this.#settle(source.stream, false);
    } else if (result === EAGAIN)
      this.#settle(source.stream, false); // poll(2) would say no more
    else this.#end(source, result);
    return 'empty';
  }

  /** Makes room for one read of at most `leftBytes`, as far as may be. @returns as RingProducer.tryClaim. */
  #claim(leftBytes: number): number {
    const { producer, keepBytes } = this.#parts;
    this.#feed.limit(this.#ending === undefined ? keepBytes : Number.POSITIVE_INFINITY);
    const rewound = producer.tryRewind();
    if (rewound) this.#feed.all(); // passes the padding: nothing else is there
    this.#alone = rewound && producer.alone;
    const wantBytes = Math.min(leftBytes, this.#alone ? READ_ALONE_BYTES : READ_BYTES);
    return producer.tryClaim(wantBytes, Math.min(wantBytes, LEAST_READ_BYTES));
  }

  /** Everything that was written before the container's end is in the pipe now: that much is read, and no more, so that
   * somebody who keeps the pipe open and goes on writing delays nothing. */
  #drain(source: Source): void {
    if (source.fd === -1) return;
    // What a terminal's user wrote reaches its master by and by: only reading it tells (n_tty flushes before EAGAIN).
    const waiting = source.terminal ? TERMINAL_DRAIN_BYTES : this.#parts.sys.fionread(source.fd);
    for (let left = waiting; left > 0 && source.fd !== -1; ) {
      const before = this.#parts.counters.readBytes;
      const outcome = this.#readOnce(source, left);
      if (outcome === 'empty') return;
      // Cannot be while pipes are smaller than what the ring keeps for the end; if they are not, the rest is left.
      if (outcome === 'blocked' && this.#feed.limit(0)) continue;
      if (outcome === 'blocked') {
        this.#parts.diag.warn(`${left} bytes were left unread: attached clients hold the ring`);
        return;
      }
      left -= this.#parts.counters.readBytes - before;
    }
  }

  #end(source: Source, result: number): void {
    if (result < 0)
      this.#parts.diag.warn(`stdio_input read failed: ${this.#parts.sys.strerror(result)} (stream ${source.stream})`);
    this.#settle(source.stream, true);
    this.#close(source);
  }

  #close(source: Source): void {
    if (source.fd === -1) return;
    source.fd = -1;
  }

  /** @param last whether nothing ever follows */
  #settle(stream: Stream, last: boolean): void {
    this.#feed.settle(stream, last);
  }

  #holdsPartial(): boolean {
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[i];
      if (source !== undefined && this.#feed.holdsPartial(source.stream)) return true;
    }
    return false;
  }

  #hungUp(): boolean {
    for (let i = 0; i < this.#sources.length; i++) if (this.#sources[i]?.hungUp === true) return true;
    return false;
  }

  /**
   * The last chance of stalled drivers: one more attempt; a reader who is only slow has a second, a sink that goes on taking
   * and is worth waiting for ten. Then they drop.
   */
  *#finish(): Steps<void> {
    const startMs = this.#now();
    for (const slot of this.#feed.drivers) {
      for (;;) {
        this.#feed.retry(slot);
        for (const source of this.#sources) this.#settle(source.stream, true);
        const mostMs = this.#feed.patient(slot) ? PATIENT_END_MS : SLOW_READER_MS;
        const leftMs = Math.ceil(startMs + mostMs - this.#now());
        const fd = this.#feed.waitFd(slot);
        if (fd === -1 || leftMs <= 0) break;
        const wakeMs = Math.max(Math.ceil(this.#feed.wakesAtMs(slot) - this.#now()), 0);
        this.#request.set = Int32Array.of(fd, POLLOUT);
        this.#request.count = 1;
        this.#request.timeoutMs = Math.min(leftMs, wakeMs);
        yield this.#request;
      }
    }
    this.#feed.limit(0);
    for (const source of this.#sources) this.#settle(source.stream, true);
    this.#feed.shed();
  }
}

/** For so many fds, and one that who polls may add (PollRequest). */
function pollSet(fds: number): Int32Array<ArrayBuffer> {
  return new Int32Array(2 * (fds + 1));
}
