/** What producer and consumer of one ring promise each other, one thread. */
import t from 'tap';
import { HEADER_BYTES, RING_OFFSET, recordBytes } from '../../../src/ring/layout.ts';
import { pattern, Rig } from './rig.ts';

t.test('a committed record arrives whole, with its stream, and once', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  const consumer = rig.consumer(0);
  t.equal(consumer.next(), false, 'nothing before the first');
  t.ok(rig.put(pattern(20, 1), 3));
  t.ok(rig.put(pattern(5, 2), 2));
  t.ok(consumer.next());
  t.match({ length: consumer.length, stream: consumer.stream }, { length: 20, stream: 3 });
  t.same(rig.record(consumer), pattern(20, 1));
  consumer.release();
  t.same(rig.take(consumer), pattern(5, 2));
  t.equal(consumer.stream, 2);
  t.equal(consumer.next(), false);
});

t.test('next without release finds the same record again', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  const consumer = rig.consumer(0);
  rig.put(pattern(9, 1));
  rig.put(pattern(9, 2));
  t.ok(consumer.next());
  const offset = consumer.offset;
  t.ok(consumer.next());
  t.equal(consumer.offset, offset);
  t.same(rig.record(consumer), pattern(9, 1));
});

t.test('records lie at multiples of 8, each after the one before', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  let expected = RING_OFFSET + HEADER_BYTES;
  for (const length of [1, 7, 8, 9, 16, 17]) {
    t.equal(rig.producer.tryClaim(length, length), expected, `${length} bytes`);
    rig.producer.commit(length, 2);
    expected += recordBytes(length);
  }
});

t.test('nothing is seen of a claim before its commit', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  const consumer = rig.consumer(0);
  const offset = rig.producer.tryClaim(100, 1);
  rig.bytes.fill(0xff, offset, offset + rig.producer.claimedBytes);
  t.equal(consumer.next(), false);
  t.equal(consumer.backlogBytes, 0);
});

t.test('a full ring answers -1 until something is released', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const consumer = rig.consumer(0);
  t.ok(rig.put(pattern(24, 1)));
  t.ok(rig.put(pattern(24, 2)), 'two records of 32 fill 64');
  t.equal(rig.producer.tryClaim(1, 1), -1);
  t.equal(rig.producer.tryClaim(0, 0), -1, 'not even an empty claim');
  t.equal(rig.producer.claimedBytes, 0);
  t.same(rig.take(consumer), pattern(24, 1));
  t.ok(rig.put(pattern(24, 3)));
  t.same(rig.take(consumer), pattern(24, 2));
  t.same(rig.take(consumer), pattern(24, 3));
});

t.test('a claim gets less than it wants when less is free, but not less than the least', async (t) => {
  const rig = new Rig({ capacityBytes: 128 });
  rig.put(pattern(56, 1)); // 64 of 128
  t.not(rig.producer.tryClaim(1000, 1), -1);
  t.equal(rig.producer.claimedBytes, 56);
  t.not(rig.producer.tryClaim(1000, 56), -1, 'exactly the least');
  t.equal(rig.producer.claimedBytes, 56);
  t.equal(rig.producer.tryClaim(1000, 57), -1, 'one more than there is');
  t.not(rig.producer.tryClaim(3, 1), -1);
  t.equal(rig.producer.claimedBytes, 3, 'never more than wanted');
});

t.test("a record that does not fit before the lap's end begins the next lap", async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 96 });
  const consumer = rig.consumer(0);
  t.equal(rig.producer.tryClaim(40, 40), RING_OFFSET + HEADER_BYTES);
  rig.bytes.set(pattern(40, 1), RING_OFFSET + HEADER_BYTES);
  rig.producer.commit(40, 2);
  t.same(rig.take(consumer), pattern(40, 1), 'the consumer passes over the padding');
  t.equal(consumer.backlogBytes, 0);
});

t.test("the lap's end is used, not skipped, when the least fits there", async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 96 });
  t.equal(rig.producer.tryClaim(100, 24), RING_OFFSET + 96 + HEADER_BYTES);
  t.equal(rig.producer.claimedBytes, 24);
});

t.test("the lap's end is not skipped when the record would not fit at the start either", async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 32 });
  const consumer = rig.consumer(0);
  rig.put(pattern(56, 1)); // position 96; the first 32 bytes of the next lap are free
  const before = rig.producer.tail;
  t.equal(rig.producer.tryClaim(40, 40), -1);
  t.equal(rig.producer.tail, before, 'and no padding was published');
  t.same(rig.take(consumer), pattern(56, 1));
  t.ok(rig.put(pattern(40, 2)));
  t.same(rig.take(consumer), pattern(40, 2));
});

t.test('a record may fill the whole ring', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const consumer = rig.consumer(0);
  for (let lap = 0; lap < 3; lap++) {
    t.ok(rig.put(pattern(56, lap)));
    t.equal(consumer.backlogBytes, 64);
    t.equal(rig.producer.tryClaim(0, 0), -1);
    t.same(rig.take(consumer), pattern(56, lap));
  }
  rig.checkCanaries();
});

t.test('a commit of 0 gives the claim back', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const consumer = rig.consumer(0);
  const offset = rig.producer.tryClaim(56, 56);
  rig.producer.commit(0, 2);
  t.equal(consumer.next(), false);
  t.equal(rig.producer.tryClaim(56, 56), offset);
});

t.test('a commit of less than was claimed takes no more room than it needs', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const consumer = rig.consumer(0);
  const offset = rig.producer.tryClaim(56, 1);
  rig.bytes.set(pattern(3, 1), offset);
  rig.producer.commit(3, 2);
  t.equal(consumer.backlogBytes, 16);
  t.same(rig.take(consumer), pattern(3, 1));
});

t.test('committing more than was claimed throws', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  t.throws(() => rig.producer.commit(1, 2), RangeError, 'without a claim');
  rig.producer.tryClaim(10, 10);
  t.throws(() => rig.producer.commit(11, 2), RangeError);
  rig.producer.tryClaim(10, 10);
  rig.producer.commit(10, 2);
  t.throws(() => rig.producer.commit(10, 2), RangeError, 'a claim is committed once');
  rig.checkCanaries();
});

t.test('the last claim replaces the one before', async (t) => {
  const rig = new Rig({ capacityBytes: 128 });
  const consumer = rig.consumer(0);
  rig.producer.tryClaim(100, 100);
  rig.producer.tryClaim(4, 4);
  t.throws(() => rig.producer.commit(100, 2), RangeError);
  rig.producer.commit(4, 2);
  t.ok(consumer.next());
  t.equal(consumer.length, 4);
});

t.test('the slowest consumer decides what is free', async (t) => {
  const rig = new Rig({ capacityBytes: 64, active: [0, 1] });
  const [fast, slow] = [rig.consumer(0), rig.consumer(1)];
  t.ok(slow.active);
  rig.put(pattern(24, 1));
  rig.put(pattern(24, 2));
  rig.take(fast);
  rig.take(fast);
  t.equal(rig.producer.tryClaim(1, 1), -1);
  t.same(rig.take(slow), pattern(24, 1));
  t.ok(rig.put(pattern(24, 3)));
  t.same([rig.take(slow), rig.take(slow)], [pattern(24, 2), pattern(24, 3)]);
  t.same(rig.take(fast), pattern(24, 3));
});

t.test('without an active consumer nothing is ever full', async (t) => {
  const rig = new Rig({ capacityBytes: 64, active: [] });
  for (let i = 0; i < 100; i++) t.ok(rig.put(pattern(i % 24, i)) || i % 24 === 0);
  rig.checkCanaries();
});

t.test('backlog counts headers and padding too', async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 96 });
  const consumer = rig.consumer(0);
  rig.put(pattern(40, 1));
  t.equal(consumer.backlogBytes, 32 + 48);
  rig.take(consumer);
  t.equal(consumer.backlogBytes, 0);
});

t.test('finished is true once the end was said and everything released', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const consumer = rig.consumer(0);
  t.equal(consumer.finished, false);
  rig.put(pattern(10, 1));
  rig.producer.end();
  t.equal(consumer.finished, false, 'a record is left');
  t.ok(consumer.next());
  t.equal(consumer.finished, false, 'not yet released');
  consumer.release();
  t.equal(consumer.finished, true);
});

t.test('a producer and a consumer that take over go on where the last ones stopped', async (t) => {
  const rig = new Rig({ capacityBytes: 128 });
  const first = rig.consumer(0);
  rig.put(pattern(10, 1));
  rig.put(pattern(10, 2));
  rig.take(first);
  const next = new Rig({ capacityBytes: 128 });
  next.bytes.set(rig.bytes);
  const heir = next.consumer(0);
  t.same(next.take(heir), pattern(10, 2));
  t.equal(next.take(heir), undefined);
});

t.test('an empty ring takes a record of half its size wherever its positions stand', async (t) => {
  for (let start = 0; start < 128; start += 8) {
    const rig = new Rig({ capacityBytes: 128, start });
    const consumer = rig.consumer(0);
    t.ok(rig.put(pattern(56, 1)), `from ${start}`);
    t.same(rig.take(consumer), pattern(56, 1));
  }
});
