/** How consumers come and go while the producer works. */
import t from 'tap';
import { declareSleep } from '../../../src/ring/doorbell.ts';
import { Word } from '../../../src/ring/layout.ts';
import { CountingBell, pattern, Rig } from './rig.ts';

t.test('a consumer is let in between two claims and starts at the tail', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  const late = rig.consumer(1);
  rig.put(pattern(10, 1));
  t.equal(late.active, false, 'absent');
  late.request();
  t.equal(late.active, false, 'requested');
  rig.producer.admitConsumers();
  t.equal(late.active, true);
  t.equal(late.next(), false, 'what came before is not for it');
  t.equal(late.backlogBytes, 0);
  rig.put(pattern(10, 2));
  t.same(rig.take(late), pattern(10, 2));
});

t.test('a claim lets consumers in too', async (t) => {
  const rig = new Rig({ capacityBytes: 256 });
  const late = rig.consumer(1);
  late.request();
  rig.put(pattern(10, 1));
  t.equal(late.active, true);
  t.same(rig.take(late), pattern(10, 1), 'the record that was claimed when it came');
});

t.test('one that has asked holds nothing back until it is in, then its records are kept', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const [own, late] = [rig.consumer(0), rig.consumer(1)];
  rig.put(pattern(24, 1));
  late.request();
  rig.put(pattern(24, 2));
  rig.take(own);
  rig.take(own);
  t.ok(late.active);
  t.ok(rig.put(pattern(24, 3)), 'half of the ring is free');
  t.equal(rig.producer.tryClaim(1, 1), -1, 'the other half is kept for the newcomer');
  t.same([rig.take(late), rig.take(late)], [pattern(24, 2), pattern(24, 3)]);
});

t.test('one that leaves holds nothing back any longer, whatever it had not read', async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 64, active: [0, 1], producerDoorbell: bell.doorbell });
  const [own, other] = [rig.consumer(0), rig.consumer(1)];
  rig.put(pattern(56, 1));
  rig.take(own);
  t.equal(rig.producer.tryClaim(1, 1), -1);
  other.leave();
  t.equal(other.active, false);
  t.ok(rig.put(pattern(56, 2)));
});

t.test('one that leaves and comes back starts at the tail again', async (t) => {
  const rig = new Rig({ capacityBytes: 256, active: [0, 1] });
  const other = rig.consumer(1);
  t.ok(other.active);
  rig.put(pattern(10, 1));
  other.leave();
  rig.put(pattern(10, 2));
  other.request();
  rig.put(pattern(10, 3));
  t.ok(other.active);
  t.same(rig.take(other), pattern(10, 3));
  t.equal(rig.take(other), undefined);
});

t.test('one that leaves before it was let in stays out', async (t) => {
  const rig = new Rig({ capacityBytes: 64 });
  const [own, other] = [rig.consumer(0), rig.consumer(1)];
  other.request();
  other.leave();
  rig.producer.admitConsumers();
  t.equal(other.active, false);
  rig.put(pattern(56, 1));
  rig.take(own);
  t.ok(rig.put(pattern(56, 2)));
});

t.test('asking does not change where an active consumer stands', async (t) => {
  const rig = new Rig({ capacityBytes: 256, active: [0, 1] });
  const other = rig.consumer(1);
  rig.put(pattern(10, 1));
  rig.put(pattern(10, 2));
  t.ok(other.active);
  t.same(rig.take(other), pattern(10, 1));
  t.ok(other.active, 'asked again');
  t.same(rig.take(other), pattern(10, 2));
});

t.test("asking rings the producer's doorbell whether it sleeps or not", async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 64, producerDoorbell: bell.doorbell });
  rig.consumer(1).request();
  t.equal(bell.rings, 1);
});

t.test('the consumer that is let in is rung', async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 256, doorbells: [undefined, bell.doorbell] });
  rig.consumer(1).request();
  rig.producer.admitConsumers();
  t.equal(bell.rings, 1);
  rig.producer.admitConsumers();
  t.equal(bell.rings, 1, 'once');
});

t.test('readers at several places find each record; the ring is held by what was released', async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 64 });
  const consumer = rig.consumer(0);
  rig.put(pattern(20, 1));
  rig.put(pattern(40, 2)); // does not fit before the lap's end: padding is between them
  const from = consumer.head;
  for (let reader = 0; reader < 2; reader++) {
    t.ok(consumer.find(from));
    t.same(rig.record(consumer), pattern(20, 1));
    t.ok(consumer.find(consumer.after));
    t.same(rig.record(consumer), pattern(40, 2));
    t.equal(consumer.find(consumer.after), false);
    t.equal(consumer.after, consumer.tail, 'where a reader goes on when there is nothing yet');
  }
  t.equal(consumer.head, from, 'finding releases nothing');
  t.equal(rig.producer.tryClaim(40, 40), -1);
  consumer.releaseTo(consumer.tail);
  t.equal(consumer.backlogBytes, 0);
  t.ok(rig.put(pattern(40, 3)));
});

t.test('releasing to where everything was released already wakes nobody', async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 128, producerDoorbell: bell.doorbell });
  const consumer = rig.consumer(0);
  rig.put(pattern(8, 1));
  declareSleep(rig.words, Word.producerSleeps);
  consumer.releaseTo(consumer.head);
  t.equal(bell.rings, 0);
  consumer.releaseTo(consumer.tail);
  t.equal(bell.rings, 1);
});
