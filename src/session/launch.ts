/**
 * What the launcher (native/launcher.c) hands over in `CONMON_LAUNCHER`, and the pipes that the caller names in the
 * environment. Parsing only; main thread.
 */

import { ConmonError } from '../diag/error.ts';
import { F_GETFD } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** Facts of the moment at which the caller executed conmon. */
export interface Launch {
  /** Where the daemon says that it is ready, or that the launcher must stay. */
  readonly statusFd: number;
  /** memfd with the caller's environment, byte for byte. */
  readonly environFd: number;
  /** RLIMIT_NOFILE at entry; -1 = unlimited. */
  readonly nofileSoft: number;
  readonly nofileHard: number;
  /** Fds >= 3 that were open at entry, ascending: they belong to the caller or the container. */
  readonly entryFds: readonly number[];
  /** The process that the caller started. */
  readonly launcherPid: number;
}

/** fd numbers beyond this are not believed. Linux's own bound on RLIMIT_NOFILE is 2^30 at most (fs.nr_open). */
const FD_LIMIT = 1 << 30;
const ENTRY_FDS_MAX = 1 << 20;

/** Throws ConmonError LAUNCHER when the hand-over is missing or damaged: conmon is not started by hand. */
export function parseLaunch(text: string | undefined, launcherPid: number): Launch {
  const match = /^v1 status=(\d+) environ=(\d+) nofile=(\d+):(\d+) ppid=\d+ fds=([\d,-]*)$/.exec(text ?? '');
  if (match === null) throw new ConmonError('LAUNCHER', 'conmon must be started by its launcher, bin/conmon');
  const [, status, environ, soft, hard, fds] = match;
  return {
    statusFd: Number(status),
    environFd: Number(environ),
    nofileSoft: limit(soft),
    nofileHard: limit(hard),
    entryFds: expandRanges(fds ?? ''),
    launcherPid,
  };
}

/** RLIM_INFINITY arrives as 2^64 - 1. */
export function limit(text: string | undefined): number {
  const value = Number(text);
  return value > Number.MAX_SAFE_INTEGER ? -1 : value;
}

/** `3-5,9` to [3, 4, 5, 9]. */
export function expandRanges(text: string): readonly number[] {
  const fds: number[] = [];
  for (const range of text === '' ? [] : text.split(',')) {
    const [first, last, ...more] = range.split('-').map(Number);
    const from = first ?? Number.NaN;
    const to = last ?? from;
    const least = (fds.at(-1) ?? 2) + 1;
    if (!(from >= least && to >= from && to < FD_LIMIT && fds.length + to - from < ENTRY_FDS_MAX) || more.length > 0)
      throw new ConmonError('LAUNCHER', `launcher: bad range of fds '${range}'`);
    for (let fd = from; fd <= to; fd++) fds.push(fd);
  }
  return fds;
}

/**
 * The fd that environment variable `name` holds, -1 when it is not set. Throws ConmonError PIPE when it is no number or
 * not open. Source: contract section 3.
 */
export function pipeFd(sys: Sys, name: string, value: string | undefined): number {
  if (value === undefined || value === '') return -1;
  const fd = /^\s*\+?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!(fd < FD_LIMIT)) throw new ConmonError('PIPE', `unable to parse ${name}`);
  const result = sys.fcntl(fd, F_GETFD, 0);
  if (result < 0) throw new ConmonError('PIPE', `unable to make ${name} CLOEXEC`, { reason: sys.strerror(result) });
  return fd;
}
