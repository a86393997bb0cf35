/** ABBA: what the machine does over time, it does to both sides. */
import t from 'tap';
import { alternate, interleave } from '../../../bench/harness/order.ts';

t.test('runs alternate a b b a', async (t) => {
  t.same(interleave('a', 'b', 4), ['a', 'b', 'b', 'a', 'a', 'b', 'b', 'a']);
  t.same(interleave('a', 'b', 1), ['a', 'b']);
  t.same(interleave('a', 'b', 0), []);
});

t.test('three alternate a b c, c b a', async (t) => {
  t.same(alternate(['a', 'b', 'c'], 3), ['a', 'b', 'c', 'c', 'b', 'a', 'a', 'b', 'c']);
  t.same(alternate(['a', 'b', 'c'], 0), []);
});

t.test('a steady drift weighs on both sides alike', async (t) => {
  const sum = { a: 0, b: 0 };
  for (const [time, side] of interleave<'a' | 'b'>('a', 'b', 6).entries()) sum[side] += time;
  t.equal(sum.a, sum.b);
});
