/**
 * What main and the log worker say to each other. Types only; main writes the port and then rings the worker's
 * doorbell, the worker reads with receiveMessageOnPort after it was rung.
 */

import type { MessagePort } from 'node:worker_threads';
import type { DiagLevel } from '../diag/diag.ts';
import type { RingGeometry } from '../ring/layout.ts';
import type { Stream } from './stream.ts';

/** An open log file that the worker takes over. */
export interface LogFileTarget {
  readonly driver: 'k8s-file';
  readonly path: string;
  /** O_APPEND; the worker's from now on. */
  readonly fd: number;
}

/** The one, never-ending task of the log worker. */
export interface LogTask {
  readonly memory: WebAssembly.Memory;
  readonly geometry: RingGeometry;
  readonly port: MessagePort;
  /** eventfd that wakes the worker; stays main's to close. */
  readonly doorbellFd: number;
  /** Non-blocking read ends; the worker's from now on. */
  readonly sources: readonly { readonly fd: number; readonly stream: Stream }[];
  readonly targets: readonly LogFileTarget[];
  /** fsync at the end. */
  readonly syncLog: boolean;
  readonly logLevel: DiagLevel;
}

export type ToLogWorker =
  /** The runtime is done with the pipes: read from now on. */
  | { readonly kind: 'begin' }
  /** The container is gone. `drain`: read what is there, without waiting; else only flush what was read. Then end. */
  | { readonly kind: 'end'; readonly drain: boolean };

export type FromLogWorker =
  /** Kernel loaded, files taken over: what `begin` waits for costs nothing more. */
  { readonly kind: 'ready' };

/** The totals of one log worker, its task's result. */
export interface LogCounters {
  /** Bytes read from the container. */
  readBytes: number;
  /** Bytes written to log files, prefixes included. */
  writtenBytes: number;
  records: number;
  reads: number;
  writes: number;
  /** Bytes of formatted records that could not be written. */
  droppedBytes: number;
  droppedRecords: number;
}
