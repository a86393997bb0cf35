/**
 * How an old log file goes. With the last name and the last fd of it go its pages and blocks, 0.1 ms for each MB, while the
 * container's pipe fills: a large one is closed by a thread of its own, one at a time; where there is none (no thread or fd to be had, another
 * one under way) it is done here. One driver's; runs where the log is written. It decides nothing about which file goes.
 */

import { constants } from 'node:fs';
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  EDQUOT,
  ENOSPC,
  F_DUPFD_CLOEXEC,
  O_CLOEXEC,
  O_PATH,
  S_IFMT,
  S_IFREG,
} from '../native/constants.ts';
import { LOCAL_MAGICS, STAT_WORDS, StatWord } from '../native/files.ts';
import type { Sys, SysResult } from '../native/sys.ts';

/** A smaller file goes in less time than is worth a thread, whose start takes 15 us (docs/adr/0071-the-old-file-goes-elsewhere.md). */
export const LARGE_FILE_BYTES = 1 << 20;
/** What a full disk is given to get the space of a file back that is on its way. */
const WAIT_MS = 100;
const FIRST_FD = 3;

export type RemovalCalls = Pick<
  Sys,
  'fstatat' | 'fstatfs' | 'openat' | 'unlinkat' | 'fcntl' | 'dup3' | 'close' | 'closeLater' | 'awaitClose'
>;

export class Removal {
  readonly #sys: RemovalCalls;
  readonly #stat = new BigInt64Array(STAT_WORDS);
  /** A file is on its way, or was since the disk was last found full. */
  #underWay = false;

  constructor(sys: RemovalCalls) {
    this.#sys = sys;
  }

  /** unlinkat of a file, no directory. @returns what that says, or why it could not be looked at. */
  unlink(directory: number, name: string): SysResult {
    const found = this.#sys.fstatat(directory, name, AT_SYMLINK_NOFOLLOW, this.#stat);
    if (found < 0) return found;
    const held = this.#isLarge(1n) && this.#mayHold(directory) ? this.#hold(directory, name) : -1;
    const result = this.#sys.unlinkat(directory, name, 0);
    if (held >= 0) this.#close(held);
    return result;
  }

  /** dup3 of `fd` onto `target`, a log of about `bytes`, which has lost its name: `target` leads to the new one from now on. */
  putInPlace(fd: number, target: number, bytes: number): SysResult {
    const large = bytes >= LARGE_FILE_BYTES && this.#sys.fstatat(target, '', AT_EMPTY_PATH, this.#stat) >= 0;
    const held = large && this.#isLarge(0n) ? this.#sys.fcntl(target, F_DUPFD_CLOEXEC, FIRST_FD) : -1;
    const result = this.#sys.dup3(fd, target, O_CLOEXEC);
    if (held >= 0) this.#close(held);
    return result;
  }

  /**
   * After something has failed for want of room: the space of a file that has no name any more may come only now.
   * @returns whether it is worth trying again at once.
   */
  makesRoom(errno: SysResult): boolean {
    if (!this.#underWay || (errno !== ENOSPC && errno !== EDQUOT)) return false;
    this.#underWay = false;
    this.#sys.awaitClose(WAIT_MS); // one that takes longer is found by who tries again later
    return true;
  }

  /** Whether what was looked at is a large file with so many names. */
  #isLarge(links: bigint): boolean {
    const { mode, links: linkCount, size } = StatWord;
    return (
      (Number(this.#stat[mode]) & S_IFMT) === S_IFREG &&
      this.#stat[linkCount] === links &&
      Number(this.#stat[size]) >= LARGE_FILE_BYTES
    );
  }

  /** A file server's client gives a file that somebody holds another name instead of removing it (NFS, AFS). */
  #mayHold(directory: number): boolean {
    return LOCAL_MAGICS.has(this.#sys.fstatfs(directory));
  }

  /** Opens nothing, and tells nobody who watches. */
  #hold(directory: number, name: string): number {
    return this.#sys.openat(directory, name, O_PATH | constants.O_NOFOLLOW | O_CLOEXEC, 0);
  }

  #close(fd: number): void {
    if (this.#sys.closeLater(fd) === 0) this.#underWay = true;
    else this.#sys.close(fd);
  }
}
