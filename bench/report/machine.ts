// Says on what and with what the figures were taken: machine, kernel, Node, both conmons, commit.
// Main thread only; it starts `conmon --version` and `git` once each, and never fails for what it cannot find out.

import { execFile } from 'node:child_process';
import { readFile, realpath, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { promisify } from 'node:util';
import type { Environment, Side } from '../harness/environment.ts';
import { projectRoot } from '../harness/native.ts';

const run = promisify(execFile);

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly commit: string;
  readonly fileSystem: string;
  readonly load: string;
  readonly conmon: Readonly<Record<Side, string>>;
}

export async function describeMachine(environment: Environment): Promise<Machine> {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
    cpus: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    commit: await commitOf(projectRoot),
    fileSystem: await fileSystemOf(environment.workDir),
    load: loadavg()
      .map((load) => load.toFixed(2))
      .join(' '),
    conmon: {
      rival: await versionOf(environment.monitors.rival),
      ours: await versionOf(environment.monitors.ours),
    },
  };
}

/** The header of a report, a few lines; ends with a newline. */
export function formatMachine(machine: Machine): string {
  return [
    `${machine.date}  commit ${machine.commit}`,
    `${machine.cpus} x ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, load ${machine.load}`,
    `logs on ${machine.fileSystem}; bench on Node ${machine.node}`,
    `rival  ${machine.conmon.rival}`,
    `ours   ${machine.conmon.ours}`,
    '',
  ].join('\n');
}

async function versionOf(path: string): Promise<string> {
  const version = await output(path, ['--version']);
  return `${version.split('\n').join(', ')} (${await realpath(path)})`;
}

async function commitOf(directory: string): Promise<string> {
  const commit = await output('git', ['-C', directory, 'rev-parse', '--short=12', 'HEAD']);
  const changes = await output('git', ['-C', directory, 'status', '--porcelain', '--untracked-files=no']);
  return changes === '' || changes === 'unknown' ? commit : `${commit} with changes`;
}

async function output(file: string, argv: readonly string[]): Promise<string> {
  try {
    return (await run(file, argv, { timeout: 10_000 })).stdout.trim();
  } catch {
    return 'unknown';
  }
}

/** Type and free space of the file system that holds `directory`. */
async function fileSystemOf(directory: string): Promise<string> {
  const { bsize, bavail } = await statfs(directory);
  const free = `${Math.round((bsize * bavail) / 1e9)} GB free`;
  const path = await realpath(directory);
  let best = { mountPoint: '', type: 'unknown file system' };
  for (const line of (await readFile('/proc/self/mounts', 'utf8')).split('\n')) {
    const [, mountPoint = '', type = ''] = line.split(' ');
    const within = mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
    if (within && mountPoint.length >= best.mountPoint.length) best = { mountPoint, type };
  }
  return `${best.type}, ${free}`;
}
