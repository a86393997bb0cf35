/**
 * The main thread's handle of a session's log loop: makes the shared memory, starts the loop, on main itself while its logs
 * are quiet (./main-logs.ts) or on a thread, passes messages, and decides where it goes on and what happens when it dies.
 * Main thread.
 */

import type { Diag, DiagPlan } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import { newCounters } from '../log/counters.ts';
import { DriverField, driverState } from '../log/driver-state.ts';
import { Loss } from '../log/loss.ts';
import { replaceUnwritten } from '../log/unwritten.ts';
import type { Sys } from '../native/sys.ts';
import type {
  DriverTarget,
  FromLogWorker,
  LogCounters,
  LogResult,
  LogTask,
  RotationPlan,
  SizeLimits,
  Source,
  ToLogWorker,
} from '../proto/log-messages.ts';
import { Baton } from '../ring/baton.ts';
import { RingConsumer } from '../ring/consumer.ts';
import { Doorbell } from '../ring/doorbell.ts';
import {
  ATTACH_CONSUMER,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  firstTouched,
  LOG_CONSUMER,
  memoryBytes,
  POSITION_MASK,
  type RingGeometry,
  Word,
} from '../ring/layout.ts';
import { isBetweenRecords, type MainLogs, type Pacing, type QuietLog } from './main-logs.ts';
import { freshMemories, type Memories } from './memories.ts';
import type { Pool } from './pool.ts';

/** What a slow client may hold: two reads. And what a stalled log may: a read of 1 MiB, and room behind it. */
const SOFT_BYTES = (3 << 19) + 4096;
/** And as much again for each pipe of 1 MiB at the container's end. Memory that is never used costs nothing. */
const CAPACITY_BYTES = 1 << 22;
/** The largest read, formatted, from lines of 180 bytes on; shorter ones take several rounds. */
const OUTPUT_BYTES = 5 << 18;
/** Output areas of one file: stdout's and stderr's. */
const OUTPUTS_A_TARGET = 2;
/** Deaths, each within so long of the one before, after which the worker is not started again. */
const DEATHS_MAX = 3;
const STEADY_MS = 60_000;
/** A thread for a flood that could not be started, for want of fds or threads, is not asked for again before. */
const NO_THREAD_MS = 1000;

export interface LogWorkerPlan {
  readonly targets: readonly DriverTarget[];
  readonly limits: SizeLimits;
  readonly rotation: RotationPlan;
  readonly syncLog: boolean;
  readonly diag: DiagPlan;
  /** Who runs the loop on main, of logs that may be there; absent = a thread has it from the start. */
  readonly mainLogs?: (() => MainLogs) | undefined;
  /** Gives back what is main's, when threads have left; absent = it is not given back. */
  readonly giveBack?: () => void;
}

/** Where a loop runs. */
interface Place {
  readonly kind: 'main' | 'thread';
  tell(message: ToLogWorker): void;
}

export class LogWorker {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #plan: LogWorkerPlan;
  readonly #pool: Pool;
  readonly #memories: Memories;
  readonly #mainLogs: MainLogs | undefined;
  readonly #onEnded: (counters: LogCounters | undefined) => void;
  /** What an attach worker needs to read the ring: the memory, its geometry, and {@link doorbells}. */
  readonly geometry: RingGeometry;
  readonly memory: WebAssembly.Memory;
  /** Both sides' doorbells, from the first thread on. */
  #doorbells: Doorbells | undefined;
  #place: Place | undefined;
  #quiet: QuietLog | undefined;
  #counters: LogCounters = newCounters();
  #looking: ReturnType<typeof setInterval> | undefined;
  /** What the thread was told; one that takes over is told again. */
  readonly #told: ToLogWorker[] = [];
  #deaths = 0;
  /** On performance.now()'s clock. */
  #diedMs = Number.NEGATIVE_INFINITY;
  /** On performance.now()'s clock: main keeps the loop until then, whatever comes. */
  #onMainUntilMs = 0;
  /** Somebody is attached, or about to be. */
  #clients = false;
  #hasDied = false;
  #lost = false;
  #finished = false;
  #closed = false;

  /** Takes the fds of `plan` over. `onEnded` is called once: with the totals, or without when the worker was lost for good. */
  constructor(
    sys: Sys,
    diag: Diag,
    pool: Pool,
    plan: LogWorkerPlan,
    onEnded: (counters: LogCounters | undefined) => void,
  ) {
    this.#sys = sys;
    this.#diag = diag;
    this.#plan = plan;
    this.#pool = pool;
    this.#onEnded = onEnded;
    this.geometry = {
      capacityBytes: CAPACITY_BYTES,
      softBytes: SOFT_BYTES,
      outputBytes: OUTPUT_BYTES,
      outputCount: OUTPUTS_A_TARGET * plan.targets.length,
    };
    this.#memories = pool.memories ?? freshMemories;
    this.memory = this.#memories.take(memoryBytes(this.geometry));
    // The log thread itself is consumer 0, from the first byte on.
    new Int32Array(this.memory.buffer)[consumerBase(LOG_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    this.#mainLogs = this.#loadMainLogs();
    try {
      if (this.#mainLogs) this.#startOnMain(this.#mainLogs);
      else this.#startThread();
    } catch (error) {
      this.#closeDoorbells();
      this.#memories.put(this.memory, false);
      throw error;
    }
  }

  /** Of a conmon that was replaced meanwhile nothing fits; a thread says so. */
  #loadMainLogs(): MainLogs | undefined {
    try {
      return this.#plan.mainLogs?.();
    } catch (error) {
      this.#diag.debug(`logs are not written by main: ${errorText(error)}`);
      return undefined;
    }
  }

  /** Throws ConmonError DOORBELL when the machine has no fds left. */
  get doorbells(): Doorbells {
    if (this.#doorbells === undefined) {
      const own = createDoorbell(this.#sys);
      try {
        this.#doorbells = { own, attach: createDoorbell(this.#sys) };
      } catch (error) {
        this.#sys.close(own.fd);
        throw error;
      }
    }
    return this.#doorbells;
  }

  begin(sources: readonly Source[]): void {
    this.#tell({ kind: 'begin', sources });
  }

  /**
   * A client waits to be accepted: from now on the ring keeps what comes, for the attach worker that is to start. Throws
   * ConmonError DOORBELL.
   */
  keepForClients(): void {
    if (this.#doorbells === undefined) {
      this.doorbells; // before the loop that has none is given up
      if (this.#quiet && this.#mainLogs) this.#goOnOnMain(this.#mainLogs);
    }
    this.#clients = true;
    this.#attachConsumer().request();
  }

  /** After all there is no attach worker: nothing is kept. */
  forgetClients(): void {
    this.#attachConsumer().leave();
    this.clientsLeft();
  }

  /** There is no attach worker any longer, and the ring keeps nothing for one: main needs no doorbell then. */
  clientsLeft(): void {
    this.#clients = false;
    if (this.#quiet === undefined || this.#mainLogs === undefined) return;
    // For two fds no record is cut.
    if (!isBetweenRecords(this.#task())) return;
    this.#quiet.stop(); // it watches what is closed now
    this.#closeDoorbells();
    this.#goOnOnMain(this.#mainLogs);
  }

  #attachConsumer(): RingConsumer {
    return new RingConsumer(this.memory, this.geometry.capacityBytes, ATTACH_CONSUMER, this.doorbells.own);
  }

  /** Gives doorbells and memory back, once neither worker is there any longer. `intact`: no attach worker has died. */
  close(intact: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#memories.put(this.memory, intact && !this.#hasDied, firstTouched(this.geometry));
    this.#closeDoorbells();
    // A worker that ends as it should closes its files; one that was lost did not.
    if (this.#lost) for (const target of this.#plan.targets) if ('fd' in target) this.#sys.close(target.fd);
  }

  #closeDoorbells(): void {
    if (this.#doorbells === undefined) return;
    for (const { fd } of [this.#doorbells.own, this.#doorbells.attach]) this.#sys.close(fd);
    this.#doorbells = undefined;
  }

  /** An engine waits for the new file without a limit: it gets one also when nobody is left to write to it. */
  reopen(): void {
    if (this.#finished) this.#replaceUnwritten();
    else this.#tell({ kind: 'reopen' });
  }

  #replaceUnwritten(): void {
    replaceUnwritten(this.#sys, this.#diag, this.#plan.targets, this.#plan.rotation);
  }

  end(drain: boolean): void {
    this.#tell({ kind: 'end', drain });
  }

  #tell(message: ToLogWorker): void {
    this.#told.push(message);
    this.#place?.tell(message);
  }

  #task(): LogTask {
    const { mainLogs: _, giveBack: __, ...plan } = this.#plan;
    return {
      memory: this.memory,
      geometry: this.geometry,
      counters: this.#counters,
      doorbellFd: this.#doorbells?.own.fd ?? -1,
      attachDoorbellFd: this.#doorbells?.attach.fd ?? -1,
      ...plan,
    };
  }

  #startThread(): void {
    const { own } = this.doorbells;
    const heard = (message: FromLogWorker): void => this.#heard(message);
    const running = this.#pool.run<LogTask, ToLogWorker, FromLogWorker, LogResult>('log', this.#task(), {
      doorbell: own,
      heard,
    });
    this.#begun({ kind: 'thread', tell: (message) => running.tell(message) });
    if (this.#mainLogs) this.#lookLater(this.#mainLogs.pacing);
    running.done.then(
      (result) => this.#done(result),
      (error: unknown) => this.#died(error),
    );
  }

  /** Instead of one that runs there, if there is one. */
  #startOnMain(mainLogs: MainLogs): void {
    this.#quiet?.stop();
    const quiet = mainLogs.run(this.#task(), {
      diag: this.#diag,
      heard: (message) => this.#heard(message),
      onBusy: () => this.#busy(),
      onEnd: (result, error) => {
        if (result) this.#done(result);
        else this.#died(error);
      },
    });
    this.#quiet = quiet;
    this.#begun({ kind: 'main', tell: (message) => quiet.tell(message) });
  }

  /** It is told what its predecessors were told. */
  #begun(place: Place): void {
    this.#place = place;
    for (const message of this.#told) place.tell(message);
  }

  /** A thread goes on, with all that is in the shared memory. The container's end is main's to see through. */
  #busy(): void {
    const nowMs = performance.now();
    if (nowMs < this.#onMainUntilMs || this.#told.some(({ kind }) => kind === 'end')) return;
    try {
      this.doorbells;
      this.#diag.debug('a thread goes on with the logs');
      this.#quiet?.stop();
      this.#quiet = undefined;
      this.#startThread();
    } catch (error) {
      this.#onMainUntilMs = nowMs + NO_THREAD_MS;
      this.#diag.debug(`main goes on with the logs: ${errorText(error)}`);
      if (this.#quiet === undefined && this.#mainLogs) this.#goOnOnMain(this.#mainLogs);
    }
  }

  #heard(message: FromLogWorker): void {
    this.#diag.debug(`log worker: ${message.kind}`);
    // Done is done: a worker that takes over must not replace the new file once more.
    const done = this.#told.findIndex(({ kind }) => kind === 'reopen');
    if (done !== -1) this.#told.splice(done, 1);
  }

  /** Asks the thread now and then whether it is still worth its memory. */
  #lookLater({ calmBytes, calmMs }: Pacing): void {
    this.#stopLooking();
    this.#looking = setInterval(() => this.#place?.tell({ kind: 'leave', belowBytes: calmBytes }), calmMs);
  }

  #done({ counters, left }: LogResult): void {
    this.#counters = counters;
    if (left && this.#mainLogs) this.#backOnMain(this.#mainLogs);
    else this.#finish(counters);
  }

  #backOnMain(mainLogs: MainLogs): void {
    this.#diag.debug('main goes on with the logs');
    this.#stopLooking();
    if (!this.#clients) this.#closeDoorbells();
    this.#goOnOnMain(mainLogs);
  }

  /** The loop before is gone, or will be: without another one nobody would read what the container says. */
  #goOnOnMain(mainLogs: MainLogs): void {
    try {
      this.#startOnMain(mainLogs);
    } catch (error) {
      this.#died(error);
    }
  }

  #stopLooking(): void {
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  /** What has died on a thread goes on here, where it can, and the other way round. */
  #died(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#diedMs > STEADY_MS) this.#deaths = 0;
    this.#diedMs = nowMs;
    this.#deaths++;
    this.#diag.error(`log worker died (${this.#deaths} of ${DEATHS_MAX}): ${errorText(error)}`);
    const wasOnMain = this.#place?.kind === 'main';
    this.#stopLooking();
    this.#place = undefined;
    this.#quiet = undefined;
    this.#hasDied = true;
    // It may have died amid clients; and of its last record the attach thread may not have been told.
    new Baton(this.memory).logThreadDied();
    this.#doorbells?.attach.ring();
    if (this.#deaths < DEATHS_MAX && this.#startAgain(!wasOnMain)) return;
    this.#lost = true;
    this.#tellLost();
    this.#finish(undefined);
  }

  /** Where it was not; if that cannot be, where it was. */
  #startAgain(onMain: boolean): boolean {
    for (const main of [onMain, !onMain])
      try {
        if (!main) this.#startThread();
        else if (this.#mainLogs) {
          this.#onMainUntilMs = performance.now() + STEADY_MS;
          this.#startOnMain(this.#mainLogs);
        } else continue;
        return true;
      } catch (error) {
        this.#diag.error(`the log worker cannot be started again: ${errorText(error)}`);
      }
    return false;
  }

  /** Nobody writes the logs any longer: what they lack so far. What comes from now on is counted by who discards it. */
  #tellLost(): void {
    const words = new Int32Array(this.memory.buffer);
    const tail = Atomics.load(words, Word.tail);
    this.#plan.targets.forEach((target, index) => {
      const state = driverState(this.memory, index);
      const name = target.driver === 'journald' ? 'journald' : target.path;
      const unwritten = (tail - (state[DriverField.position] ?? 0)) & POSITION_MASK;
      this.#diag.error(`log ${name} ends here: its worker is lost, with about ${unwritten} bytes that it had read`);
      new Loss(this.#sys, this.#diag, name, state).report();
    });
  }

  #finish(counters: LogCounters | undefined): void {
    this.#place = undefined;
    this.#quiet = undefined;
    this.#finished = true;
    this.#stopLooking();
    // Asked for when the loop listened no longer: it was making its files durable, which may take a while, or is lost.
    if (this.#told.some(({ kind }) => kind === 'reopen')) this.#replaceUnwritten();
    this.#onEnded(counters);
  }
}

/** The log loop's own, and the attach worker's. */
export interface Doorbells {
  readonly own: Doorbell;
  readonly attach: Doorbell;
}

/** Throws ConmonError DOORBELL when the machine has no fds left. */
export function createDoorbell(sys: Sys): Doorbell {
  const fd = Doorbell.createFd(sys);
  if (fd < 0) throw new ConmonError('DOORBELL', 'Failed to create eventfd', { reason: sys.strerror(fd) });
  return new Doorbell(sys, fd);
}
