/** The arithmetic of the bench's report. */
import t from 'tap';
import { compare, median, percentile, spread } from '../../../bench/report/statistics.ts';

t.test('the median is the middle value, or the mean of the two middle ones', async (t) => {
  t.equal(median([3]), 3);
  t.equal(median([9, 1, 5]), 5);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.ok(Number.isNaN(median([])), 'none for no values');
});

t.test('the median sorts numbers, not their spelling', async (t) => {
  t.equal(median([100, 9, 20]), 20);
});

t.test('no function changes its argument', async (t) => {
  const values = [3, 1, 2];
  median(values);
  percentile(values, 0.9);
  spread(values);
  compare(values, values);
  t.same(values, [3, 1, 2]);
});

t.test('a percentile is the value at that rank, never one in between', async (t) => {
  const values = Array.from({ length: 10 }, (_, index) => 10 - index);
  t.equal(percentile(values, 0.9), 9);
  t.equal(percentile(values, 0.91), 10);
  t.equal(percentile(values, 0.5), 5);
  t.equal(percentile(values, 0), 1);
  t.equal(percentile(values, 1), 10);
  t.equal(percentile([7], 0.99), 7);
  t.ok(Number.isNaN(percentile([], 0.5)));
});

t.test('the spread is half the way from lowest to highest, by the median', async (t) => {
  t.equal(spread([90, 100, 110]), 0.1);
  t.equal(spread([5, 5, 5]), 0);
  t.equal(spread([1]), 0);
  t.ok(Number.isNaN(spread([])));
});

t.test('a ratio is that of the medians, with the lowest and the highest of the pairs', async (t) => {
  t.same(compare([400, 300, 500], [100, 100, 100]), { ratio: 4, lowest: 3, highest: 5 });
});

t.test('pairs are neighbours: a machine that slows down for both leaves their ratio alone', async (t) => {
  const { lowest, highest } = compare([400, 40], [100, 10]);
  t.same({ lowest, highest }, { lowest: 4, highest: 4 });
});

t.test('runs without a partner count for the medians only', async (t) => {
  t.same(compare([2, 4, 6], [1]), { ratio: 4, lowest: 2, highest: 2 });
  t.ok(Number.isNaN(compare([], [1]).ratio));
});
