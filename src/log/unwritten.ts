/**
 * Log files that nobody writes to: their writer is lost or never was. An engine that asks for new ones waits for them
 * without a limit (contract section 6), and gets them. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFCHR, S_IFIFO, S_IFMT } from '../native/constants.ts';
import { STAT_WORDS, StatWord } from '../native/files.ts';
import type { Sys } from '../native/sys.ts';
import type { DriverTarget, RotationPlan } from '../proto/log-messages.ts';
import { replacement } from './rotation.ts';

/** Puts a new, empty file in the place of each. What cannot be made is told. A FIFO or device stays what it is (./file-sink.ts). */
export function replaceUnwritten(sys: Sys, diag: Diag, targets: readonly DriverTarget[], plan: RotationPlan): void {
  for (const target of targets) {
    if (target.driver === 'journald' || staysInPlace(sys, target.path)) continue;
    const fd = replacement(sys, target.path, plan).advance();
    if (fd >= 0) sys.close(fd);
    else diag.warn(`Failed to reopen log file ${target.path}: ${sys.strerror(fd)}`);
  }
}

/** /dev/null is everybody's. */
function staysInPlace(sys: Sys, path: string): boolean {
  const stat = new BigInt64Array(STAT_WORDS);
  if (sys.fstatat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, stat) < 0) return false;
  const kind = Number(stat[StatWord.mode]) & S_IFMT;
  return kind === S_IFIFO || kind === S_IFCHR;
}
