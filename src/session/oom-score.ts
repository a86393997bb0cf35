/**
 * conmon's own oom_score_adj: -1000 where the machine allows it, so that the monitor outlives its container. The value
 * from before is what the runtime and the exit command get. Best effort (contract section 1). Main thread.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { failureText } from '../native/sys.ts';

const FILE = '/proc/self/oom_score_adj';

/** @returns the value from before, as children must write it; '' when it could not be read. */
export function lowerOomScore(diag: Diag): string {
  let before = '';
  try {
    before = readFileSync(FILE, 'latin1').trim();
    writeFileSync(FILE, '-1000');
  } catch (error) {
    // Lowering it needs CAP_SYS_RESOURCE: a rootless conmon and many machines do not have it.
    diag.debug(`failed to write to ${FILE}: ${failureText(error)}`);
  }
  return before;
}
