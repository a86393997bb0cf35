/**
 * The worker pool: one Piscina for the process, one never-ending task a role. A task's promise is its thread's
 * lifetime. Main thread. Loaded only after the runtime was executed: Piscina costs 12 ms (docs/dependencies.md).
 */

import { join } from 'node:path';
import { Piscina } from 'piscina';
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

export class WorkerPool implements Pool {
  readonly #pool: Piscina;

  constructor() {
    this.#pool = new Piscina({
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

  /**
   * Starts a role's task on a thread of its own. The promise is settled when that thread is done: its result, or why it
   * died. Objects in `transfer` (ports) are the thread's afterwards.
   */
  run<Task, Result>(entry: Entry, task: Task, transfer: readonly MessagePortLike[]): Promise<Result> {
    return this.#pool.run(task, {
      filename: join(libexecDir, `${entry}.cjs`),
      transferList: [...transfer] as never, // Piscina names the DOM's Transferable, which a Node port is not
    }) as Promise<Result>;
  }
}

/** What can be handed over to a thread. */
export interface MessagePortLike {
  postMessage(value: unknown): void;
}
