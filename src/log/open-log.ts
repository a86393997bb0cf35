/**
 * Opens log files, before the daemon says that it is ready: a log that cannot be opened is an option error. Main thread.
 */

import { constants, openSync } from 'node:fs';
import { ConmonError } from '../diag/error.ts';
import { O_CLOEXEC } from '../native/constants.ts';
import { failureText } from '../native/sys.ts';

/** 0640: logs are not the world's to read (contract section 6). */
const LOG_MODE = 0o640;

/**
 * O_APPEND, created when missing, its directory not. The last component may not be a symlink. O_NONBLOCK, so that a
 * FIFO as log path cannot hang conmon: without a reader it fails here (ENXIO). The caller owns the fd.
 * Throws ConmonError LOG_OPEN_FAILED.
 */
export function openLog(path: string): number {
  const flags =
    constants.O_WRONLY |
    constants.O_APPEND |
    constants.O_CREAT |
    constants.O_NOFOLLOW |
    constants.O_NONBLOCK |
    O_CLOEXEC;
  try {
    return openSync(path, flags, LOG_MODE);
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
