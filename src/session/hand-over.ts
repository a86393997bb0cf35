/**
 * What a launcher hands over to a running daemon: one message with fds (native/join.c, docs/adr/0035-sessions.md).
 * Parsing only; every byte comes from another process and is checked. Main thread.
 */

import { ConmonError } from '../diag/error.ts';
import { F_GET_SEALS } from '../native/constants.ts';
import { fileSize } from '../native/files.ts';
import type { Sys } from '../native/sys.ts';
import { expandRanges, limit } from './launch.ts';

/** As native/join.c: a message's text, and the fds of the caller's that one message can bring. */
export const HAND_OVER_MAX = 4096;
export const ENTRY_FDS_MAX = 250;
/** Fds of the launcher's own in front of the caller's: environment, arguments, working directory. */
export const OWN_FDS = 3;
/** execve takes less (Linux MAX_ARG_STRINGS and a quarter of the stack); so much memory is not asked for. */
const BLOCK_MAX = 16 << 20;

/** Letters that begin a message to the launcher. */
export const GO = 'G';
export const TAKEN_LEAVE = 'R';
export const TAKEN_STAY = 'S';
export const ENDED = 'E';

export interface HandOver {
  readonly build: string;
  /** RLIMIT_NOFILE; -1 = unlimited. */
  readonly nofileSoft: number;
  readonly nofileHard: number;
  /** '' = unknown. */
  readonly oomScoreAdj: string;
  /** The numbers that the caller's fds had, ascending. */
  readonly entryFds: readonly number[];
}

/** Throws ConmonError HAND_OVER for anything that the launcher does not send. */
export function parseHandOver(bytes: Uint8Array): HandOver {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const match = /^v1 build=([\w.-]{1,64}) nofile=(\d{1,20}):(\d{1,20}) oom=(-?\d{1,4}|) fds=([\d,-]*)$/.exec(text);
  if (match === null) throw new ConmonError('HAND_OVER', 'the hand-over is damaged');
  const [, build = '', soft, hard, oomScoreAdj = '', fds = ''] = match;
  const entryFds = expandRanges(fds);
  if (entryFds.length > ENTRY_FDS_MAX) throw new ConmonError('HAND_OVER', 'the hand-over has too many fds');
  return { build, nofileSoft: limit(soft), nofileHard: limit(hard), oomScoreAdj, entryFds };
}

/** NUL-terminated strings that came in a memfd, at its beginning: anything else could make a reader wait. Stays the caller's to close. */
export function readBlock(sys: Sys, fd: number): Buffer {
  if (sys.fcntl(fd, F_GET_SEALS, 0) < 0) throw new ConmonError('HAND_OVER', 'the hand-over brings no memfd');
  const sizeBytes = fileSize(sys, fd);
  if (sizeBytes < 0)
    throw new ConmonError('HAND_OVER', 'the hand-over cannot be read', { reason: sys.strerror(sizeBytes) });
  if (sizeBytes > BLOCK_MAX) throw new ConmonError('HAND_OVER', 'the hand-over is too large');
  const block = Buffer.allocUnsafe(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const result = sys.read(fd, block, at, sizeBytes - at);
    if (result <= 0) throw new ConmonError('HAND_OVER', 'the hand-over was cut short');
    at += result;
  }
  if (sizeBytes > 0 && block[sizeBytes - 1] !== 0) throw new ConmonError('HAND_OVER', 'the hand-over does not end');
  return block;
}
