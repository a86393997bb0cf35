/** The pid files: the one the runtime writes for the container, and conmon's own. Main thread. */

import { closeSync, constants, openSync, readSync } from 'node:fs';
import { O_CLOEXEC } from '../native/constants.ts';
import { failureText } from '../native/sys.ts';

/** A pid is at most 7 digits (PID_MAX_LIMIT is 2^22); more than this is no pid file. */
const FILE_MAX = 64;
const PID_MAX = 4194304;

/**
 * The container's pid. @returns a text that says what is wrong when there is none: the file is missing, empty (CRI-O's
 * ExecSync makes it beforehand) or holds something else. Never waits, not even for a FIFO.
 */
export function readPidFile(path: string): number | string {
  let text: string;
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | O_CLOEXEC);
    try {
      const bytes = Buffer.alloc(FILE_MAX);
      text = bytes.toString('latin1', 0, readSync(fd, bytes, 0, FILE_MAX, null)).trim();
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return `${path}: ${failureText(error)}`;
  }
  if (text === '') return `${path} is empty`;
  const pid = /^\d+$/.test(text) ? Number(text) : 0;
  return pid > 0 && pid <= PID_MAX ? pid : `${path} holds no pid: ${JSON.stringify(text)}`;
}
