/**
 * What the pump needs of a log driver. A driver formats and writes; it never reads from the container and never waits:
 * a sink that cannot take anything now makes the driver say so, and the pump keeps the bytes in the ring meanwhile. What
 * must survive the thread's death is in the driver's block of shared memory (./driver-state.ts).
 */

import type { Stream } from '../proto/stream.ts';

/** One log of one container. Runs on the log thread. None of its methods throws for what the disk or a socket says. */
export interface LogDriver {
  /**
   * Takes one batch of a stream. The bytes are in the shared memory and are the ring's again when this answers true.
   * @returns false when the sink is stalled and the driver could not take all of it: the pump hands in the same batch
   * again later, and the driver goes on in it where it stopped (DriverField.takenBytes).
   */
  consume(stream: Stream, offset: number, length: number): boolean;
  /** Nothing more can be read from the stream for now, or with `last` ever: writes a held partial line. */
  settle(stream: Stream, last: boolean): void;
  /** Whether a partial line is held that {@link settle} would write. */
  holdsPartial(stream: Stream, last: boolean): boolean;
  /** Whether it holds whole records that the sink could not take, or owes the log a record about lost ones. */
  readonly stalled: boolean;
  /** When {@link retry} is wanted, on the clock of `performance.now()`; Infinity = nothing is wanted. */
  readonly wakeAtMs: number;
  /** The sink is stalled because it is slow, not because it is gone: until {@link wakeAtMs} it may hold the container back. */
  readonly patient: boolean;
  /**
   * Whether nothing is held and nothing wanted: {@link wakeAtMs} is Infinity, {@link waitFd} -1, and no stream has a partial
   * line. Asked once a line, in place of all these; a driver may answer false at any time.
   */
  readonly calm: boolean;
  /** An fd whose POLLOUT is a reason for {@link retry}; -1 = none. */
  readonly waitFd: number;
  /** Tries again what the sink could not do: a record about lost ones, held records, a new file. */
  retry(): void;
  /** Gives up the whole records it holds, and counts them: after that `consume` takes at least part of a batch. */
  shed(): void;
  /** Makes a new log file under the same path, with whole records in the old one and the new. */
  reopen(): void;
  /** Nothing has come for a while: memory of its own that holds nothing may be given back. */
  rest(): void;
  /** Another loop goes on with what is in the shared memory: what is not there, and is of no use to it, is given back. */
  leave(): void;
  /** Makes everything durable. */
  sync(): void;
  /** Releases the sink and says in the diagnostics what it has lost in all. */
  close(): void;
}
