/**
 * What main and the log worker say to each other. Types only; how it gets there: src/proto/line.ts,
 * src/threads/pool.ts.
 */

import type { DiagPlan } from '../diag/diag.ts';
import type { RingGeometry } from '../ring/layout.ts';
import type { Stream } from './stream.ts';

/** An open file for CRI records that the worker takes over. */
export interface K8sFileTarget {
  readonly driver: 'k8s-file';
  readonly path: string;
  /** O_APPEND; the worker's from now on. */
  readonly fd: number;
}

/** An open file for Docker's JSON records. */
export interface JsonFileTarget {
  readonly driver: 'json-file';
  readonly path: string;
  /** O_APPEND; the worker's from now on. */
  readonly fd: number;
  /** What every record carries as `attrs`; none: records have no `attrs`. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** The system's journal. */
export interface JournaldTarget {
  readonly driver: 'journald';
  /** Path of journald's native socket. */
  readonly socketPath: string;
  readonly cid: string;
  readonly name: string | undefined;
  readonly tag: string | undefined;
  /** `NAME=VALUE`, checked. */
  readonly labels: readonly string[];
  /** Whether a part of a line carries CONTAINER_PARTIAL_MESSAGE. */
  readonly tellPartial: boolean;
}

/** A log that the worker writes. */
export type DriverTarget = K8sFileTarget | JsonFileTarget | JournaldTarget;

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
  /** eventfd that wakes the worker; stays main's to close. */
  readonly doorbellFd: number;
  /** eventfd that wakes the attach worker, whether there is one yet or not. */
  readonly attachDoorbellFd: number;
  readonly targets: readonly DriverTarget[];
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
  /** A `reopen` was carried out, or has failed and was reported. */
  { readonly kind: 'reopened' };

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
