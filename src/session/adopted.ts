/**
 * Processes that became ours when their parent ended, as conmon is a subreaper: what a runtime that had to be killed
 * left half made. Main thread.
 */

import { readFileSync } from 'node:fs';
import { SIGKILL } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** Deeper trees than this are no runtime's. */
const DEPTH_MAX = 16;

/** Kills every descendant of this process but `except` itself. Needs CONFIG_PROC_CHILDREN; without it does nothing. */
export function killAdopted(sys: Sys, except: number): void {
  for (const pid of descendants(process.pid, DEPTH_MAX)) if (pid !== except) sys.kill(pid, SIGKILL);
}

/** Kills every descendant of `pid`, but not that process itself. */
export function killDescendants(sys: Sys, pid: number): void {
  for (const descendant of descendants(pid, DEPTH_MAX)) sys.kill(descendant, SIGKILL);
}

function descendants(pid: number, depth: number): readonly number[] {
  if (depth === 0) return [];
  const children = childrenOf(pid);
  return [...children, ...children.flatMap((child) => descendants(child, depth - 1))];
}

function childrenOf(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
      .split(' ')
      .map(Number)
      .filter((child) => child > 0);
  } catch {
    return []; // ended meanwhile
  }
}
