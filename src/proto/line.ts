/**
 * How a loop on another thread and main talk. Types only. Main says something and then rings the loop's doorbell.
 */

import type { MessagePort } from 'node:worker_threads';

/** What the loop sees of it. */
export interface Line<ToLoop, FromLoop> {
  /** The next thing that main has said, undefined when there is none. */
  next(): ToLoop | undefined;
  tell(message: FromLoop): void;
}

/** What a thread of its own is given: its task, and the way to main. */
export interface PortTask<Task> {
  readonly task: Task;
  readonly port: MessagePort;
}
