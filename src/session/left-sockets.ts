/**
 * Sockets of daemons that were killed: nobody else removes them before a container of the same id starts. Each daemon
 * looks at a few of those beside its own, and at more as long as it finds some. Main thread; never waits, wakes nobody.
 */

import { linkSync, lstatSync, opendirSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { ECONNREFUSED, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** What a daemon names its socket (socketName), or one that it was removing when it was killed itself. */
const OURS = /^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}|\.left-\d{1,10})$/;
/** A socket's file is there a moment before the kernel knows whose it is (unix_bind_bsd, net/unix/af_unix.c). */
const YOUNG_MS = 60_000;
/** Of so many names those to look at are drawn: a directory holds one a container. */
const NAMES_MAX = 1024;
/** Looked at in any case. With a draw of eight, what is left stays below a seventh of the containers that run. */
const LOOKS = 8;
/** Looked at when each eight had one that was left. A removal takes 50 us (2-core VM, measured 2026-11). */
const LOOKS_MAX = 64;

/**
 * Whether nobody has the socket file `path`. Asked with a socket of another type, which is refused before the owner
 * hears of it: EPROTOTYPE says that there is one, ECONNREFUSED that there is none (unix_find_bsd, net/unix/af_unix.c).
 * false too when it cannot be told.
 */
export function isLeft(sys: Sys, path: string): boolean {
  const fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return false;
  const result = sys.connect(fd, path);
  sys.close(fd);
  return result === ECONNREFUSED;
}

/**
 * Removes some of what killed daemons have left in `directory`. Never follows a link there, never touches what is no
 * socket, of another user, younger than a minute or of another kind of name. @returns how many. Throws when the directory
 * cannot be read.
 */
export function sweep(sys: Sys, directory: string, random: () => number = Math.random): number {
  const names = someNames(directory);
  let removed = 0;
  for (let looks = 0, found = 0; names.length > 0 && looks < LOOKS_MAX; ) {
    const at = Math.floor(random() * names.length);
    const name = names[at] ?? '';
    names[at] = names.at(-1) ?? '';
    names.pop();
    if (removeLeft(sys, directory, name)) found++;
    if (++looks % LOOKS !== 0 && names.length > 0) continue;
    removed += found;
    if (found === 0) break;
    found = 0;
  }
  return removed;
}

function someNames(directory: string): string[] {
  const names: string[] = [];
  const stream = opendirSync(directory, { bufferSize: 256 });
  try {
    for (let entry = stream.readSync(); entry !== null && names.length < NAMES_MAX; entry = stream.readSync())
      if (OURS.test(entry.name)) names.push(entry.name);
  } finally {
    stream.closeSync();
  }
  return names;
}

function removeLeft(sys: Sys, directory: string, name: string): boolean {
  const path = `${directory}/${name}`;
  try {
    const seen = lstatSync(path);
    const oldEnough = Date.now() - seen.mtimeMs >= YOUNG_MS;
    if (!seen.isSocket() || seen.uid !== process.geteuid?.() || !oldEnough || !isLeft(sys, path)) return false;
    return removeSeen(path, seen, `${directory}/.left-${process.pid}`);
  } catch {
    return false; // another daemon was faster
  }
}

/** A daemon of the same id may have taken the name since: moves what is there aside, and looks again at what that is. */
function removeSeen(path: string, seen: Stats, aside: string): boolean {
  renameSync(path, aside);
  try {
    const { ino, mtimeMs } = lstatSync(aside);
    if (ino === seen.ino && mtimeMs === seen.mtimeMs) return true;
    linkSync(aside, path);
    return false;
  } finally {
    unlinkSync(aside);
  }
}
