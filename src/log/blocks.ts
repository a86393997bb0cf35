/**
 * Blocks for a large write, allocated before it: ext4 then copies into pages that have their place on the disk, which takes it
 * two thirds of the time of making a note for each 4 KiB to find one later (docs/adr/0047-large-writes.md). One log file's.
 * Runs where the log is written. What the file holds, and its size, are never changed; a write that goes wrong is not its
 * business.
 */

import { AT_EMPTY_PATH, EDQUOT, EINTR, ENOSPC, FALLOC_FL_KEEP_SIZE } from '../native/constants.ts';
import { EXT4_MAGIC, STAT_WORDS, StatWord } from '../native/files.ts';
import type { Sys } from '../native/sys.ts';

/** A write that is shorter gains less than the two system calls take. */
export const LARGE_BYTES = 1 << 17;

export class Blocks {
  readonly #sys: Calls;
  readonly #stat = new BigInt64Array(STAT_WORDS);
  /** Whether the file's can be had; not asked before a large write comes. */
  #can: boolean | undefined;
  /** There were none; until a large write finds room they are not asked for. */
  #full = false;

  constructor(sys: Calls) {
    this.#sys = sys;
  }

  /** The log goes on in another file, which may be elsewhere. */
  otherFile(): void {
    this.#can = undefined;
    this.#full = false;
  }

  /**
   * Allocates those of a regular file that a write of `bytes` at its end needs, if there are any: exactly those, so that nothing
   * is left to be given back. At the end as it is now: a log that somebody has emptied would else get blocks far behind its end.
   * @returns where that is; -1 when nothing was asked
   */
  allocate(fd: number, bytes: number): number {
    this.#can ??= this.#sys.fstatfs(fd) === EXT4_MAGIC;
    if (!this.#can || this.#full) return -1;
    if (this.#sys.fstatat(fd, '', AT_EMPTY_PATH, this.#stat) < 0) return -1;
    const end = Number(this.#stat[StatWord.size]);
    const result = this.#sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, end, bytes);
    if (result === ENOSPC || result === EDQUOT) this.#full = true;
    else if (result < 0 && result !== EINTR) this.#can = false; // no extents (EOPNOTSUPP), a filter of system calls (EPERM, ENOSYS)
    return end;
  }

  /** How a large write went. */
  written(whole: boolean): void {
    this.#full &&= !whole;
  }
}

type Calls = Pick<Sys, 'fstatfs' | 'fstatat' | 'fallocate'>;
