/**
 * What main and the log worker say to each other. Types only; main writes the port and then rings the worker's
 * doorbell, the worker reads with receiveMessageOnPort after it was rung.
 */

import type { MessagePort } from 'node:worker_threads';
import type { DiagPlan } from '../diag/diag.ts';
import type { RingGeometry } from '../ring/layout.ts';
import type { Stream } from './stream.ts';

/** An open log file that the worker takes over. */
export interface LogFileTarget {
  readonly driver: 'k8s-file';
  readonly path: string;
  /** O_APPEND; the worker's from now on. */
  readonly fd: number;
}

/** --log-size-max and --log-global-size-max in bytes of whole records; Infinity = none. */
export interface SizeLimits {
  readonly fileMaxBytes: number;
  readonly globalMaxBytes: number;
}

/** What becomes of a log file that is full or is to be reopened. */
export interface RotationPlan {
  /** How many older files are kept as PATH.1, PATH.2, ...; 0 = none, a full file is replaced. */
  readonly keepFiles: number;
}

/** The one, never-ending task of the log worker. */
export interface LogTask {
  readonly memory: WebAssembly.Memory;
  readonly geometry: RingGeometry;
  readonly port: MessagePort;
  /** eventfd that wakes the worker; stays main's to close. */
  readonly doorbellFd: number;
  /** eventfd that wakes the attach worker, whether there is one yet or not. */
  readonly attachDoorbellFd: number;
  readonly targets: readonly LogFileTarget[];
  readonly limits: SizeLimits;
  readonly rotation: RotationPlan;
  /** fsync at the end. */
  readonly syncLog: boolean;
  readonly diag: DiagPlan;
}

/** One of the container's output streams. */
export interface Source {
  /** Non-blocking; main closes it when the worker has ended. */
  readonly fd: number;
  readonly stream: Stream;
  /** A pty master: a hang-up is not its end, somebody may open the terminal again. */
  readonly terminal: boolean;
}

export type ToLogWorker =
  /** The runtime is done with the pipes: read from now on. */
  | { readonly kind: 'begin'; readonly sources: readonly Source[] }
  /** Make a new log file under the same path. */
  | { readonly kind: 'reopen' }
  /** The container is gone. `drain`: read what is there, without waiting; else only flush what was read. Then end. */
  | { readonly kind: 'end'; readonly drain: boolean };

export type FromLogWorker =
  /** Kernel loaded, files taken over: what `begin` waits for costs nothing more. */
  | { readonly kind: 'ready' }
  /** A `reopen` was carried out, or has failed and was reported. */
  | { readonly kind: 'reopened' };

/** The totals of one log worker, its task's result. */
export interface LogCounters {
  /** Bytes read from the container. */
  readBytes: number;
  /** Bytes written to log files, prefixes included. */
  writtenBytes: number;
  records: number;
  reads: number;
  writes: number;
  /** Bytes of formatted records beyond --log-global-size-max. */
  beyondLimitBytes: number;
  /** Bytes of formatted records that could not be written. */
  droppedBytes: number;
  droppedRecords: number;
}
