/**
 * Opens log files, on the main thread before the daemon says that it is ready: a log that cannot be opened is an option
 * error. How a file is replaced later: ./rotation.ts.
 */

import { constants, openSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import { O_CLOEXEC, S_IWOTH } from '../native/constants.ts';
import { StatWord, statOf } from '../native/files.ts';
import { failureText, type Sys } from '../native/sys.ts';

/** 0640: logs are not the world's to read (contract section 6). */
export const LOG_MODE = 0o640;
/** How every log file is opened: appended to, made when missing, never through a link, never waiting (a FIFO). */
export const LOG_FLAGS =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK | O_CLOEXEC;

/**
 * O_APPEND, created when missing, its directory not. The last component may not be a symlink. O_NONBLOCK, so that a
 * FIFO as log path cannot hang conmon: without a reader it fails here (ENXIO). The caller owns the fd.
 * Throws ConmonError LOG_OPEN_FAILED.
 */
export function openLog(path: string): number {
  try {
    return openSync(path, LOG_FLAGS, LOG_MODE);
  } catch (cause) {
    const reason = failureText(cause);
    throw new ConmonError('LOG_OPEN_FAILED', `Failed to open log file ${path}:`, {
      syscall: 'open',
      path,
      reason,
      cause,
    });
  }
}

/** What a log path must be like. */
export interface LogRules {
  /** --log-rotate */
  readonly rotate: boolean;
  /** --log-allowlist-dir; empty = anywhere. */
  readonly allowlistDirs: readonly string[];
}

/** A log file of a session. */
export interface OpenLog {
  /** Where it is; with rotation without links in its directories. */
  readonly path: string;
  /** O_APPEND; the caller's. */
  readonly fd: number;
}

type FileCalls = Pick<Sys, 'close' | 'fstatat'>;

/** The files of one session. */
export class LogFiles {
  readonly #sys: FileCalls;
  readonly #diag: Diag;
  readonly #rules: LogRules;
  readonly #opened: OpenLog[] = [];

  constructor(sys: FileCalls, diag: Diag, rules: LogRules) {
    this.#sys = sys;
    this.#diag = diag;
    this.#rules = rules;
  }

  /** @returns the file, or nothing when it is open already. Throws ConmonError LOG_PATH_REFUSED or LOG_OPEN_FAILED. */
  open(path: string): readonly OpenLog[] {
    const safe = safeLogPath(this.#diag, path, this.#rules);
    const fd = openLog(safe);
    const first = this.#opened.find((other) => isSameFile(this.#sys, other.fd, fd)); // one log alone is not looked at
    if (first === undefined) {
      const file = { path: safe, fd };
      this.#opened.push(file);
      return [file];
    }
    this.#diag.warn(`log files ${first.path} and ${path} are the same: it is written once`);
    this.#sys.close(fd);
    return [];
  }

  /** When the session comes to nothing: a daemon with other sessions goes on. */
  closeAll(): void {
    for (const { fd } of this.#opened.splice(0)) this.#sys.close(fd);
  }
}

/** By device and inode. */
function isSameFile(sys: FileCalls, aFd: number, bFd: number): boolean {
  const [a, b] = [statOf(sys, aFd), statOf(sys, bFd)];
  if (typeof a === 'number' || typeof b === 'number') return false;
  return a[StatWord.device] === b[StatWord.device] && a[StatWord.inode] === b[StatWord.inode];
}

/**
 * Checks a log's place (contract section 6). With rotation the answer is the path without links in its directories, as
 * ./rotation.ts wants it; a directory that is replaced by a link later is not followed.
 * Throws ConmonError LOG_PATH_REFUSED.
 */
export function safeLogPath(diag: Diag, path: string, { rotate, allowlistDirs }: LogRules): string {
  if (!rotate && allowlistDirs.length === 0) return path;
  if (path.split('/').includes('..')) throw refused(`Log path ${path} must not contain '..'`);
  const directory = realDirectory(path);
  if (allowlistDirs.length > 0 && !isAllowed(diag, directory, allowlistDirs))
    throw refused(`Log path ${path} is in none of the directories of --log-allowlist-dir`);
  if (!rotate) return path;
  const { mode, uid } = statSync(directory);
  if ((mode & S_IWOTH) !== 0)
    throw refused(`Log directory ${directory} can be written by everybody: no log can be rotated there`);
  // Who owns it may put anything in the place of what is renamed there.
  if (uid !== 0 && uid !== process.geteuid?.())
    throw refused(`Log directory ${directory} belongs to another user: no log can be rotated there`);
  return join(directory, basename(path));
}

function realDirectory(path: string): string {
  try {
    return realpathSync(dirname(path));
  } catch (cause) {
    throw new ConmonError('LOG_OPEN_FAILED', `Failed to open log file ${path}:`, {
      path,
      reason: failureText(cause),
      cause,
    });
  }
}

/** The directory itself, or one below an allowed one. */
function isAllowed(diag: Diag, directory: string, allowlistDirs: readonly string[]): boolean {
  return allowlistDirs.some((allowed) => {
    try {
      const real = realpathSync(allowed);
      return directory === real || directory.startsWith(real === '/' ? real : `${real}/`);
    } catch (error) {
      diag.warn(`Invalid allowlist directory ${allowed}: ${failureText(error)}`);
      return false;
    }
  });
}

function refused(message: string): ConmonError {
  return new ConmonError('LOG_PATH_REFUSED', message);
}
