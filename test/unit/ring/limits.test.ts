/** The soft limit, what is kept for the end, and going back to the ring's start while nobody lags. */
import t from 'tap';
import { HEADER_BYTES, RING_OFFSET } from '../../../src/ring/layout.ts';
import { pattern, Rig } from './rig.ts';

const SMALL = { capacityBytes: 256, softBytes: 64 };

t.test('a consumer may hold no more than the soft limit', async (t) => {
  const rig = new Rig(SMALL);
  const consumer = rig.consumer(0);
  t.ok(rig.put(pattern(24, 1)));
  t.ok(rig.put(pattern(24, 2)));
  t.equal(rig.producer.tryClaim(1, 1), -1);
  t.same(rig.take(consumer), pattern(24, 1));
  t.ok(rig.put(pattern(24, 3)));
});

t.test('at the end all of the ring may be used', async (t) => {
  const rig = new Rig(SMALL);
  const consumer = rig.consumer(0);
  rig.put(pattern(56, 1));
  t.equal(rig.producer.tryClaim(1, 1), -1);
  rig.producer.unlimit();
  t.ok(rig.put(pattern(184, 2)));
  t.equal(rig.producer.tryClaim(1, 1), -1, 'but no more than that');
  t.same([rig.take(consumer), rig.take(consumer)], [pattern(56, 1), pattern(184, 2)]);
  rig.checkCanaries();
});

t.test(
  'while the log thread alone reads and lags not, the memory beyond one record and a padding is never touched',
  async (t) => {
    const rig = new Rig(SMALL);
    const consumer = rig.consumer(0);
    const beyond = rig.bytes.subarray(RING_OFFSET + 40 + 2 * HEADER_BYTES, RING_OFFSET + SMALL.capacityBytes);
    beyond.fill(0x11);
    for (let i = 0; i < 200; i++) {
      if (!rig.producer.tryRewind()) t.fail(`round ${i}: not back`);
      if (consumer.next()) t.fail(`round ${i}: a record where there is only padding`);
      if (rig.producer.tryClaim(1, 1) !== RING_OFFSET + HEADER_BYTES) t.fail(`round ${i}: not at the start`);
      t.ok(rig.put(pattern(40, i)));
      t.same(rig.take(consumer), pattern(40, i));
    }
    t.ok(beyond.every((byte) => byte === 0x11));
  },
);

t.test('nobody goes back to the start while a record is unread or another consumer is there', async (t) => {
  const lagging = new Rig(SMALL);
  lagging.put(pattern(56, 1));
  t.equal(lagging.producer.tryRewind(), false, 'a record is unread');
  for (const asked of [true, false]) {
    const rig = new Rig({ ...SMALL, active: asked ? [0] : [0, 1] });
    const consumers = [rig.consumer(0), rig.consumer(1)] as const;
    if (asked) consumers[1].request();
    else t.ok(consumers[1].active);
    rig.put(pattern(56, 1));
    rig.take(consumers[0]);
    if (consumers[1].active) rig.take(consumers[1]);
    t.equal(rig.producer.tryRewind(), false, asked ? 'somebody wants in' : 'somebody is in');
  }
});

t.test('at the start there is nothing to go back over: no padding', async (t) => {
  const rig = new Rig(SMALL);
  t.equal(rig.producer.tryRewind(), true);
  t.equal(rig.producer.tail, 0);
  const consumer = rig.consumer(0);
  rig.put(pattern(24, 1));
  rig.take(consumer);
  t.equal(rig.producer.tryRewind(), true);
  t.equal(rig.producer.tail, SMALL.capacityBytes);
  t.equal(consumer.next(), false);
  t.equal(rig.producer.tryRewind(), true);
  t.equal(rig.producer.tail, SMALL.capacityBytes, 'once is enough');
});
