/**
 * Finds the memory cgroup of a process: `/proc/PID/cgroup` has a line for each hierarchy, and on a hybrid machine those
 * of v1 and the one of v2 stand side by side. Reads files only. Main thread.
 */

import { readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

/** f_type of a cgroup2 mount (linux/magic.h). */
const CGROUP2_SUPER_MAGIC = 0x63677270;
/** What the kernel adds to the path of a cgroup that was removed under its last process (cgroups(7)). */
const REMOVED = ' (deleted)';

/** Where the two trees are; other paths are for tests. */
export interface CgroupTrees {
  readonly proc: string;
  readonly cgroup: string;
  /** Is `cgroup` the v2 hierarchy itself? Else it holds a directory for each v1 controller, and perhaps `unified`. */
  readonly unified: () => boolean;
}

export const CGROUP_TREES: CgroupTrees = {
  proc: '/proc',
  cgroup: '/sys/fs/cgroup',
  unified: () => statfsSync('/sys/fs/cgroup').type === CGROUP2_SUPER_MAGIC,
};

export interface MemoryCgroup {
  readonly version: 1 | 2;
  readonly path: string;
}

/**
 * @returns undefined when the process is in no memory cgroup of its own: the root has no events, and a process that has
 * ended is in the root (v1) or in a cgroup that was removed. Throws what node:fs throws when /proc/PID is gone.
 */
export function findMemoryCgroup(pid: number, trees: CgroupTrees): MemoryCgroup | undefined {
  const lines = readFileSync(join(trees.proc, String(pid), 'cgroup'), 'latin1')
    .split('\n')
    .map(parseLine);
  const v2 = lines.find((line) => line?.controllers === '');
  if (trees.unified()) return locate(2, trees.cgroup, v2?.path);
  const v1 = lines.find((line) => line?.controllers.split(',').includes('memory'));
  // A hybrid machine may have left the memory controller to v2.
  return v1
    ? locate(1, join(trees.cgroup, v1.controllers), v1.path)
    : locate(2, join(trees.cgroup, 'unified'), v2?.path);
}

interface CgroupLine {
  readonly controllers: string;
  readonly path: string;
}

/** `ID:CONTROLLERS:PATH`; the path may hold colons. */
function parseLine(line: string): CgroupLine | undefined {
  const first = line.indexOf(':');
  const second = line.indexOf(':', first + 1);
  if (first === -1 || second === -1) return undefined;
  return { controllers: line.slice(first + 1, second), path: line.slice(second + 1) };
}

function locate(version: 1 | 2, root: string, path: string | undefined): MemoryCgroup | undefined {
  // A path with `..` is outside of what this cgroup namespace can see.
  if (path === undefined || path === '/' || path.endsWith(REMOVED) || path.split('/').includes('..')) return undefined;
  // As bytes: a name of a cgroup need not be UTF-8, but the engines' are, and latin1 is what was read.
  return { version, path: Buffer.from(join(root, path), 'latin1').toString() };
}
