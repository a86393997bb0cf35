/**
 * The few questions that option checks ask of the file system, as values that tests can replace, and the C library's
 * words for the answers. Main thread. It never opens, creates or changes a file.
 */
import { accessSync, constants } from 'node:fs';

/** Answers are errno numbers: 0 = yes. */
export interface FileProbe {
  /** May this process execute the file? Source: access(2) with X_OK, real uid, as conmon's cli.c asks. */
  canExecute(path: string): number;
  /**
   * Is it a directory whose files this process may reach? ENOTDIR for anything else.
   * Search permission alone is asked for: that is what opening BUNDLE/config.json takes.
   */
  canEnter(path: string): number;
}

/** The real file system. */
export const fileProbe: FileProbe = Object.freeze({
  canExecute(path: string): number {
    return errnoOf(() => accessSync(path, constants.X_OK));
  },
  canEnter(path: string): number {
    // `/.` makes one call ask for both: a directory (else ENOTDIR), and leave to search it.
    return errnoOf(() => accessSync(`${path}/.`, constants.X_OK));
  },
});

const EINVAL = 22;

function errnoOf(ask: () => void): number {
  try {
    ask();
    return 0;
  } catch (error) {
    // Node's argument check (a NUL in the path) carries no errno: EINVAL says the same.
    const errno = error instanceof Error && 'errno' in error ? error.errno : undefined;
    return typeof errno === 'number' && errno !== 0 ? Math.abs(errno) : EINVAL;
  }
}

/** What access(2) and stat(2) fail with. Wording: glibc, C locale (`%m`); Node's own texts differ from it. */
const TEXTS: ReadonlyMap<number, string> = new Map([
  [1, 'Operation not permitted'],
  [2, 'No such file or directory'],
  [5, 'Input/output error'],
  [12, 'Cannot allocate memory'],
  [13, 'Permission denied'],
  [20, 'Not a directory'],
  [EINVAL, 'Invalid argument'],
  [23, 'Too many open files in system'],
  [24, 'Too many open files'],
  [26, 'Text file busy'],
  [30, 'Read-only file system'],
  [36, 'File name too long'],
  [40, 'Too many levels of symbolic links'],
  [107, 'Transport endpoint is not connected'],
  [112, 'Host is down'],
  [116, 'Stale file handle'],
]);

/** The C library's text for an errno of a path look-up, as `%m` prints it. */
export function lookupErrorText(errno: number): string {
  return TEXTS.get(errno) ?? `Unknown error ${errno}`;
}
