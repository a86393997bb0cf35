/** When memory is given back, and what is left of it. The clock is the test's. */
import t from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { EINVAL } from '../../../src/native/constants.ts';
import { earlier, forgetPages, Rest, resting } from '../../../src/native/rest.ts';
import type { Steps } from '../../../src/native/steps.ts';
import { sys } from '../../../src/native/sys.ts';
import { fakeSys } from './fake-sys.ts';

const MIB = 1 << 20;

function aRest(): { rest: Rest; at: (ms: number) => Rest } {
  let nowMs = 0;
  const rest = new Rest(() => nowMs);
  return {
    rest,
    at: (ms) => {
      nowMs = ms;
      return rest;
    },
  };
}

t.test('once after the start, when it has been quiet for a second, and then it sleeps for ever', async (t) => {
  const { rest, at } = aRest();
  t.equal(rest.timeoutMs(), 1000);
  t.equal(at(999).due(0), false);
  t.equal(rest.timeoutMs(), 1);
  t.equal(at(1000).due(0), true);
  t.equal(rest.timeoutMs(), -1);
  t.equal(at(1_000_000).due(0), false, 'it was taken');
  t.equal(rest.timeoutMs(), -1);
});

t.test('lines that come now and then wake nobody a second time', async (t) => {
  const { rest, at } = aRest();
  at(1000).due(0);
  for (let i = 1; i <= 100; i++) {
    t.equal(at(1000 + i * 60_000).due(i * 100), false);
    t.equal(rest.timeoutMs(), -1);
  }
});

t.test('after a megabyte it is due again, a second after its last byte', async (t) => {
  const { rest, at } = aRest();
  at(1000).due(0);
  t.equal(at(5000).due(MIB - 1), false);
  t.equal(rest.timeoutMs(), -1, 'not worth it yet');
  t.equal(at(6000).due(MIB), false);
  t.equal(at(6600).due(3 * MIB), false);
  t.equal(rest.timeoutMs(), 1000);
  t.equal(at(7599).due(3 * MIB), false);
  t.equal(at(7600).due(3 * MIB), true);
  t.equal(rest.timeoutMs(), -1);
});

t.test('a trickle that never pauses does not put it off for ever, a flood does', async (t) => {
  const trickle = aRest();
  let when = 0;
  for (let ms = 500; ms <= 60_000 && when === 0; ms += 500) if (trickle.at(ms).due(ms)) when = ms;
  t.equal(when, 30_000);
  const flood = aRest();
  for (let ms = 500; ms <= 120_000; ms += 500)
    if (flood.at(ms).due(ms * 10_000)) t.fail(`in the middle of a flood, at ${ms}`);
  t.equal(flood.at(121_000).due(1_200_000_000), true, 'at its end');
});

t.test('a loop that rests is woken up once for it, and keeps the limits of its own', async (t) => {
  let nowMs = 0;
  let rests = 0;
  const own = [-1, 300, -1, -1];
  const loop = function* (): Steps<string> {
    for (const timeoutMs of own) yield { set: new Int32Array(0), count: 0, timeoutMs };
    return 'ended';
  };
  const onRest = (): void => {
    rests++;
  };
  const asked: number[] = [];
  const steps = resting(loop(), new Rest(() => nowMs), () => 0, onRest);
  let next = steps.next();
  for (; next.done !== true; next = steps.next()) {
    asked.push(next.value.timeoutMs);
    nowMs += 400;
  }
  t.equal(next.value, 'ended');
  t.same(asked, [1000, 300, 200, -1]);
  t.equal(rests, 1);
});

t.test('of two timeouts the earlier one, -1 being never', async (t) => {
  t.equal(earlier(-1, -1), -1);
  t.equal(earlier(-1, 5), 5);
  t.equal(earlier(5, -1), 5);
  t.equal(earlier(7, 5), 5);
  t.equal(earlier(0, -1), 0);
});

t.test('whole pages between two offsets read as zero, what is beside them stays', async (t) => {
  const bytes = new Uint8Array(createMemory(1 << 18).buffer);
  bytes.fill(7);
  forgetPages(sys, bytes, 70_000, 200_000);
  const first = bytes.indexOf(0);
  const last = bytes.lastIndexOf(0);
  t.ok(first >= 70_000 && first < 70_000 + 65_536, `from ${first}`);
  t.ok(last < 200_000 && last >= 200_000 - 65_537, `to ${last}`);
  t.equal(bytes.subarray(first, last + 1).indexOf(7), -1, 'nothing is left in between');
  t.equal(bytes.subarray(0, first).indexOf(0), -1);
  bytes.fill(9, first, last);
  t.equal(bytes[first], 9, 'and they can be used again');
});

t.test('larger pages are tried when the small ones are refused; nothing between is nothing', async (t) => {
  const asked: (readonly [number, number])[] = [];
  const refusing = fakeSys({
    madvise: ({ byteOffset, length }) => {
      asked.push([byteOffset, length]);
      return byteOffset % 65536 === 0 && length % 65536 === 0 ? 0 : EINVAL;
    },
  });
  const bytes = new Uint8Array(400_000);
  forgetPages(refusing, bytes, 70_000, 300_000);
  t.same(asked, [
    [73_728, 225_280],
    [131_072, 131_072],
  ]);
  forgetPages(refusing, bytes, 70_000, 70_001);
  t.equal(asked.length, 2);
});
