/**
 * Starts the processes of a container so that they outlive us: own session, our stdio, and the pid that the command
 * keeps. A process that has to wait (for `start`, or for its terminal) is a small shell script that reads lines from a
 * FIFO, the gate, and then becomes the command with exec. The environment reaches the command through env(1), because
 * a shell would drop or add variables of its own. Once a process is started nothing here returns to the event loop:
 * libuv would reap a process that is quick to end, and its parent-to-be (conmon, a subreaper) would never see its status.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readlinkSync, writeSync } from 'node:fs';
import { FD_MAX } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { codeOf, DemoError, reasonOf } from './demo-error.ts';
import type { ProcessSpec } from './process-spec.ts';

/** The gate comes after the preserved fds, and a POSIX shell knows fds of one digit only. */
const MAX_PRESERVED_FDS = 6;
const FIRST_PRESERVED_FD = 3;
/** Linux 5.11; an older kernel refuses it, and what the caller leaked stays open. */
const CLOSE_RANGE_CLOEXEC = 4;

/** Makes the FIFO of a process that waits. @throws DemoError naming it. */
export function makeGate(sys: Sys, path: string): void {
  const result = sys.mkfifo(path, 0o600);
  if (result < 0) throw new DemoError(`mkfifo ${path}: ${sys.strerror(result)}`);
}

/**
 * Starts a process that waits at the gate: for the path of its terminal, if it gets one, and then for the line that
 * starts it. It holds the FIFO open for reading and writing, so that a line written
 * before it reads is kept, and so that {@link passGate} fails when the process is gone.
 * @returns its pid, which the command keeps.
 */
export async function startWaiting(
  sys: Sys,
  spec: ProcessSpec,
  gatePath: string,
  forConsole: boolean,
  preservedFds: number,
): Promise<number> {
  const gate = FIRST_PRESERVED_FD + preservedFds;
  const script = [
    // Opened by the session's leader, a terminal becomes its controlling one.
    ...(forConsole ? [`IFS= read -r console <&${gate} || exit 1`, 'exec 0<>"$console" 1>&0 2>&0'] : []),
    `read -r start <&${gate} || exit 1`,
    `exec "$@" ${gate}<&-`,
  ];
  const gateFd = openSync(gatePath, 'r+');
  try {
    const argv = ['-c', script.join('\n'), 'conmon-demo-init', '/usr/bin/env', ...envArguments(spec)];
    return await startDetached(sys, '/bin/sh', argv, spec, [...preserved(preservedFds), gateFd]);
  } finally {
    closeSync(gateFd);
  }
}

/** Starts a process that runs the command at once. @returns its pid. */
export async function startNow(sys: Sys, spec: ProcessSpec, preservedFds: number): Promise<number> {
  return startDetached(sys, '/usr/bin/env', envArguments(spec), spec, preserved(preservedFds));
}

/** Writes one line for the waiting process. @returns false when no process waits at the gate (any more). */
export function passGate(gatePath: string, line: string): boolean {
  let fd: number;
  try {
    fd = openSync(gatePath, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (codeOf(error) === 'ENXIO' || codeOf(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    writeSync(fd, `${line}\n`);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Blocks until our child has ended. @returns its status as a shell gives it: 128 + signal when it was killed. */
export function waitForExit(sys: Sys, pid: number): number {
  const status = new Int32Array(1);
  const result = sys.waitpid(pid, 0, status);
  if (result < 0) throw new DemoError(`waitpid ${pid}: ${sys.strerror(result)}`);
  const [raw = 0] = status;
  const signal = raw & 0x7f;
  return signal === 0 ? (raw >> 8) & 0xff : 128 + signal;
}

/**
 * Arguments for env(1): exactly the environment of the process, then the command, which env looks up in the PATH it
 * has just set and whose argv[0] stays as given. A command with `=` in it would be taken for a variable: a shell
 * executes that one.
 */
function envArguments(spec: ProcessSpec): readonly string[] {
  const [command = ''] = spec.args;
  const detour = command.includes('=') ? ['/bin/sh', '-c', 'exec "$@"', 'sh'] : [];
  return ['-i', '--', ...spec.env, ...detour, ...spec.args];
}

async function startDetached(
  sys: Sys,
  file: string,
  argv: readonly string[],
  spec: ProcessSpec,
  extraFds: readonly number[],
): Promise<number> {
  // Node marks the fds it was born with up to the first gap only (libuv, uv_disable_stdio_inheritance).
  sys.closeRange(FIRST_PRESERVED_FD, FD_MAX, CLOSE_RANGE_CLOEXEC);
  const isRoot = process.geteuid?.() === 0;
  const umask = process.umask(spec.umask);
  const child = spawn(file, argv, {
    cwd: spec.cwd,
    env: {},
    stdio: [0, 1, 2, ...extraFds],
    detached: true,
    ...(isRoot ? { uid: spec.uid, gid: spec.gid } : {}),
  });
  process.umask(umask);
  child.unref();
  if (child.pid !== undefined) return child.pid;
  const [error]: unknown[] = await once(child, 'error');
  throw new DemoError(`cannot start a process in ${spec.cwd}: ${reasonOf(error)}`, { cause: error });
}

/** The fds 3, 4, ... that the caller left open for the container. @throws DemoError when one is not open. */
function preserved(count: number): readonly number[] {
  if (!Number.isInteger(count) || count < 0 || count > MAX_PRESERVED_FDS) {
    throw new DemoError(`--preserve-fds: this runtime takes 0 to ${MAX_PRESERVED_FDS}`);
  }
  const fds = Array.from({ length: count }, (_, index) => FIRST_PRESERVED_FD + index);
  for (const fd of fds) if (!isInherited(fd)) throw new DemoError(`--preserve-fds ${count}: fd ${fd} is not open`);
  return fds;
}

/** Node's own fds take the free numbers; the first ones are always these kinds. */
function isInherited(fd: number): boolean {
  try {
    return !/^anon_inode:\[(eventpoll|eventfd|io_uring)\]$/.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
}
