/**
 * The main thread's handle of a session's attach worker: starts the thread for the first client, passes messages, and
 * starts another when it dies. It never talks to clients.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Diag, DiagPlan } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import type { AttachCounters, AttachTask, ToAttachWorker } from '../proto/attach-messages.ts';
import { RingConsumer } from '../ring/consumer.ts';
import { ATTACH_CONSUMER } from '../ring/layout.ts';
import type { LogWorker } from './log-worker.ts';
import type { WorkerPool } from './pool.ts';

/** Deaths after which no other worker is started: clients are then left in the backlog. */
const DEATHS_MAX = 3;

export interface AttachPlan {
  /** Listening and non-blocking; stays the caller's. */
  readonly listenFd: number;
  readonly closeStdin: boolean;
  readonly stallTimeoutMs: number;
  readonly diag: DiagPlan;
}

export class AttachWorker {
  readonly #diag: Diag;
  readonly #pool: WorkerPool;
  readonly #log: LogWorker;
  readonly #plan: AttachPlan;
  readonly #onEnded: (counters: AttachCounters | undefined) => void;
  #port: MessagePort | undefined;
  /** The container's stdin is a worker's, perhaps of one that died with it. */
  #stdinTold = false;
  #ending = false;
  #deaths = 0;

  /** `onEnded` is called once: with the totals, or without when the worker was lost for good. */
  constructor(
    diag: Diag,
    pool: WorkerPool,
    log: LogWorker,
    plan: AttachPlan,
    onEnded: (counters: AttachCounters | undefined) => void,
  ) {
    this.#diag = diag;
    this.#pool = pool;
    this.#log = log;
    this.#plan = plan;
    this.#onEnded = onEnded;
    this.#start();
  }

  /** Hands the container's stdin over; -1 = it has none. */
  stdin(fd: number): void {
    this.#stdinTold = true;
    this.#tell({ kind: 'stdin', fd });
  }

  end(): void {
    this.#ending = true;
    this.#tell({ kind: 'end' });
  }

  #tell(message: ToAttachWorker): void {
    if (this.#port === undefined) return;
    this.#port.postMessage(message);
    this.#log.attachDoorbell.ring();
  }

  #start(): void {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const task: AttachTask = {
      memory: this.#log.memory,
      geometry: this.#log.geometry,
      port: port2,
      doorbellFd: this.#log.attachDoorbell.fd,
      logDoorbellFd: this.#log.doorbell.fd,
      ...this.#plan,
    };
    this.#pool.run<AttachTask, AttachCounters>('attach', task, [port2]).then(
      (counters) => this.#finish(counters),
      (error: unknown) => this.#died(error),
    );
  }

  /**
   * The ring must not wait for one who reads no more. A new worker serves new clients; the container's stdin has died
   * with the old one: nobody knows whether it had closed it.
   */
  #died(error: unknown): void {
    this.#deaths++;
    this.#diag.error(`attach worker died (${this.#deaths} of ${DEATHS_MAX}): ${errorText(error)}`);
    this.#port?.close();
    const { memory, geometry, doorbell } = this.#log;
    new RingConsumer(memory, geometry.capacityBytes, ATTACH_CONSUMER, doorbell).leave();
    if (this.#ending || this.#deaths >= DEATHS_MAX) {
      this.#finish(undefined);
      return;
    }
    this.#log.keepForClients();
    this.#start();
    if (this.#stdinTold) this.stdin(-1);
  }

  #finish(counters: AttachCounters | undefined): void {
    this.#port?.close();
    this.#port = undefined;
    this.#onEnded(counters);
  }
}
