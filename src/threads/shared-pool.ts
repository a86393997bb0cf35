/**
 * Threads for the sessions that have joined a daemon: one for all their logs, one for all their attach clients, each
 * started for the first who needs it and kept. To a session it looks like a thread of its own (./pool.ts). Main thread.
 */

import type { MessagePort } from 'node:worker_threads';
import type { Diag } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import type { Sys } from '../native/sys.ts';
import type { FromSharedWorker, Role, SharedTask, ToSharedWorker } from '../proto/shared-messages.ts';
import type { Doorbell } from '../ring/doorbell.ts';
import { createDoorbell } from './log-worker.ts';
import { type MessagePortLike, type Pool, WorkerPool, workerThreads } from './pool.ts';

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** One thread, and who waits for a loop on it. */
interface Thread {
  readonly port: MessagePort;
  readonly doorbell: Doorbell;
  readonly waiting: Map<number, Waiting>;
}

export class SharedPool implements Pool {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #pool = new WorkerPool();
  readonly #threads = new Map<Role, Thread>();
  #lastId = 0;

  constructor(sys: Sys, diag: Diag) {
    this.#sys = sys;
    this.#diag = diag;
  }

  /** As WorkerPool.run: the promise is the loop's lifetime. Throws ConmonError DOORBELL. */
  run<Task, Result>(role: Role, task: Task, transfer: readonly MessagePortLike[]): Promise<Result> {
    const thread = this.#threads.get(role) ?? this.#start(role);
    const id = ++this.#lastId;
    return new Promise<Result>((resolve, reject) => {
      thread.waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      const message = { id, role, task } as ToSharedWorker & { readonly task: Task };
      thread.port.postMessage(message, [...transfer] as MessagePort[]);
      thread.doorbell.ring();
    });
  }

  #start(role: Role): Thread {
    const doorbell = createDoorbell(this.#sys);
    const { MessageChannel } = workerThreads();
    const { port1, port2 } = new MessageChannel();
    const thread: Thread = { port: port1, doorbell, waiting: new Map() };
    this.#threads.set(role, thread);
    port1.on('message', (message: FromSharedWorker) => settle(thread, message));
    port1.unref();
    const task: SharedTask = { port: port2, doorbellFd: doorbell.fd };
    this.#pool
      .run<SharedTask, never>('shared', task, [port2])
      .catch((error: unknown) => this.#died(role, thread, error));
    return thread;
  }

  /** Each session hears of it as of a thread of its own, and asks for another. */
  #died(role: Role, thread: Thread, error: unknown): void {
    this.#diag.error(`the ${role} thread of joined execs died: ${errorText(error)}`);
    this.#threads.delete(role);
    thread.port.close();
    this.#sys.close(thread.doorbell.fd);
    for (const { reject } of thread.waiting.values()) reject(error);
  }
}

function settle({ waiting }: Thread, { id, result, error }: FromSharedWorker): void {
  const each = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) each?.resolve(result);
  else each?.reject(new ConmonError('WORKER', error));
}
