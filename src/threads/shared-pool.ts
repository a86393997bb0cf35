/**
 * Threads for the sessions that have joined a daemon: one for all their logs, one for all their attach clients, each
 * started for the first who needs it and kept. To a session it looks like a thread of its own (./pool.ts). Main thread.
 */

import type { MessagePort } from 'node:worker_threads';
import type { Diag } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import type { Sys } from '../native/sys.ts';
import type { FromSharedWorker, Role, RunLoop, SharedTask, ToLoop, ToSharedWorker } from '../proto/shared-messages.ts';
import type { Doorbell } from '../ring/doorbell.ts';
import { keepBackgroundBehind } from './background.ts';
import { createDoorbell } from './log-worker.ts';
import { MainLogs } from './main-logs.ts';
import { UsedMemories } from './memories.ts';
import { type Owner, type Pool, type Running, WorkerPool, workerThreads } from './pool.ts';

/** Who waits for a loop. */
interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly heard: (message: unknown) => void;
}

/** One thread, and who waits for a loop on it. */
interface Thread {
  readonly port: MessagePort;
  readonly doorbell: Doorbell;
  readonly waiting: Map<number, Waiting>;
  /** Memories that it was given and keeps, by their numbers. */
  readonly knows: Set<number>;
}

/**
 * What is said to a loop in one turn of main goes out at its end, together: for a short exec the loop itself, its sources
 * and its end, with one message and one wake-up of the thread.
 */
class Outbox {
  readonly #send: (messages: readonly ToLoop[], first: boolean) => void;
  #messages: ToLoop[] = [];
  #first = true;

  constructor(send: (messages: readonly ToLoop[], first: boolean) => void) {
    this.#send = send;
  }

  put(message: ToLoop): void {
    this.#messages.push(message);
    if (this.#messages.length === 1) queueMicrotask(() => this.flush());
  }

  flush(): void {
    const messages = this.#messages;
    this.#messages = [];
    if (messages.length > 0 || this.#first) this.#send(messages, this.#first);
    this.#first = false;
  }
}

export class SharedPool implements Pool {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #pool = new WorkerPool();
  readonly #threads = new Map<Role, Thread>();
  readonly memories: UsedMemories;
  #mainLogs: MainLogs | undefined;
  /** The number of each memory that a thread may know. */
  readonly #memoryIds = new Map<WebAssembly.Memory, number>();
  #lastId = 0;

  constructor(sys: Sys, diag: Diag) {
    this.#sys = sys;
    this.#diag = diag;
    this.memories = new UsedMemories(sys, (memory) => this.#forget(memory));
    keepBackgroundBehind(sys, diag);
  }

  /** No session has come for a moment. */
  rest(): void {
    this.memories.rest();
  }

  /** For all of them one. Throws what MainLogs throws. */
  get mainLogs(): MainLogs {
    this.#mainLogs ??= new MainLogs(this.#sys, this.#diag);
    return this.#mainLogs;
  }

  /** Throws ConmonError DOORBELL, and when no thread can be had. */
  run<Task extends { readonly memory: WebAssembly.Memory }, To, From, Result>(
    role: Role,
    task: Task,
    owner: Owner<From>,
  ): Running<To, Result> {
    const thread = this.#threads.get(role) ?? this.#start(role);
    const id = ++this.#lastId;
    const done = new Promise<unknown>((resolve, reject) => {
      thread.waiting.set(id, { resolve, reject, heard: (message) => owner.heard(message as From) });
    });
    const outbox = new Outbox((messages, first) => {
      if (!thread.waiting.has(id)) return; // it has ended meanwhile: nobody hears it, and the doorbells may be closed
      if (first) this.#begin(thread, { id, role, task, messages });
      else thread.port.postMessage({ kind: 'tell', id, messages } satisfies ToSharedWorker);
      (first ? thread.doorbell : owner.doorbell).ring();
    });
    if (role !== 'log') queueMicrotask(() => outbox.flush());
    // What a loop is told is its role's.
    return { tell: (message) => outbox.put(message as ToLoop), done: done as Promise<Result> };
  }

  #begin(
    thread: Thread,
    loop: Pick<RunLoop, 'id' | 'role' | 'messages'> & { readonly task: { readonly memory: WebAssembly.Memory } },
  ): void {
    const { memory, ...task } = loop.task;
    const memoryId = this.#memoryIds.get(memory) ?? loop.id;
    this.#memoryIds.set(memory, memoryId);
    const place = { memoryId, memory: thread.knows.has(memoryId) ? undefined : memory };
    thread.knows.add(memoryId);
    // So is its task.
    thread.port.postMessage({ kind: 'run', ...loop, ...place, task } as unknown as ToSharedWorker);
  }

  /** Heard with what is said next: nobody is woken for it. */
  #forget(memory: WebAssembly.Memory): void {
    const memoryId = this.#memoryIds.get(memory);
    if (memoryId === undefined) return;
    this.#memoryIds.delete(memory);
    for (const thread of this.#threads.values())
      if (thread.knows.delete(memoryId)) thread.port.postMessage({ kind: 'forget', memoryId } satisfies ToSharedWorker);
  }

  #start(role: Role): Thread {
    const doorbell = createDoorbell(this.#sys);
    const { MessageChannel } = workerThreads();
    const { port1, port2 } = new MessageChannel();
    const thread: Thread = { port: port1, doorbell, waiting: new Map(), knows: new Set() };
    port1.on('message', (message: FromSharedWorker) => take(thread, message));
    port1.unref();
    const task: SharedTask = { port: port2, doorbellFd: doorbell.fd };
    let ended: Promise<never>;
    try {
      ended = this.#pool.start<SharedTask, never>('shared', task, [port2]);
    } catch (error) {
      port1.close();
      this.#sys.close(doorbell.fd);
      throw error;
    }
    this.#threads.set(role, thread);
    ended.catch((error: unknown) => this.#died(role, thread, error));
    return thread;
  }

  /** Each session hears of it as of a thread of its own, and asks for another. */
  #died(role: Role, thread: Thread, error: unknown): void {
    this.#diag.error(`the ${role} thread of joined execs died: ${errorText(error)}`);
    this.#threads.delete(role);
    thread.port.close();
    this.#sys.close(thread.doorbell.fd);
    for (const { reject } of thread.waiting.values()) reject(error);
    thread.waiting.clear();
  }
}

function take({ waiting }: Thread, message: FromSharedWorker): void {
  const each = waiting.get(message.id);
  if (message.kind === 'said') {
    each?.heard(message.message);
    return;
  }
  waiting.delete(message.id);
  if (message.error === undefined) each?.resolve(message.result);
  else each?.reject(new ConmonError('WORKER', message.error));
}
