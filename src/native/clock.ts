/**
 * The clock of loops that look at it for each line: ms, only goes forward, the same as performance.now(). Any thread.
 */

/** The global is a getter in JavaScript, for which lines wait while V8 compiles it; Node loads it when it is first asked for. */
let clock: Performance | undefined;

export function nowMs(): number {
  clock ??= performance;
  return clock.now();
}
