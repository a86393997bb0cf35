/**
 * Whether a path can be opened without waiting for a server that may not answer: asked before a daemon with other
 * sessions touches what an exec names (docs/adr/0035-sessions.md). Main thread; never waits.
 */

import { constants, readFileSync, readlinkSync } from 'node:fs';
import { basename, dirname, isAbsolute } from 'node:path';
import { AT_FDCWD, EAGAIN, O_CLOEXEC, O_PATH, RESOLVE_CACHED, S_IFLNK } from '../native/constants.ts';
import { fileKind, LOCAL_NAMES } from '../native/files.ts';
import type { Sys, SysResult } from '../native/sys.ts';

/** The kernel follows 40; longer chains than this are nobody's. */
const LINKS_MAX = 8;

/**
 * How often a directory is looked for. The kernel's answer is EAGAIN also when anybody has mounted or unmounted something
 * anywhere during the look-up (legitimize_mnt, fs/namespace.c): of 200,000 look-ups beside a loop of `unshare -m true`, 154
 * had it, and 13 of these the next time too (2-core VM, measured 2026-11). One that is not in the cache costs 3 us a time.
 */
const LOOKS_MAX = 16;

/** More mounts than a host has that execs name; then all is asked again. */
const MOUNTS_MAX = 256;

/** Which mount is of which type: what was asked once is known, since a mount's number is never another's. */
export class Mounts {
  readonly #types = new Map<number, string>();

  /** The type's name, '' when it is not known. Asks procfs: fstatfs would ask the file system. */
  typeAt(sys: Sys, fd: number): string {
    const id = sys.mountId(fd);
    const known = this.#types.get(id);
    if (known !== undefined) return known;
    const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    const mounts = readFileSync('/proc/self/mountinfo', 'latin1');
    const type = new RegExp(`^${mount} .* - (\\S+) `, 'm').exec(mounts)?.[1] ?? '';
    if (this.#types.size >= MOUNTS_MAX) this.#types.clear();
    if (id >= 0 && type !== '') this.#types.set(id, type);
    return type;
  }
}

/**
 * A look-up that the kernel's cache can answer waits for nobody, and of a network's file system the cache answers for
 * seconds only. What is not there yet is asked for by its directory's file system. true too before Linux 5.12, which
 * cannot be asked, and for what does not exist: that shows without a wait.
 */
export function isAtHand(sys: Sys, path: string, mounts = new Mounts(), linksLeft = LINKS_MAX): boolean {
  const found = sys.openat2(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, RESOLVE_CACHED);
  if (found >= 0) sys.close(found);
  if (found !== EAGAIN) return true;
  return isHere(sys, path, mounts, (target) => linksLeft > 0 && isAtHand(sys, target, mounts, linksLeft - 1));
}

/** The same of a directory in which files are made: that it is in the cache says nothing of them. */
export function isPlaceAtHand(sys: Sys, path: string, mounts = new Mounts(), linksLeft = LINKS_MAX): boolean {
  const found = sys.openat2(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, RESOLVE_CACHED);
  if (found === EAGAIN)
    return isHere(sys, path, mounts, (target) => linksLeft > 0 && isPlaceAtHand(sys, target, mounts, linksLeft - 1));
  if (found < 0) return true;
  try {
    return LOCAL_NAMES.has(mounts.typeAt(sys, found));
  } finally {
    sys.close(found);
  }
}

/** By the directory that holds it. The kernel does not follow a link that was not read for a day: `follow` says where it leads. */
function isHere(sys: Sys, path: string, mounts: Mounts, follow: (target: string) => boolean): boolean {
  const flags = O_PATH | constants.O_DIRECTORY | O_CLOEXEC;
  let directoryFd: SysResult;
  let looks = 0;
  do directoryFd = sys.openat2(AT_FDCWD, dirname(path), flags, 0, RESOLVE_CACHED);
  while (directoryFd === EAGAIN && ++looks < LOOKS_MAX);
  if (directoryFd < 0) return directoryFd !== EAGAIN;
  try {
    if (!LOCAL_NAMES.has(mounts.typeAt(sys, directoryFd))) return false;
    const fd = sys.openat2(directoryFd, basename(path), O_PATH | constants.O_NOFOLLOW | O_CLOEXEC, 0, 0);
    if (fd < 0) return true;
    try {
      const kind = LOCAL_NAMES.has(mounts.typeAt(sys, fd)) ? fileKind(sys, fd) : -1;
      if (kind < 0) return false;
      if (kind !== S_IFLNK) return true;
    } finally {
      sys.close(fd);
    }
    const target = readlinkSync(path);
    // Not by path.join: `..` is the kernel's to resolve.
    return follow(isAbsolute(target) ? target : `${dirname(path)}/${target}`);
  } catch {
    return false; // it is no link any longer
  } finally {
    sys.close(directoryFd);
  }
}
