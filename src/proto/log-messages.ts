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
  /** What was counted so far. A loop on main counts on in it; a thread has a copy. */
  readonly counters: LogCounters;
  /** eventfd that wakes the worker; stays main's to close. -1: it is not asked (a loop on main, without clients). */
  readonly doorbellFd: number;
  /** eventfd that wakes the attach worker, whether there is one yet or not. -1: nobody can be there. */
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
  /**
   * If fewer than so many bytes have been read since the last one of these, leave the loop to another one: as a thread that dies
   * does, but between two records.
   */
  | { readonly kind: 'leave'; readonly belowBytes: number }
  /** The container is gone. `drain`: read what is there, without waiting; else only flush what was read. Then end. */
  | { readonly kind: 'end'; readonly drain: boolean };

export type FromLogWorker =
  /** A `reopen` was carried out, or has failed and was reported. */
  { readonly kind: 'reopened' };

/** How a log loop has ended. */
export interface LogResult {
  readonly counters: LogCounters;
  /** It was asked to leave: another one is to go on. */
  readonly left: boolean;
}

/** The totals of one log worker. */
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
