/** When main gives memory back for threads that have left: not at once, for each of them, and not for each one by one. */
import t, { type Test } from 'tap';
import { LeftMemory } from '../../../src/threads/left-memory.ts';

/** LeftMemory in time that the test makes pass. `gaveAtMs`: when memory was given back. */
function rig(test: Test): { left: LeftMemory; pass(ms: number): void; gaveAtMs: number[] } {
  const gaveAtMs: number[] = [];
  let nowMs = 0;
  let dueMs = Number.POSITIVE_INFINITY;
  let call: () => void = () => {};
  const { setTimeout: real } = globalThis;
  const fake = (callback: () => void, ms: number) => {
    [call, dueMs] = [callback, nowMs + ms];
    return { unref() {} };
  };
  globalThis.setTimeout = fake as unknown as typeof setTimeout;
  test.teardown(() => {
    globalThis.setTimeout = real;
  });
  const pass = (ms: number): void => {
    const endMs = nowMs + ms;
    while (dueMs <= endMs) {
      nowMs = dueMs;
      dueMs = Number.POSITIVE_INFINITY;
      call();
    }
    nowMs = endMs;
  };
  return { left: new LeftMemory(() => gaveAtMs.push(nowMs), 100), pass, gaveAtMs };
}

t.test('once, some time after a thread has left, and never again', (t) => {
  const { left, pass, gaveAtMs } = rig(t);
  pass(1000);
  left.threadLeft();
  pass(99);
  t.strictSame(gaveAtMs, []);
  pass(10_000);
  t.strictSame(gaveAtMs, [1100]);
  left.threadLeft();
  pass(10_000);
  t.strictSame(gaveAtMs, [1100, 11_199]);
  t.end();
});

t.test('threads that leave one after the other do not put it off, and the last one has its time', (t) => {
  const { left, pass, gaveAtMs } = rig(t);
  for (let thread = 0; thread < 50; thread++) {
    left.threadLeft(); // at 0, 30, ... 1470
    pass(30);
  }
  pass(10_000);
  t.equal(gaveAtMs[0], 100);
  t.equal(gaveAtMs.length, 16, 'once in 100 ms');
  t.equal(gaveAtMs.at(-1), 1600, 'that is after 1470 + 100');
  t.end();
});
