/**
 * How a log file gives way to a new, empty one: replaced (`PATH.tmp` renamed over PATH), or kept as `PATH.1` after the
 * older ones have moved up (--log-rotate). Runs on the log thread. It writes no records and never waits.
 *
 * The directory is the machine's state, so that it can be taken up anywhere: each attempt looks what is there and does
 * only the steps that are left. A step that fails, a thread that dies between two steps, an engine that renames PATH
 * meanwhile: the next attempt goes on from what they left, and no file is shifted twice.
 */

import { constants } from 'node:fs';
import { basename, dirname } from 'node:path';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  EINVAL,
  ELOOP,
  ENOENT,
  EPERM,
  O_CLOEXEC,
  O_PATH,
  RENAME_NOREPLACE,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFLNK,
  S_IFMT,
  S_IWOTH,
} from '../native/constants.ts';
import { STAT_WORDS, StatWord } from '../native/files.ts';
import type { Sys } from '../native/sys.ts';
import type { RotationPlan } from '../proto/log-messages.ts';
import { LOG_FLAGS, LOG_MODE } from './open-log.ts';
import { Removal, type RemovalCalls } from './removal.ts';

/** A way to put a new file in the place of a log. */
export interface Replacement {
  /** How the old one goes. */
  readonly removal: Removal;
  /** Does the steps that are left. @returns an fd of the new, empty file at the path, the caller's; or a negative errno. */
  advance(): number;
}

/** The one that the plan asks for. */
export function replacement(sys: Calls, path: string, { keepFiles }: RotationPlan): Replacement {
  return keepFiles > 0 ? new Rotation(sys, path, keepFiles) : new Truncation(sys, path);
}

type Calls = RemovalCalls & Pick<Sys, 'openat2' | 'renameat2'>;

const DIRECTORY_FLAGS = O_PATH | constants.O_DIRECTORY | O_CLOEXEC;
const NO_SYMLINKS = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/** The path as it is given, links in its directories included, as conmon C does without --log-rotate. */
export class Truncation implements Replacement {
  readonly #sys: Calls;
  readonly #directory: string;
  readonly #name: string;
  readonly #newName: string;
  readonly removal: Removal;

  constructor(sys: Calls, path: string) {
    this.#sys = sys;
    this.removal = new Removal(sys);
    this.#directory = dirname(path);
    this.#name = basename(path);
    this.#newName = `${this.#name}.tmp`;
  }

  advance(): number {
    const directory = this.#sys.openat(AT_FDCWD, this.#directory, DIRECTORY_FLAGS, 0);
    if (directory < 0) return directory;
    const fd = createNew(this.#sys, directory, this.#newName);
    const result = fd < 0 ? fd : moveIntoPlace(this.#sys, directory, this.#newName, fd, this.#name);
    this.#sys.close(directory);
    return result;
  }
}

/**
 * PATH becomes PATH.1, and what was PATH.1 becomes PATH.2, up to `keepFiles`; the oldest gives way. Nothing is followed:
 * no link at PATH or in its directories (the path is given without any), no directory that everybody may write.
 */
export class Rotation implements Replacement {
  readonly #sys: Calls;
  readonly #directory: string;
  readonly #name: string;
  readonly #newName: string;
  readonly #keepFiles: number;
  readonly removal: Removal;
  readonly #stat = new BigInt64Array(STAT_WORDS);

  /** @param path as `safeLogPath` gave it @param keepFiles --log-max-files: how many older files stay, at least 1 */
  constructor(sys: Calls, path: string, keepFiles: number) {
    this.#sys = sys;
    this.removal = new Removal(sys);
    this.#directory = dirname(path);
    this.#name = basename(path);
    this.#newName = `${this.#name}.new`;
    this.#keepFiles = keepFiles;
  }

  advance(): number {
    const directory = this.#sys.openat2(AT_FDCWD, this.#directory, DIRECTORY_FLAGS, 0, NO_SYMLINKS);
    if (directory < 0) return directory;
    const result = this.#within(directory);
    this.#sys.close(directory);
    return result;
  }

  #within(directory: number): number {
    const refused = this.#checkDirectory(directory);
    if (refused < 0) return refused;
    const fd = createNew(this.#sys, directory, this.#newName);
    if (fd < 0) return fd;
    const kept = this.#keep(directory);
    if (kept < 0) {
      discard(this.#sys, directory, this.#newName, fd);
      return kept;
    }
    return moveIntoPlace(this.#sys, directory, this.#newName, fd, this.#name);
  }

  /** Everybody who may write there may also put another file in our place between two steps. */
  #checkDirectory(directory: number): number {
    const result = this.#sys.fstatat(directory, '', AT_EMPTY_PATH, this.#stat);
    if (result < 0) return result;
    return (Number(this.#stat[StatWord.mode]) & S_IWOTH) === 0 ? 0 : EPERM;
  }

  /** The file at PATH, if there is one: an engine may have renamed it away, or an attempt before this one has kept it. */
  #keep(directory: number): number {
    const found = this.#sys.fstatat(directory, this.#name, AT_SYMLINK_NOFOLLOW, this.#stat);
    if (found === ENOENT) return 0;
    if (found < 0) return found;
    if ((Number(this.#stat[StatWord.mode]) & S_IFMT) === S_IFLNK) return ELOOP;
    const shifted = this.#shift(directory);
    return shifted < 0 ? shifted : this.#move(directory, this.#name, this.#older(1), this.#keepFiles === 1);
  }

  /** Moves older files up, the oldest first, as far as the first number that is free: PATH.1 is free then. */
  #shift(directory: number): number {
    let free = 1;
    while (free < this.#keepFiles) {
      const found = this.#sys.fstatat(directory, this.#older(free), AT_SYMLINK_NOFOLLOW, this.#stat);
      if (found === ENOENT) break;
      if (found < 0) return found;
      free++;
    }
    for (let i = free; i > 1; i--) {
      const moved = this.#move(directory, this.#older(i - 1), this.#older(i), i === this.#keepFiles);
      if (moved < 0) return moved;
    }
    return 0;
  }

  #older(number: number): string {
    return `${this.#name}.${number}`;
  }

  /**
   * A rename that overwrites nothing; not every file system can say so (EINVAL). A file that is gone needs no move: an
   * engine renames PATH away at any moment.
   * @param giveWay whether what is at `to` is the oldest file, which goes: it is removed first, since ext4 writes a file out
   * to the disk when it is renamed over another one (mount option auto_da_alloc; docs/adr/0055-the-oldest-file-goes-first.md)
   */
  #move(directory: number, from: string, to: string, giveWay: boolean): number {
    const removed = giveWay ? this.removal.unlink(directory, to) : 0;
    if (removed < 0 && removed !== ENOENT) return removed;
    let result = this.#sys.renameat2(directory, from, directory, to, RENAME_NOREPLACE);
    if (result === EINVAL) result = this.#sys.renameat2(directory, from, directory, to, 0);
    return result === ENOENT ? 0 : result;
  }
}

/** A new, empty file. One of the same name can only be what a thread that died left: it is empty, or not ours. */
function createNew(sys: Calls, directory: number, name: string): number {
  const removed = sys.unlinkat(directory, name, 0);
  if (removed < 0 && removed !== ENOENT) return removed;
  return sys.openat(directory, name, LOG_FLAGS | constants.O_EXCL, LOG_MODE);
}

/** @returns `fd`, or a negative errno, and then the new file is gone. */
function moveIntoPlace(sys: Calls, directory: number, newName: string, fd: number, name: string): number {
  const moved = sys.renameat2(directory, newName, directory, name, 0);
  if (moved >= 0) return fd;
  discard(sys, directory, newName, fd);
  return moved;
}

function discard(sys: Calls, directory: number, name: string, fd: number): void {
  sys.close(fd);
  sys.unlinkat(directory, name, 0); // what failed before is what is told
}
