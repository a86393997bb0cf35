/**
 * Collects garbage and gives memory back, on request. V8 is told that the system is critically short of memory, collects at once
 * all that it can, compacts its pages and shrinks its young generation, and is told that it is not: gc() would need a flag that
 * keeps V8 from Node's own compiled code (docs/adr/0043-flags-and-the-code-cache.md, docs/adr/0041-memory-is-given-back.md,
 * docs/adr/0059-no-wake-up-of-v8s-own.md). Any thread; each has its own heap.
 */

import { sys } from './sys.ts';

/** v8::MemoryPressureLevel (v8-isolate.h). */
const NO_PRESSURE = 0;
const CRITICAL_PRESSURE = 2;
/** The first round empties the young generation into pages that only the second one compacts. */
const ROUNDS = 2;

/** A full collection, on this thread's heap. Takes 2 to 6 ms: for moments in which nobody waits. */
export function collectGarbage(): void {
  sys.memoryPressure(CRITICAL_PRESSURE);
  sys.memoryPressure(NO_PRESSURE);
}

/** What this thread's heap and malloc can do without goes back to the kernel. Takes 10 ms of CPU. */
export function giveMemoryBack(): void {
  for (let round = 0; round < ROUNDS; round++) collectGarbage();
  sys.mallocTrim();
}

/**
 * The same in turns of the event loop, for a thread on which somebody may wait: a line that comes meanwhile waits for one
 * collection, not for all of it.
 */
export function giveMemoryBackInTurns(roundsLeft = ROUNDS): void {
  if (roundsLeft === 0) {
    sys.mallocTrim();
    return;
  }
  collectGarbage();
  setImmediate(giveMemoryBackInTurns, roundsLeft - 1);
}
