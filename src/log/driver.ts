/**
 * What the pump needs of a log driver. A driver formats and writes; it never reads from the container and never waits
 * for anything but its file.
 */

import type { Stream } from '../proto/stream.ts';

/** One log of one container. Runs on the log thread. */
export interface LogDriver {
  /**
   * Takes one batch of a stream. The bytes are in the shared memory and are the ring's again when this returns.
   * Never throws for what the disk says: it counts.
   */
  consume(stream: Stream, offset: number, length: number): void;
  /** Nothing more can be read from the stream for now: writes a held partial line. */
  settle(stream: Stream): void;
  /** Whether a partial line is held. */
  holdsPartial(stream: Stream): boolean;
  /** Makes a new log file under the same path, with whole records in the old one and the new. */
  reopen(): void;
  /** Makes everything durable. */
  sync(): void;
  /** Releases the file. */
  close(): void;
}
