/**
 * The container's standard streams without a terminal: pipes, made before the runtime and handed to it (contract
 * section 5). Ours are the ends with O_NONBLOCK; the container's stay blocking. Main thread.
 */

import { constants, fchmodSync, openSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import { F_GETFL, F_SETFL, F_SETPIPE_SZ, O_CLOEXEC } from '../native/constants.ts';
import { failureText, type Sys } from '../native/sys.ts';

/** A pipe of 64 KiB has its reader and the container wait for each other sixteen times for what one of 1 MiB gives in one go. */
const PIPE_BYTES = 1 << 20;

/** Both ends of the container's streams; -1 where there is none. Owned by the session until it hands them on. */
export interface Stdio {
  /** Our ends: write, read, read. */
  stdinFd: number;
  stdoutFd: number;
  stderrFd: number;
  /** The container's ends, to be closed once the runtime has them. */
  readonly childStdinFd: number;
  readonly childStdoutFd: number;
  readonly childStderrFd: number;
}

/** What kind of streams the container gets. */
export interface StdioPlan {
  /** -i: stdin is a pipe, else /dev/null. */
  readonly stdin: boolean;
  /** Input and output are a terminal's, which the runtime makes; the pipes then only catch its messages. */
  readonly terminal: boolean;
}

/** Throws ConmonError PIPE when the machine has no fds left. */
export function openStdio(sys: Sys, diag: Diag, plan: StdioPlan): Stdio {
  const input = plan.stdin && !plan.terminal ? pipe(sys, 'stdin') : undefined;
  const output = plan.terminal ? nullOutput() : pipe(sys, 'stdout');
  const errors = pipe(sys, 'stderr');
  const stdio: Stdio = {
    stdinFd: input?.writeFd ?? -1,
    stdoutFd: output.readFd,
    stderrFd: errors.readFd,
    childStdinFd: input?.readFd ?? openSync('/dev/null', constants.O_RDONLY | O_CLOEXEC),
    childStdoutFd: output.writeFd,
    childStderrFd: errors.writeFd,
  };
  for (const fd of [stdio.stdinFd, stdio.stdoutFd, stdio.stderrFd]) if (fd !== -1) setNonblocking(sys, fd);
  // Also when nobody logs: it is read all the same, for clients or for nobody (docs/adr/0067-a-flood-that-nobody-logs.md).
  if (!plan.terminal) grow(sys, diag, stdio.stdoutFd);
  // While it creates the container nobody reads what the runtime says: this much must fit (runc --debug says a lot).
  grow(sys, diag, stdio.stderrFd);
  if (input) openToAll(diag, input.readFd, 'stdin');
  if (!plan.terminal) openToAll(diag, output.writeFd, 'stdout');
  openToAll(diag, errors.writeFd, 'stderr');
  return stdio;
}

/** stdin of a program that has nothing to read; undefined when no fd is left. The caller closes it. */
export function openNullInput(): number | undefined {
  try {
    return openSync('/dev/null', constants.O_RDONLY | O_CLOEXEC);
  } catch {
    return undefined;
  }
}

function nullOutput(): { readFd: number; writeFd: number } {
  return { readFd: -1, writeFd: openSync('/dev/null', constants.O_WRONLY | O_CLOEXEC) };
}

function pipe(sys: Sys, name: string): { readFd: number; writeFd: number } {
  const fds = new Int32Array(2);
  const result = sys.pipe2(fds, O_CLOEXEC);
  if (result < 0) throw new ConmonError('PIPE', `Failed to create ${name} pipe`, { reason: sys.strerror(result) });
  return { readFd: fds[0] ?? -1, writeFd: fds[1] ?? -1 };
}

function setNonblocking(sys: Sys, fd: number): void {
  sys.fcntl(fd, F_SETFL, sys.fcntl(fd, F_GETFL, 0) | constants.O_NONBLOCK);
}

/** More than /proc/sys/fs/pipe-max-size, or the user's share of pipe memory, is refused: then the pipe stays as it is. */
function grow(sys: Sys, diag: Diag, fd: number): void {
  const result = sys.fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
  if (result < 0) diag.debug(`pipe size of ${PIPE_BYTES} bytes refused: ${sys.strerror(result)}`);
}

/** So that a container which runs as another user can open /dev/stdout (contract section 4). */
function openToAll(diag: Diag, fd: number, name: string): void {
  try {
    fchmodSync(fd, 0o777);
  } catch (error) {
    diag.warn(`Failed to chmod ${name}: ${failureText(error)}`);
  }
}
