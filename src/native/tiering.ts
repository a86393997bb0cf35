/**
 * When V8 optimises what main runs: later than by itself, while it has nothing but its container's log to write. Most containers say
 * little, through functions that cost more to compile than they save in some hundred calls (docs/adr/0068-optimised-later.md). V8 takes
 * code that was compiled before, Node's and ours, only under the setting that this was made under, which is its own: that is back for
 * good before anything else is loaded. The setting is the process's, for all its threads.
 */

import { sys } from './sys.ts';
import { V8S_OWN } from './v8s-own.ts';

/** Calls of a function before V8 compiles it with Maglev. V8 reads it when it has looked at a function: at the eighth call, then at this one. */
const LATE = '--invocation-count-for-maglev=2000';

/** From now on: everything is loaded that a log on main needs. Another Node, which cannot be asked, goes on as it does. */
export function optimiseLate(): void {
  sys.setV8Flags(LATE);
}

/** To be called before code is loaded, and before a thread is started, which loads its own by and by. */
export function optimiseAsV8Does(): void {
  sys.setV8Flags(V8S_OWN);
}
