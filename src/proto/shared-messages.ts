/**
 * What main and a thread that runs many sessions' loops say to each other. Types only; main writes the port and then rings
 * a doorbell: the thread's for a loop that is to begin, else the loop's own.
 */

import type { MessagePort } from 'node:worker_threads';
import type { AttachTask, FromAttachWorker, ToAttachWorker } from './attach-messages.ts';
import type { FromLogWorker, LogTask, ToLogWorker } from './log-messages.ts';

/** The roles of workers; each is one entry of workers/. */
export type Role = 'log' | 'attach';

/** The one, never-ending task of such a thread. */
export interface SharedTask {
  readonly port: MessagePort;
  /** eventfd that wakes it; stays main's to close. */
  readonly doorbellFd: number;
}

/** One session's loop. Its memory is sent once and known by its number from then on, until it is forgotten. */
export interface RunLoop {
  readonly kind: 'run';
  readonly id: number;
  readonly role: Role;
  readonly task: Omit<LogTask, 'memory'> | Omit<AttachTask, 'memory'>;
  readonly memoryId: number;
  /** Undefined when the thread has it. */
  readonly memory: WebAssembly.Memory | undefined;
  /** What it is told first. */
  readonly messages: readonly ToLoop[];
}

export type ToLoop = ToLogWorker | ToAttachWorker;

export type ToSharedWorker =
  | RunLoop
  | { readonly kind: 'tell'; readonly id: number; readonly messages: readonly ToLoop[] }
  /** No loop uses that memory again. */
  | { readonly kind: 'forget'; readonly memoryId: number };

export type FromSharedWorker =
  | { readonly kind: 'said'; readonly id: number; readonly message: FromLogWorker | FromAttachWorker }
  /** That loop has ended, with the result that its task has by itself, or by what it has thrown. */
  | { readonly kind: 'ended'; readonly id: number; readonly result: unknown; readonly error: string | undefined };
