/** Memory that is used again: zeros each time, only when nobody uses it any longer, and not more of it than is useful. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { MADV_DONTNEED } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { UsedMemories } from '../../../src/threads/memories.ts';

const BYTES = 3 << 20;
const KEPT_MOST = 8;

function rig(_test: Test, madvise: Sys['madvise'] = sys.madvise) {
  const dropped: WebAssembly.Memory[] = [];
  return { memories: new UsedMemories({ madvise }, (memory) => dropped.push(memory)), dropped };
}

const viewOf = ({ buffer }: WebAssembly.Memory): Uint8Array => new Uint8Array(buffer);

function rssKiB(): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]);
}

t.test('what was given back is given out again, all zeros', async (t) => {
  const { memories, dropped } = rig(t);
  const first = memories.take(BYTES);
  viewOf(first).fill(0x5a);
  memories.put(first, true);
  const second = memories.take(BYTES - 100);
  t.equal(second, first);
  t.ok(
    viewOf(second).every((byte) => byte === 0),
    'nothing of what was in it',
  );
  t.not(memories.take(BYTES), first, 'one at a time');
  t.same(dropped, []);
});

t.test('one that waits has no pages', async (t) => {
  const { memories } = rig(t);
  const taken = Array.from({ length: KEPT_MOST }, () => memories.take(BYTES));
  for (const memory of taken) viewOf(memory).fill(1);
  const usedKiB = rssKiB();
  for (const memory of taken) memories.put(memory, true);
  const freedKiB = usedKiB - rssKiB();
  t.ok(freedKiB > (KEPT_MOST * BYTES) / 1024 / 2, `${freedKiB} KiB`);
});

t.test('what each session uses is kept and wiped, the rest given back, and all of it is zeros each time', async (t) => {
  const given: [number, number][] = [];
  const { memories } = rig(t, (bytes, advice) => {
    given.push([bytes.byteOffset, bytes.byteLength]);
    return sys.madvise(bytes, advice);
  });
  const often = [
    [0, 20480],
    [65536, 69632],
  ] as const;
  const size = createMemory(BYTES).buffer.byteLength;
  for (let i = 0; i < 5; i++) {
    const memory = memories.take(BYTES);
    const bytes = viewOf(memory);
    t.ok(
      bytes.every((byte) => byte === 0),
      `time ${i}`,
    );
    bytes.fill(0x5a + i);
    given.length = 0;
    memories.put(memory, true, often);
    const rest = [
      [20480, 65536 - 20480],
      [69632, size - 69632],
    ];
    // Whether that leaves zeros is looked at with the first one.
    t.same(given, i === 0 ? [[0, size]] : rest);
  }
  const before = memories.take(BYTES);
  viewOf(before).fill(1);
  memories.put(before, true, often);
  given.length = 0;
  memories.rest();
  t.same(given, [[0, size]], 'nothing is kept when nobody comes');
  t.ok(viewOf(memories.take(BYTES)).every((byte) => byte === 0));
});

t.test('where parts cannot be given back all of it is', async (t) => {
  const LARGE_PAGE = 65536;
  const { memories, dropped } = rig(t, (bytes, advice) =>
    (bytes.byteOffset | bytes.byteLength) % LARGE_PAGE === 0 ? sys.madvise(bytes, advice) : -22,
  );
  const memory = memories.take(BYTES);
  for (let i = 0; i < 3; i++) {
    viewOf(memory).fill(7);
    memories.put(memory, true, [[0, 20480]]);
    t.equal(memories.take(BYTES), memory);
    t.ok(viewOf(memory).every((byte) => byte === 0));
  }
  t.same(dropped, []);
});

t.test('a memory in which a loop has died is not used again', async (t) => {
  const { memories, dropped } = rig(t, () => {
    throw new Error('and not touched');
  });
  const memory = memories.take(BYTES);
  memories.put(memory, false);
  t.same(dropped, [memory]);
  t.not(memories.take(BYTES), memory);
});

t.test('so many wait and no more; the others are empty too', async (t) => {
  const { memories, dropped } = rig(t);
  const taken = Array.from({ length: KEPT_MOST + 3 }, () => memories.take(BYTES));
  for (const memory of taken) viewOf(memory).fill(1);
  for (const memory of taken) memories.put(memory, true);
  t.same(dropped, taken.slice(KEPT_MOST));
  t.ok(dropped.every((memory) => viewOf(memory).every((byte) => byte === 0)));
  const again = Array.from({ length: KEPT_MOST }, () => memories.take(BYTES));
  t.same(new Set(again), new Set(taken.slice(0, KEPT_MOST)));
  t.notOk(taken.includes(memories.take(BYTES)));
});

t.test('a memory of another size is not taken for it', async (t) => {
  const { memories } = rig(t);
  const small = memories.take(BYTES);
  memories.put(small, true);
  const large = memories.take(2 * BYTES);
  t.not(large, small);
  t.ok(large.buffer.byteLength >= 2 * BYTES);
  memories.put(large, true);
  t.equal(memories.take(BYTES), small, 'nor a large one for a small one');
});

t.test('a kernel that does not give zeros: nothing is used again', async (t) => {
  for (const madvise of [() => -22, () => 0]) {
    const { memories, dropped } = rig(t, madvise);
    const memory = memories.take(BYTES);
    memories.put(memory, true);
    t.same(dropped, [memory]);
  }
});

t.test('madvise: pages that are given back are zero', async (t) => {
  const { buffer } = createMemory(1 << 16);
  const bytes = new Uint8Array(buffer).fill(7);
  t.equal(sys.madvise(bytes, MADV_DONTNEED), 0);
  t.ok(bytes.every((byte) => byte === 0));
  bytes.fill(7);
  t.equal(sys.madvise(bytes.subarray(1), MADV_DONTNEED), -22, 'a part of a page is refused');
  t.equal(sys.madvise(bytes.subarray(0, 0), MADV_DONTNEED), -22);
  t.ok(bytes.every((byte) => byte === 7));
});
