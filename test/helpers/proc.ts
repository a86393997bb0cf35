/**
 * Reads other processes out of /proc: who is there, in which state, whose child, with which fds.
 * It never signals anybody except in `endProcess`, and there one pid that the caller names.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { waitFor } from './wait.ts';

export interface ProcessInfo {
  readonly pid: number;
  readonly comm: string;
  /** One letter as in proc(5): R, S, D, Z, T ... */
  readonly state: string;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
}

function readProc(pid: number | string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

/** @returns undefined when there is no such process. A zombie is still one: look at `state`. */
export function processInfo(pid: number): ProcessInfo | undefined {
  const stat = readProc(pid, 'stat');
  const open = stat.indexOf('(');
  const close = stat.lastIndexOf(')');
  if (close < 0) {
    return undefined;
  }
  const fields = stat.slice(close + 2).split(' ');
  return {
    pid,
    comm: stat.slice(open + 1, close),
    state: fields[0] ?? '?',
    ppid: Number(fields[1]),
    pgid: Number(fields[2]),
    sid: Number(fields[3]),
  };
}

/** True while `pid` runs. A zombie does not: a slow pid 1 may keep it for a while, and that is no concern of ours. */
export function isRunning(pid: number): boolean {
  const info = processInfo(pid);
  return info !== undefined && info.state !== 'Z' && info.state !== 'X';
}

export function allProcesses(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Children of every thread of `pid`, zombies included. */
export function childrenOf(pid: number): ProcessInfo[] {
  let tasks: string[];
  try {
    tasks = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return tasks
    .flatMap((task) => readProc(`${pid}/task/${task}`, 'children').trim().split(' '))
    .filter((child) => child !== '')
    .map((child) => processInfo(Number(child)))
    .filter((info) => info !== undefined);
}

/**
 * Living processes that carry `mark` in their command line, environment or cgroup path, this process and its
 * ancestors excepted. A zombie has none of these, so it is never listed.
 */
export function processesMarked(mark: string): { pid: number; cmdline: string }[] {
  const own = new Set<number>();
  for (let pid = process.pid; pid > 0; pid = processInfo(pid)?.ppid ?? 0) {
    own.add(pid);
  }
  return allProcesses()
    .filter((pid) => !own.has(pid))
    .map((pid) => ({ pid, cmdline: readProc(pid, 'cmdline').replaceAll('\0', ' ').trim() }))
    .filter(
      ({ pid, cmdline }) =>
        cmdline.includes(mark) || readProc(pid, 'environ').includes(mark) || readProc(pid, 'cgroup').includes(mark),
    );
}

/** The open fds of a process with what they refer to; empty when it is gone. */
export function fdsOf(pid: number): Map<number, string> {
  const fds = new Map<number, string>();
  let names: string[] = [];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    // gone: no fds
  }
  for (const name of names) {
    try {
      fds.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // closed since
    }
  }
  return fds;
}

/** The value of one `Name:` line of /proc/PID/status, trimmed; undefined when absent. */
export function statusField(status: string, name: string): string | undefined {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
}

/** Ends one process by pid and waits until it no longer runs. */
export async function endProcess(pid: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  try {
    process.kill(pid, signal);
  } catch {
    return;
  }
  await waitFor(`process ${pid} to end`, () => !isRunning(pid));
}
