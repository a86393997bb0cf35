/** The pid files: the one the runtime writes for the container, and conmon's own. Main thread. */

import { constants } from 'node:fs';
import { AT_FDCWD, O_CLOEXEC } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** A pid is at most 7 digits (PID_MAX_LIMIT is 2^22); more than this is no pid file. */
const FILE_MAX = 64;
const PID_MAX = 4194304;

/**
 * The container's pid. @returns a text that says what is wrong when there is none: the file is missing, empty (CRI-O's
 * ExecSync makes it beforehand) or holds something else. Never waits, not even for a FIFO.
 */
export function readPidFile(sys: Pick<Sys, 'openat' | 'read' | 'close' | 'strerror'>, path: string): number | string {
  const fd = sys.openat(AT_FDCWD, path, constants.O_RDONLY | constants.O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return `${path}: ${sys.strerror(fd)}`;
  const bytes = Buffer.allocUnsafe(FILE_MAX);
  const length = sys.read(fd, bytes, 0, FILE_MAX);
  sys.close(fd);
  if (length < 0) return `${path}: ${sys.strerror(length)}`;
  const text = bytes.toString('latin1', 0, length).trim();
  if (text === '') return `${path} is empty`;
  const pid = /^\d+$/.test(text) ? Number(text) : 0;
  return pid > 0 && pid <= PID_MAX ? pid : `${path} holds no pid: ${JSON.stringify(text)}`;
}
