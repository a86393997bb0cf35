/**
 * The main thread's handle of a session's log worker: makes the shared memory, starts the thread, passes messages and
 * decides what happens when the thread dies. It never touches stream bytes.
 */

import type { Diag, DiagPlan } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import { DriverField, driverState } from '../log/driver-state.ts';
import { Loss } from '../log/loss.ts';
import { replaceUnwritten } from '../log/unwritten.ts';
import type { Sys } from '../native/sys.ts';
import type {
  DriverTarget,
  FromLogWorker,
  LogCounters,
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
  LOG_CONSUMER,
  memoryBytes,
  POSITION_MASK,
  type RingGeometry,
  Word,
} from '../ring/layout.ts';
import { freshMemories, type Memories } from './memories.ts';
import type { Pool, Running } from './pool.ts';

/** What a slow client may hold: several reads. And what a stalled log may: one long read and two short ones behind it. */
const SOFT_BYTES = (3 << 19) + 4096;
/** And as much again for each pipe of 1 MiB at the container's end. Memory that is never used costs nothing. */
const CAPACITY_BYTES = 1 << 22;
/** The largest read, formatted, from lines of 180 bytes on; shorter ones take several rounds. */
const OUTPUT_BYTES = 5 << 18;
/** Output areas of one file: stdout's and stderr's. */
const OUTPUTS_A_TARGET = 2;
/** Deaths after which the worker is not started again, unless the last one had lived for a while. */
const DEATHS_MAX = 3;
const STEADY_MS = 60_000;

export interface LogWorkerPlan {
  readonly targets: readonly DriverTarget[];
  readonly limits: SizeLimits;
  readonly rotation: RotationPlan;
  readonly syncLog: boolean;
  readonly diag: DiagPlan;
}

export class LogWorker {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #plan: LogWorkerPlan;
  readonly #pool: Pool;
  readonly #memories: Memories;
  readonly #onEnded: (counters: LogCounters | undefined) => void;
  /** What an attach worker needs to read the ring: the memory, its geometry, and both sides' doorbells. */
  readonly geometry: RingGeometry;
  readonly memory: WebAssembly.Memory;
  readonly doorbell: Doorbell;
  readonly attachDoorbell: Doorbell;
  #running: Running<ToLogWorker, LogCounters> | undefined;
  /** What the thread was told; one that takes over is told again. */
  readonly #told: ToLogWorker[] = [];
  #deaths = 0;
  #startedMs = 0;
  #hasDied = false;
  #lost = false;
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
    const doorbells: Doorbell[] = [];
    try {
      this.doorbell = createDoorbell(sys);
      doorbells.push(this.doorbell);
      this.attachDoorbell = createDoorbell(sys);
      doorbells.push(this.attachDoorbell);
      this.#start();
    } catch (error) {
      for (const { fd } of doorbells) sys.close(fd);
      this.#memories.put(this.memory, false);
      throw error;
    }
  }

  begin(sources: readonly Source[]): void {
    this.#tell({ kind: 'begin', sources });
  }

  /** A client waits to be accepted: from now on the ring keeps what comes, for the attach worker that is to start. */
  keepForClients(): void {
    new RingConsumer(this.memory, this.geometry.capacityBytes, ATTACH_CONSUMER, this.doorbell).request();
  }

  /** After all there is no attach worker: nothing is kept. */
  forgetClients(): void {
    new RingConsumer(this.memory, this.geometry.capacityBytes, ATTACH_CONSUMER, this.doorbell).leave();
  }

  /** Gives doorbells and memory back, once neither worker is there any longer. `intact`: no attach worker has died. */
  close(intact: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#memories.put(this.memory, intact && !this.#hasDied);
    for (const { fd } of [this.doorbell, this.attachDoorbell]) this.#sys.close(fd);
    // A worker that ends as it should closes its files; one that was lost did not.
    if (this.#lost) for (const target of this.#plan.targets) if ('fd' in target) this.#sys.close(target.fd);
  }

  /** An engine waits for the new file without a limit: it gets one also when nobody is left to write to it. */
  reopen(): void {
    if (this.#lost) replaceUnwritten(this.#sys, this.#diag, this.#plan.targets, this.#plan.rotation);
    else this.#tell({ kind: 'reopen' });
  }

  end(drain: boolean): void {
    this.#tell({ kind: 'end', drain });
  }

  #tell(message: ToLogWorker): void {
    if (this.#closed) return;
    this.#told.push(message);
    this.#running?.tell(message);
  }

  #start(): void {
    const task: LogTask = {
      memory: this.memory,
      geometry: this.geometry,
      doorbellFd: this.doorbell.fd,
      attachDoorbellFd: this.attachDoorbell.fd,
      ...this.#plan,
    };
    const heard = (message: FromLogWorker): void => this.#heard(message);
    const running = this.#pool.run<LogTask, ToLogWorker, FromLogWorker, LogCounters>('log', task, {
      doorbell: this.doorbell,
      heard,
    });
    this.#running = running;
    this.#startedMs = performance.now();
    for (const message of this.#told) running.tell(message);
    running.done.then(
      (counters) => this.#finish(counters),
      (error: unknown) => this.#died(error),
    );
  }

  #heard(message: FromLogWorker): void {
    this.#diag.debug(`log worker: ${message.kind}`);
    // Done is done: a worker that takes over must not replace the new file once more.
    const done = this.#told.findIndex(({ kind }) => kind === 'reopen');
    if (done !== -1) this.#told.splice(done, 1);
  }

  #died(error: unknown): void {
    if (performance.now() - this.#startedMs > STEADY_MS) this.#deaths = 0;
    this.#deaths++;
    this.#diag.error(`log worker died (${this.#deaths} of ${DEATHS_MAX}): ${errorText(error)}`);
    this.#running = undefined;
    this.#hasDied = true;
    // It may have died amid clients; and of its last record the attach thread may not have been told.
    new Baton(this.memory).logThreadDied();
    this.attachDoorbell.ring();
    if (this.#deaths < DEATHS_MAX) {
      this.#start();
      return;
    }
    this.#lost = true;
    this.#tellLost();
    this.#finish(undefined);
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
    this.#running = undefined;
    this.#onEnded(counters);
  }
}

/** Throws ConmonError DOORBELL when the machine has no fds left. */
export function createDoorbell(sys: Sys): Doorbell {
  const fd = Doorbell.createFd(sys);
  if (fd < 0) throw new ConmonError('DOORBELL', 'Failed to create eventfd', { reason: sys.strerror(fd) });
  return new Doorbell(sys, fd);
}
