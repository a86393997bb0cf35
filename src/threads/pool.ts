/**
 * The worker pool: one Piscina for the process, one never-ending task a role. A task's promise is its thread's
 * lifetime. Main thread. Piscina is loaded for the first task: a session that never starts a thread does without its
 * 12 ms and 1 MiB (docs/dependencies.md).
 */

import { join } from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import type { Piscina, TaskQueue } from 'piscina';
import { BUILD_VARIABLE, buildId, libexecDir } from '../native/libexec.ts';
import { optimiseAsV8Does } from '../native/tiering.ts';
import type { PortTask } from '../proto/line.ts';
import type { Role } from '../proto/shared-messages.ts';
import type { Doorbell } from '../ring/doorbell.ts';
import { KeptCode } from './kept-code.ts';
import { LeftMemory } from './left-memory.ts';
import type { MainLogs } from './main-logs.ts';
import type { Memories } from './memories.ts';

/** Entries of workers/, bundled under their names: the roles of design section 3, and both for many sessions. */
type Entry = Role | 'shared';

/** A loop that was started. */
export interface Running<ToLoop, Result> {
  /** Says something, and rings. What is said after the end is heard by nobody. */
  tell(message: ToLoop): void;
  /** Settled when the loop has ended, and all that it has said was heard: its result, or why it died. */
  readonly done: Promise<Result>;
}

/** Whose loop it is. */
export interface Owner<FromLoop> {
  /** The loop's own, which it polls. */
  readonly doorbell: Doorbell;
  heard(message: FromLoop): void;
}

/** Whoever runs a session's loops; a thread each, or one for several. */
export interface Pool {
  /** Absent: a memory is used once. */
  readonly memories?: Memories;
  /** Who writes quiet logs on main; absent: who makes the session has one of its own. */
  readonly mainLogs?: MainLogs;
  /** From now on attach loops can be run also when conmon has been replaced; absent: they cannot. */
  keepAttach?(): void;
  /**
   * A log loop has nothing to do before it is told something; it may begin to run only then. Throws when no thread can be
   * had: it may be asked again.
   */
  run<Task extends { readonly memory: WebAssembly.Memory }, ToLoop, FromLoop, Result>(
    role: Role,
    task: Task,
    owner: Owner<FromLoop>,
  ): Running<ToLoop, Result>;
}

/** Young generation and stack of a worker: it allocates next to nothing once it runs. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32, stackSizeMb: 1 };

/** Loaded by who is about to start a thread: it brings Node's streams along, which main has no other use for. */
export function workerThreads(): typeof import('node:worker_threads') {
  optimiseAsV8Does();
  return process.getBuiltinModule('node:worker_threads');
}

/** From a bundle of its own; loaded once. Throws when conmon was taken away meanwhile. */
export function loadPiscina(): typeof import('piscina') {
  // In a bundle there is a require already; the sources, which tests run as they are, have none.
  if (typeof require === 'function') return require('./piscina.cjs') as typeof import('piscina');
  const { createRequire } = process.getBuiltinModule('node:module');
  return createRequire(join(libexecDir, 'threads.cjs'))('./piscina.cjs') as typeof import('piscina');
}

type QueuedTask = Parameters<TaskQueue['push']>[0];

/**
 * Tasks whose thread is not there yet, oldest first. One whose thread could not be had must be taken out: Piscina (5.3) keeps it
 * for whatever thread comes next, beside which runs who has taken its place by then.
 */
class Waiting implements TaskQueue {
  readonly #tasks: QueuedTask[] = [];

  get size(): number {
    return this.#tasks.length;
  }

  get newest(): QueuedTask | undefined {
    return this.#tasks.at(-1);
  }

  push(task: QueuedTask): void {
    this.#tasks.push(task);
  }

  shift(): QueuedTask | null {
    return this.#tasks.shift() ?? null;
  }

  remove(task: QueuedTask): void {
    this.take(task);
  }

  /** @returns whether it was still waiting. */
  take(task: QueuedTask): boolean {
    const at = this.#tasks.indexOf(task);
    if (at !== -1) this.#tasks.splice(at, 1);
    return at !== -1;
  }

  /** Forgets all but the `count` oldest. */
  cut(count: number): void {
    this.#tasks.splice(count);
  }
}

/** A task that has not ended. */
interface Started {
  readonly task: QueuedTask;
  fail(error: unknown): void;
}

function createPool(taskQueue: TaskQueue): Piscina {
  return new (loadPiscina().Piscina)({
    minThreads: 0,
    maxThreads: 2,
    taskQueue,
    concurrentTasksPerWorker: 1,
    // A worker that waits in Atomics.wait for its next task would be blind for the doorbell, and there is no next task.
    atomics: 'disabled',
    // A thread whose task has ended leaves at once.
    idleTimeout: 0,
    recordTiming: false,
    trackUnmanagedFds: false,
    resourceLimits: RESOURCE_LIMITS,
    env: { [BUILD_VARIABLE]: buildId },
  });
}

export class WorkerPool implements Pool {
  #pool: Piscina | undefined;
  readonly #waiting = new Waiting();
  readonly #started = new Set<Started>();
  readonly #left: LeftMemory | undefined;
  #kept: KeptCode | undefined;

  /** @param giveBack called when threads have left, to give back what is main's; absent = it is not */
  constructor(giveBack?: () => void) {
    this.#left = giveBack && new LeftMemory(giveBack);
  }

  keepAttach(): void {
    this.#kept ??= KeptCode.keep();
  }

  run<Task, ToLoop, FromLoop, Result>(role: Role, task: Task, owner: Owner<FromLoop>): Running<ToLoop, Result> {
    const { MessageChannel, receiveMessageOnPort } = workerThreads();
    const { port1, port2 } = new MessageChannel();
    const hear = (message: unknown): void => owner.heard(message as FromLoop);
    port1.on('message', hear);
    // The task's promise keeps the process alive, and that alone.
    port1.unref();
    const close = (): void => {
      // What the thread said last may still be under way.
      for (let next = receiveMessageOnPort(port1); next !== undefined; next = receiveMessageOnPort(port1))
        hear(next.message);
      port1.close();
    };
    const tell = (message: ToLoop): void => {
      port1.postMessage(message);
      owner.doorbell.ring();
    };
    const input: PortTask<Task> = { task, port: port2 };
    try {
      return { tell, done: this.start<PortTask<Task>, Result>(role, input, [port2]).finally(close) };
    } catch (error) {
      close();
      throw error;
    }
  }

  /**
   * Starts an entry's task on a thread of its own. The promise is settled when that thread is done: its result, or why it
   * died. Throws when no thread can be had: it may be asked again. Objects in `transfer` (ports) are the thread's afterwards.
   */
  start<Task, Result>(entry: Entry, task: Task, transfer: readonly MessagePort[]): Promise<Result> {
    const run = this.#start<Task, Result>(entry, task, transfer);
    const left = (): void => this.#left?.threadLeft();
    run.then(left, left);
    return run;
  }

  #start<Task, Result>(entry: Entry, task: Task, transfer: readonly MessagePort[]): Promise<Result> {
    if (entry === 'attach' && this.#kept?.replaced) return this.#kept.run(task, transfer, RESOURCE_LIMITS);
    try {
      this.#pool ??= this.#create();
    } catch (error) {
      return Promise.reject(error);
    }
    const before = this.#waiting.size;
    let run: Promise<Result>;
    try {
      run = this.#pool.run(task, {
        filename: join(libexecDir, `${entry}.cjs`),
        transferList: [...transfer] as never, // Piscina names the DOM's Transferable, which a Node port is not
      }) as Promise<Result>;
    } catch (error) {
      this.#waiting.cut(before);
      throw error;
    }
    const queued = this.#waiting.size > before ? this.#waiting.newest : undefined;
    return queued === undefined ? run : this.#watch(run, queued);
  }

  #watch<Result>(run: Promise<Result>, task: QueuedTask): Promise<Result> {
    return new Promise((resolve, reject) => {
      const own: Started = { task, fail: reject };
      this.#started.add(own);
      const ended = (): boolean => this.#started.delete(own);
      run.then(resolve, reject).finally(ended);
    });
  }

  /** A thread that dies before its task has begun is no task's to Piscina (5.3): it says so, and keeps the task for the next thread. */
  #create(): Piscina {
    const pool = createPool(this.#waiting);
    pool.on('error', (error: unknown) => {
      for (const own of [...this.#started]) {
        if (!this.#waiting.take(own.task)) continue;
        this.#started.delete(own);
        own.fail(error);
      }
    });
    return pool;
  }
}
