/**
 * What main and a thread that runs many sessions' loops say to each other. Types only; main writes the port and then rings
 * the doorbell.
 */

import type { MessagePort } from 'node:worker_threads';
import type { AttachTask } from './attach-messages.ts';
import type { LogTask } from './log-messages.ts';

/** The roles of workers; each is one entry of workers/. */
export type Role = 'log' | 'attach';

/** The one, never-ending task of such a thread. */
export interface SharedTask {
  readonly port: MessagePort;
  /** eventfd that wakes it; stays main's to close. */
  readonly doorbellFd: number;
}

/** One session's loop. */
export interface ToSharedWorker {
  readonly id: number;
  readonly role: Role;
  readonly task: LogTask | AttachTask;
}

/** That loop has ended, with the result that its task has by itself, or by what it has thrown. */
export interface FromSharedWorker {
  readonly id: number;
  readonly result: unknown;
  readonly error: string | undefined;
}
