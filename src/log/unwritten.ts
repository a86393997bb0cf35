/**
 * Log files that nobody writes to: their writer is lost or never was. An engine that asks for new ones waits for them
 * without a limit (contract section 6), and gets them. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import type { Sys } from '../native/sys.ts';
import type { DriverTarget, RotationPlan } from '../proto/log-messages.ts';
import { replacement } from './rotation.ts';

/** Puts a new, empty file in the place of each. What cannot be made is told. */
export function replaceUnwritten(sys: Sys, diag: Diag, targets: readonly DriverTarget[], plan: RotationPlan): void {
  for (const target of targets) {
    if (target.driver === 'journald') continue;
    const fd = replacement(sys, target.path, plan).advance();
    if (fd >= 0) sys.close(fd);
    else diag.warn(`Failed to reopen log file ${target.path}: ${sys.strerror(fd)}`);
  }
}
