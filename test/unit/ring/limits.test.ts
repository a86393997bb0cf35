/** The soft limit, what is kept for the end, and going back to the ring's start while nobody lags. */
import t from 'tap';
import { Baton } from '../../../src/ring/baton.ts';
import { HEADER_BYTES, RING_OFFSET } from '../../../src/ring/layout.ts';
import { REWIND_BYTES, RingProducer } from '../../../src/ring/producer.ts';
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

const LARGE = { capacityBytes: 65536, softBytes: 32768 };

t.test(
  'records of a log thread that reads alone lie one behind the other for a while, then from the start again',
  async (t) => {
    const rig = new Rig(LARGE);
    const { producer } = rig;
    const consumer = rig.consumer(0);
    const beyond = rig.bytes.subarray(RING_OFFSET + REWIND_BYTES + 2 * 48, RING_OFFSET + LARGE.capacityBytes);
    beyond.fill(0x11);
    let atStart = 0;
    for (let i = 0; i < 5000; i++) {
      let offset = producer.tryClaimIdle(40, 8);
      if (offset === -1) {
        atStart++;
        t.ok(producer.tryRewind(), `round ${i}`);
        if (consumer.next()) t.fail(`round ${i}: a record where there is only padding`);
        offset = producer.tryClaim(40, 40);
        if (offset !== RING_OFFSET + HEADER_BYTES) t.fail(`round ${i}: not at the start`);
      }
      if (producer.claimedBytes !== 40) t.fail(`round ${i}: claimed ${producer.claimedBytes}`);
      rig.bytes.set(pattern(40, i), offset);
      producer.commit(40, 2);
      if (!rig.take(consumer)?.equals(pattern(40, i))) t.fail(`round ${i}: another record`);
    }
    t.equal(atStart, Math.floor(5000 / Math.ceil(REWIND_BYTES / 48)));
    t.ok(
      beyond.every((byte) => byte === 0x11),
      'memory beyond is never touched',
    );
  },
);

t.test('a claim of who has read everything keeps to the soft limit, and to the lap', async (t) => {
  const rig = new Rig(LARGE);
  t.equal(rig.producer.tryClaimIdle(10 ** 9, 1), RING_OFFSET + HEADER_BYTES);
  t.equal(rig.producer.claimedBytes, LARGE.softBytes - HEADER_BYTES);
  rig.producer.commit(0, 2);
  rig.producer.unlimit();
  rig.put(pattern(24, 1));
  rig.take(rig.consumer(0));
  rig.producer.tryClaimIdle(10 ** 9, 1);
  t.equal(rig.producer.claimedBytes, LARGE.capacityBytes - 32 - HEADER_BYTES);
});

t.test('nobody claims in few steps while a record is unread, by whomever, or somebody wants in', async (t) => {
  const lagging = new Rig(LARGE);
  lagging.put(pattern(56, 1));
  t.equal(lagging.producer.tryClaimIdle(1, 1), -1, 'a record is unread');
  lagging.take(lagging.consumer(0));
  t.not(lagging.producer.tryClaimIdle(1, 1), -1, 'and now it is read');
  const active = new Rig({ ...LARGE, active: [0, 1] });
  t.not(active.producer.tryClaimIdle(40, 16), -1, 'somebody is in, and has read everything');
  t.same([active.producer.alone, active.producer.claimedBytes], [false, 16], 'that is not alone');
  active.put(pattern(56, 1));
  active.take(active.consumer(0));
  t.equal(active.producer.tryClaimIdle(1, 1), -1, 'the other one has not');
  active.take(active.consumer(1));
  t.not(active.producer.tryClaimIdle(1, 1), -1, 'and now it has');
  const wanted = new Rig(LARGE);
  wanted.consumer(1).request();
  t.equal(wanted.producer.tryClaimIdle(1, 1), -1, 'somebody wants in');
  wanted.producer.tryClaim(1, 1);
  t.ok(wanted.consumer(1).active, 'and is let in by the other claim');
  t.notOk(wanted.producer.alone, 'nobody is alone then, whatever was claimed before');
  wanted.consumer(1).leave();
  t.not(wanted.producer.tryClaimIdle(1, 1), -1);
  t.ok(wanted.producer.alone);
  wanted.consumer(1).request();
  wanted.producer.admitConsumers();
  t.notOk(wanted.producer.alone, 'also when nothing is claimed');
});

t.test('with clients that sleep the ring goes back too, and they pass the padding with it', async (t) => {
  const rig = new Rig({ ...LARGE, active: [0, 1] });
  const baton = new Baton(rig.memory);
  const producer = new RingProducer(rig.memory, LARGE, [], baton);
  const log = rig.consumer(0);
  const put = (salt: number): number => {
    const offset = producer.tryClaim(40, 40);
    rig.bytes.set(pattern(40, salt), offset);
    producer.commit(40, 2);
    return offset;
  };
  put(1);
  t.same(rig.take(log), pattern(40, 1));
  baton.offer([7]);
  t.equal(producer.tryRewind(), false, 'the clients have not got it');
  rig.take(rig.consumer(1));
  baton.takeBack();
  t.equal(producer.tryRewind(), false, 'they are not ours');
  t.equal(producer.tail, 48, 'no padding');
  baton.offer([7]);
  t.equal(producer.tryRewind(), true);
  t.equal(producer.alone, false);
  t.equal(baton.position, producer.tail, 'nothing is unread');
  t.equal(baton.offered, true, 'laid down');
  t.equal(log.next(), false);
  t.equal(put(2), RING_OFFSET + HEADER_BYTES);
  baton.takeBack();
  const client = rig.consumer(1);
  t.same(rig.take(client), pattern(40, 2));
  t.equal(client.backlogBytes, 0);
  rig.take(log);
  producer.tryClaim(REWIND_BYTES + 1, REWIND_BYTES + 1);
  producer.commit(REWIND_BYTES + 1, 2);
  rig.take(log);
  rig.take(client);
  baton.offer([7]);
  t.equal(producer.tryRewind(), false, 'a flood goes on round the ring');
  t.equal(baton.offered, true);
});

t.test('a ring whose lap ends soon after a page is not claimed from that way', async (t) => {
  for (const capacityBytes of [64, 1024, 4096]) {
    const rig = new Rig({ capacityBytes });
    const consumer = rig.consumer(0);
    for (let i = 0; i < 3 * capacityBytes; i += 8) {
      if (rig.producer.tryClaimIdle(1, 1) !== -1 && rig.producer.claimedBytes < 1) t.fail(`nothing at ${i}`);
      const index = rig.producer.tail % capacityBytes;
      const claims = rig.producer.tryClaimIdle(10 ** 9, 1) !== -1;
      t.equal(claims, capacityBytes - index - HEADER_BYTES >= capacityBytes / 4, `index ${index} of ${capacityBytes}`);
      if (!rig.put(pattern(1, i))) t.fail(`full at ${i}`);
      rig.take(consumer);
    }
  }
});
