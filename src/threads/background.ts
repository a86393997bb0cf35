/**
 * Keeps V8's background thread behind the threads that somebody waits for. Main thread.
 */

import { readdirSync, readFileSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import { SCHED_BATCH } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** As Node 26 names the threads of V8's pool. */
const V8_THREAD = 'node-V8Worker\n';
const TASKS = '/proc/self/task';

/**
 * A function that becomes hot is compiled by that thread. It is woken in the middle of a line, mostly on the CPU that the log
 * thread is on, and the scheduler lets whoever has slept run first: the line then waits for the compiler, 0.3 to 0.9 ms
 * (docs/adr/0045-a-containers-first-lines.md). With SCHED_BATCH it waits for its turn. Best effort.
 */
export function keepBackgroundBehind(sys: Sys, diag: Diag): void {
  try {
    for (const tid of readdirSync(TASKS)) {
      if (readFileSync(`${TASKS}/${tid}/comm`, 'latin1') !== V8_THREAD) continue;
      const result = sys.schedSetscheduler(Number(tid), SCHED_BATCH);
      if (result < 0) diag.debug(`V8's background thread keeps its scheduling policy: ${sys.strerror(result)}`);
    }
  } catch (error) {
    diag.debug(`V8's background thread keeps its scheduling policy: ${errorText(error)}`); // no /proc, or a thread has just left
  }
}
