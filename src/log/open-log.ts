/**
 * Opens log files, on the main thread before the daemon says that it is ready: a log that cannot be opened is an option
 * error. How a file is replaced later: ./rotation.ts.
 */

import { constants, openSync } from 'node:fs';
import { ConmonError } from '../diag/error.ts';
import { O_CLOEXEC } from '../native/constants.ts';
import { failureText } from '../native/sys.ts';

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
