/**
 * The main thread's handle of a session's attach worker: starts a thread when a client waits, passes messages, owns the
 * container's stdin, and cleans up after a thread that died. A thread leaves when nobody is attached for a while; the
 * next client starts another. It never talks to clients.
 */

import type { Diag, DiagPlan } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import type { Sys } from '../native/sys.ts';
import type {
  AttachCounters,
  AttachResult,
  AttachTask,
  FromAttachWorker,
  ToAttachWorker,
} from '../proto/attach-messages.ts';
import { Baton } from '../ring/baton.ts';
import { RingConsumer } from '../ring/consumer.ts';
import { ATTACH_CONSUMER, CLIENT_FDS_COUNT, CLIENT_FDS_OFFSET } from '../ring/layout.ts';
import type { LogWorker } from './log-worker.ts';
import type { Pool, Running } from './pool.ts';

/** Deaths after which no other worker is started: clients are then turned away. */
const DEATHS_MAX = 3;
/** A log thread that sends, which takes microseconds, is looked at again. */
const USED_LOOK_MS = 1;

export interface AttachPlan {
  /** Listening and non-blocking; stays the caller's. */
  readonly listenFd: number;
  readonly closeStdin: boolean;
  readonly stallTimeoutMs: number;
  readonly unusedMs: number;
  readonly diag: DiagPlan;
}

export class AttachWorker {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #pool: Pool;
  readonly #log: LogWorker;
  readonly #plan: AttachPlan;
  readonly #onLeft: () => void;
  /** The thread that runs. */
  #running: Running<ToAttachWorker, AttachResult> | undefined;
  /** Undefined until it is known; -1 = there is none, or it was closed. */
  #stdinFd: number | undefined;
  /** A client has ended the container's input. */
  #stdinEnded = false;
  #ending = false;
  #deaths = 0;

  /** `onLeft` is called each time a thread has left, or died: nobody listens for clients any longer. */
  constructor(sys: Sys, diag: Diag, pool: Pool, log: LogWorker, plan: AttachPlan, onLeft: () => void) {
    this.#sys = sys;
    this.#diag = diag;
    this.#pool = pool;
    this.#log = log;
    this.#plan = plan;
    this.#onLeft = onLeft;
  }

  /** Whether the memory is as a worker leaves it. */
  get intact(): boolean {
    return this.#deaths === 0;
  }

  /** False once too many threads have died: {@link serve} does nothing then. */
  get usable(): boolean {
    return this.#deaths < DEATHS_MAX;
  }

  /** Starts a thread, unless one runs: a client is in the backlog, and the ring was asked to keep records for it. */
  serve(): void {
    if (this.#running !== undefined || !this.usable) return;
    const { own, attach } = this.#log.doorbells;
    const task: AttachTask = {
      memory: this.#log.memory,
      geometry: this.#log.geometry,
      doorbellFd: attach.fd,
      logDoorbellFd: own.fd,
      ...this.#plan,
    };
    const running = this.#pool.run<AttachTask, ToAttachWorker, FromAttachWorker, AttachResult>('attach', task, {
      doorbell: attach,
      heard: () => this.#heard(),
    });
    this.#running = running;
    if (this.#stdinFd !== undefined) this.#tell({ kind: 'stdin', fd: this.#stdinFd });
    if (this.#ending) this.#tell({ kind: 'end' });
    running.done.then(
      ({ why, counters }) => this.#left(why, counters),
      (error: unknown) => this.#died(error),
    );
  }

  /** Hands the container's stdin over, which is closed when its input ends; -1 = it has none. */
  stdin(fd: number): void {
    this.#stdinFd = fd;
    if (this.#stdinEnded) this.#closeStdin();
    else this.#tell({ kind: 'stdin', fd });
  }

  /** The container is gone: what is left is given to the clients, then the thread ends. */
  end(): void {
    this.#ending = true;
    this.#tell({ kind: 'end' });
  }

  #tell(message: ToAttachWorker): void {
    this.#running?.tell(message);
  }

  /** The one thing that it has to say: {@link FromAttachWorker}. */
  #heard(): void {
    this.#stdinEnded = true;
    this.#closeStdin();
  }

  /** No thread comes any more: what was handed over is closed. */
  release(): void {
    this.#closeStdin();
  }

  #closeStdin(): void {
    if (this.#stdinFd === undefined || this.#stdinFd === -1) return;
    this.#sys.close(this.#stdinFd);
    this.#stdinFd = -1;
  }

  #left(why: AttachResult['why'], counters: AttachCounters): void {
    this.#diag.debug(`attach worker left, ${why}: ${JSON.stringify(counters)}`);
    this.#running = undefined;
    this.#onLeft();
  }

  /**
   * The log thread may be sending to the clients at this moment: their fds are closed once it is not. The ring must not wait
   * for one who reads no more, nor clients for one who has nothing to say.
   */
  #died(error: unknown): void {
    this.#deaths++;
    this.#diag.error(`attach worker died (${this.#deaths} of ${DEATHS_MAX}): ${errorText(error)}`);
    this.#clearUp();
  }

  #clearUp(): void {
    const { memory, geometry, doorbells } = this.#log;
    if (!new Baton(memory).tryWithdraw()) {
      setTimeout(() => this.#clearUp(), USED_LOOK_MS);
      return;
    }
    this.#running = undefined;
    const clientFds = new Int32Array(memory.buffer, CLIENT_FDS_OFFSET, CLIENT_FDS_COUNT);
    for (const fd of clientFds) if (fd !== 0) this.#sys.close(fd);
    clientFds.fill(0);
    new RingConsumer(memory, geometry.capacityBytes, ATTACH_CONSUMER, doorbells.own).leave();
    this.#onLeft();
  }
}
