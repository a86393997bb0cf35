/**
 * Starts a session's programs in the cgroup where they belong: for an exec that has joined, its launcher's
 * (docs/adr/0035-sessions.md). Main thread.
 */

import { EAGAIN, EBADF, ENOMEM } from '../native/constants.ts';
import type { Sys, SysResult } from '../native/sys.ts';

/** Answers that have nothing to do with the cgroup, or that a second try would only repeat. */
const FINAL = [EAGAIN, ENOMEM, EBADF];

/**
 * As {@link Sys.spawn}. A cgroup that was removed meanwhile (the caller's scope is gone when a delayed exit command is
 * due), that we may not fill, or a kernel without CLONE_INTO_CGROUP (before 5.7) must not cost the process: it is then
 * born in ours.
 */
export function spawnInCgroup(sys: Pick<Sys, 'spawn'>, spec: Parameters<Sys['spawn']>[0]): SysResult {
  const pid = sys.spawn(spec);
  if (pid >= 0 || (spec.cgroupFd ?? -1) < 0 || FINAL.includes(pid)) return pid;
  return sys.spawn({ ...spec, cgroupFd: -1 });
}
