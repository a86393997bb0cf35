/**
 * What main and the attach worker say to each other, and the numbers of the attach protocol. Types and constants only;
 * contract section 5.
 */

import type { DiagPlan } from '../diag/diag.ts';
import type { RingGeometry } from '../ring/layout.ts';

/**
 * Clients read into 8193 bytes, a type byte and 8192. With so much and the type byte a packet fits the kernel's 8 KiB buffers
 * with what the kernel adds to it (320 bytes, from 7873 on it takes 16 KiB), so a socket holds twice as many packets;
 * 34 of them are one read (docs/adr/0006-data-path.md).
 */
export const PACKET_PAYLOAD_MAX = 7712;
/** What one packet of a client may hold. */
export const CLIENT_PACKET_MAX = 32768;

/**
 * How long the attach worker stays when nobody is attached. Who comes back within that time is served at once; later
 * comers wait for a thread to start, as the first did (docs/adr/0020).
 */
export const ATTACH_UNUSED_MS = 10_000;

/** A task of the attach worker: as long as somebody is attached, or the container runs. */
export interface AttachTask {
  readonly memory: WebAssembly.Memory;
  readonly geometry: RingGeometry;
  /** eventfd that wakes this worker; rung by main and by the log worker. */
  readonly doorbellFd: number;
  /** eventfd that wakes the log worker. */
  readonly logDoorbellFd: number;
  /** The listening attach socket, non-blocking; stays main's to close. */
  readonly listenFd: number;
  /** Whether stdin is closed when a client's input ends (-i without --leave-stdin-open). */
  readonly closeStdin: boolean;
  /** Milliseconds after which a client that takes nothing is disconnected; 0 = never. */
  readonly stallTimeoutMs: number;
  /** Milliseconds without a client after which the worker leaves. */
  readonly unusedMs: number;
  readonly diag: DiagPlan;
}

export type ToAttachWorker =
  /**
   * The container's stdin, non-blocking; stays main's to close, when the worker says so. -1: it has none (any longer).
   * Until then clients' input waits.
   */
  | { readonly kind: 'stdin'; readonly fd: number }
  /** The container is gone: give the clients what is left, then end. */
  | { readonly kind: 'end' };

export type FromAttachWorker =
  /** The container's input has ended: close its stdin. The worker does not touch it any more. */
  { readonly kind: 'stdinEnded' };

/** What a task of the attach worker answers. */
export interface AttachResult {
  /** `ended`: the container is gone and its clients have everything. `unused`: nobody is attached. */
  readonly why: 'ended' | 'unused';
  readonly counters: AttachCounters;
}

/** The totals of one attach worker. */
export interface AttachCounters {
  clients: number;
  /** Payload bytes sent, over all clients. */
  sentBytes: number;
  /** Bytes passed on to the container's stdin. */
  stdinBytes: number;
  /** Bytes of clients' input that the container no longer took. */
  droppedStdinBytes: number;
  /** Clients that were disconnected because they took nothing for too long. */
  stalledClients: number;
}
