/** What is asked of an open file in more than one place: its kind, and whether its file system is of this machine. Any thread. */

import { AT_EMPTY_PATH, S_IFMT } from './constants.ts';
import type { Sys } from './sys.ts';

/** What fstatat answers (./sys.ts): which word is what, and how many there are. */
export const StatWord = { device: 0, inode: 1, mode: 2, links: 3, size: 4 } as const;
export const STAT_WORDS = 5;

/** f_type of statfs(2) on ext4, and on ext2 and ext3. */
export const EXT4_MAGIC = 0xef53;

/**
 * File systems on this machine's disks or in its memory: what they are called in /proc/self/mountinfo, and f_type of
 * statfs(2), as linux/magic.h has it (0: nobody writes to them).
 */
const LOCAL: readonly (readonly [string, number])[] = [
  ['ext2', EXT4_MAGIC],
  ['ext3', EXT4_MAGIC],
  ['ext4', EXT4_MAGIC],
  ['xfs', 0x58465342],
  ['btrfs', 0x9123683e],
  ['bcachefs', 0xca451a4e],
  ['f2fs', 0xf2f52010],
  ['zfs', 0x2fc12fc1],
  ['tmpfs', 0x01021994],
  ['ramfs', 0x858458f6],
  ['devtmpfs', 0x01021994],
  ['overlay', 0x794c7630],
  ['erofs', 0],
  ['squashfs', 0],
];

export const LOCAL_NAMES: ReadonlySet<string> = new Set(LOCAL.map(([name]) => name));
export const LOCAL_MAGICS: ReadonlySet<number> = new Set(
  LOCAL.map(([, magic]) => magic).filter((magic) => magic !== 0),
);

/** What an open file is, as {@link StatWord} says; a negative errno. Through the addon: Node's fstatSync takes five times as long. */
export function statOf(sys: Pick<Sys, 'fstatat'>, fd: number): BigInt64Array | number {
  const stat = new BigInt64Array(STAT_WORDS);
  const result = sys.fstatat(fd, '', AT_EMPTY_PATH, stat);
  return result < 0 ? result : stat;
}

/** S_IFREG and its like of what an fd (O_PATH too) is open for; a negative errno. */
export function fileKind(sys: Pick<Sys, 'fstatat'>, fd: number): number {
  const stat = statOf(sys, fd);
  return typeof stat === 'number' ? stat : Number(stat[StatWord.mode]) & S_IFMT;
}

/** Its size in bytes; a negative errno. */
export function fileSize(sys: Pick<Sys, 'fstatat'>, fd: number): number {
  const stat = statOf(sys, fd);
  return typeof stat === 'number' ? stat : Number(stat[StatWord.size]);
}
