// What the kernel says about the processes of a monitor: its tree, CPU time, context switches, memory, threads, fds.
// Main thread only; it reads /proc and never signals anything.

import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { programPath } from './native.ts';

const run = promisify(execFile);

/** USER_HZ, which is 100 on every Linux that Node runs on (man 5 proc, man 7 time). */
const tickNs = 10_000_000;

export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parentPid: number;
  /** utime + stime of children that ended and were waited for, in ns; 10 ms steps. */
  readonly reapedCpuNs: number;
  /** Start time in ticks since boot: with the pid it names a process for good. */
  readonly startTicks: number;
}

/** @returns undefined when there is no such process. */
export async function readProcess(pid: number): Promise<ProcessStat | undefined> {
  try {
    return parseStat(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return undefined; // it has ended
  }
}

/** Parses /proc/PID/stat; the name may hold spaces and parentheses, so fields count from the last ')'. */
export function parseStat(text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (index: number): number => Number(fields[index - 3]); // numbered as in man 5 proc
  return {
    pid: Number.parseInt(text, 10),
    state: fields[0] ?? '',
    parentPid: field(4),
    reapedCpuNs: (field(16) + field(17)) * tickNs,
    startTicks: field(22),
  };
}

/** Whether that process runs: a zombie that its parent has not fetched yet counts as ended. */
export async function isAlive(pid: number, startTicks: number): Promise<boolean> {
  const found = await readProcess(pid);
  return found !== undefined && found.startTicks === startTicks && found.state !== 'Z' && found.state !== 'X';
}

/**
 * The pids of a monitor: the daemon and its descendants, without the containers and what belongs to those.
 * A process that ends meanwhile is left out.
 */
export async function monitorTree(daemonPid: number, ...containerPids: readonly number[]): Promise<readonly number[]> {
  const children = new Map<number, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const found = await readProcess(Number(name));
    if (found === undefined) continue;
    children.set(found.parentPid, [...(children.get(found.parentPid) ?? []), found.pid]);
  }
  const tree: number[] = [];
  const pending = [daemonPid];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    if (containerPids.includes(pid)) continue;
    tree.push(pid);
    pending.push(...(children.get(pid) ?? []));
  }
  return tree;
}

/** The processes whose command line holds `text`, this one left out. */
export async function processesOf(text: string): Promise<readonly ProcessStat[]> {
  const all: ProcessStat[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => ''); // it has ended
    const found = line.includes(text) ? await readProcess(Number(name)) : undefined;
    if (found !== undefined) all.push(found);
  }
  return all;
}

/** CPU time of those processes themselves so far, in ns: all threads, ended ones too. */
export async function ownCpuNs(pids: readonly number[]): Promise<number> {
  const { stdout } = await run(programPath('cpu-clock'), pids.map(String), { timeout: 10_000 });
  let totalNs = 0;
  for (const line of stdout.trim().split('\n')) totalNs += Math.max(0, Number(line)); // -1: it has ended
  return totalNs;
}

/** As ownCpuNs, and with it the children that they have reaped (in steps of 10 ms). */
export async function treeCpuNs(pids: readonly number[]): Promise<number> {
  let totalNs = await ownCpuNs(pids);
  for (const pid of pids) totalNs += (await readProcess(pid))?.reapedCpuNs ?? 0;
  return totalNs;
}

/** CPU time of the whole machine since boot, in ns; steps of 10 ms. */
export interface MachineCpu {
  /** All processes and interrupts. */
  readonly busyNs: number;
  /** Taken away by the hypervisor. */
  readonly stolenNs: number;
}

export async function machineCpu(): Promise<MachineCpu> {
  return parseMachineCpu(await readFile('/proc/stat', 'utf8'));
}

/** Parses the first line of /proc/stat (man 5 proc). */
export function parseMachineCpu(text: string): MachineCpu {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = text
    .slice(0, text.indexOf('\n'))
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { busyNs: (user + nice + system + irq + softIrq) * tickNs, stolenNs: steal * tickNs };
}

export interface Footprint {
  readonly privateKiB: number;
  readonly pssKiB: number;
  readonly rssKiB: number;
  readonly threads: number;
  readonly fds: number;
  readonly voluntarySwitches: number;
  readonly involuntarySwitches: number;
}

/** Sums over those processes: memory, threads, fds, and context switches of all live threads since they began. */
export async function footprint(pids: readonly number[]): Promise<Footprint> {
  const sum = { privateKiB: 0, pssKiB: 0, rssKiB: 0, threads: 0, fds: 0, voluntarySwitches: 0, involuntarySwitches: 0 };
  for (const pid of pids) {
    const memory = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
    sum.privateKiB += parseField(memory, 'Private_Clean') + parseField(memory, 'Private_Dirty');
    sum.pssKiB += parseField(memory, 'Pss');
    sum.rssKiB += parseField(memory, 'Rss');
    sum.fds += (await readdir(`/proc/${pid}/fd`)).length;
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8');
      sum.threads++;
      sum.voluntarySwitches += parseField(status, 'voluntary_ctxt_switches');
      sum.involuntarySwitches += parseField(status, 'nonvoluntary_ctxt_switches');
    }
  }
  return sum;
}

/** The number after `NAME:` in a file of `Name: value` lines. Throws when there is none. */
export function parseField(text: string, name: string): number {
  const value = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1];
  if (value === undefined) throw new Error(`no ${name} in /proc text`);
  return Number(value);
}
