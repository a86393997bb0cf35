/**
 * The worker pool: one Piscina for the process, one never-ending task a role. A task's promise is its thread's
 * lifetime. Main thread. Piscina is loaded for the first task: a session that never starts a thread does without its
 * 12 ms and 1 MiB (docs/dependencies.md).
 */

import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Piscina } from 'piscina';
import { BUILD_VARIABLE, buildId, libexecDir } from '../native/libexec.ts';
import type { Role } from '../proto/shared-messages.ts';

/** Entries of workers/, bundled under their names: the roles of design section 3, and both for many sessions. */
type Entry = Role | 'shared';

/** Whoever runs a session's loops; a thread each, or one for several. */
export interface Pool {
  /** The promise is settled when the loop has ended: its result, or why it died. */
  run<Task, Result>(role: Role, task: Task, transfer: readonly MessagePortLike[]): Promise<Result>;
}

/** Young generation and stack of a worker: it allocates next to nothing once it runs. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32, stackSizeMb: 1 };

/** Loaded by who starts a thread: it brings Node's streams along, which main has no other use for. */
export function workerThreads(): typeof import('node:worker_threads') {
  return process.getBuiltinModule('node:worker_threads');
}

/** From a bundle of its own; loaded once. Throws when conmon was taken away meanwhile. */
export function loadPiscina(): typeof import('piscina') {
  // In a bundle there is a require already; the sources, which tests run as they are, have none.
  if (typeof require === 'function') return require('./piscina.cjs') as typeof import('piscina');
  const { createRequire } = process.getBuiltinModule('node:module');
  return createRequire(join(libexecDir, 'threads.cjs'))('./piscina.cjs') as typeof import('piscina');
}

/** How Piscina is told that a task is not wanted any longer, and why not. */
interface Pending {
  readonly signal: EventEmitter;
  failure: unknown;
}

function createPool(): Piscina {
  return new (loadPiscina().Piscina)({
    minThreads: 0,
    maxThreads: 2,
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
  /** Tasks that have not ended, oldest first. */
  readonly #tasks = new Set<Pending>();

  /**
   * Starts a role's task on a thread of its own. The promise is settled when that thread is done: its result, or why it
   * died. Objects in `transfer` (ports) are the thread's afterwards.
   */
  run<Task, Result>(entry: Entry, task: Task, transfer: readonly MessagePortLike[]): Promise<Result> {
    try {
      this.#pool ??= this.#create();
    } catch (error) {
      return Promise.reject(error);
    }
    const own: Pending = { signal: new EventEmitter(), failure: undefined };
    this.#tasks.add(own);
    const run = this.#pool.run(task, {
      filename: join(libexecDir, `${entry}.cjs`),
      transferList: [...transfer] as never, // Piscina names the DOM's Transferable, which a Node port is not
      signal: own.signal,
    }) as Promise<Result>;
    return run
      .catch((error: unknown) => {
        throw own.failure ?? error;
      })
      .finally(() => this.#tasks.delete(own));
  }

  /**
   * A thread that cannot start is no task's to Piscina (5.3): it says so and leaves the task in its queue for ever. Those
   * that wait are the youngest.
   */
  #create(): Piscina {
    const pool = createPool();
    pool.on('error', (error: unknown) => {
      const waiting = pool.queueSize;
      for (const task of [...this.#tasks].slice(this.#tasks.size - waiting)) {
        task.failure = error;
        task.signal.emit('abort');
      }
    });
    return pool;
  }
}

/** What can be handed over to a thread. */
export interface MessagePortLike {
  postMessage(value: unknown): void;
}
