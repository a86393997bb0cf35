/** The end of a lap that a claim skips goes out with its record, or not at all. */
import t from 'tap';
import { pattern, Rig } from './rig.ts';

t.test('a claim that is given back leaves nothing behind, also at the end of a lap', async (t) => {
  const rig = new Rig({ capacityBytes: 128, start: 96, active: [1] });
  const before = rig.producer.tail;
  t.not(rig.producer.tryClaim(40, 40), -1, 'at the start of the next lap');
  rig.producer.commit(0, 2); // a read that said EAGAIN
  t.equal(rig.producer.tail, before);
  t.equal(rig.consumer(1).next(), false);
});

t.test('an empty ring takes a record of half its size, wherever its positions stand', async (t) => {
  for (let start = 0; start < 128; start += 8) {
    const rig = new Rig({ capacityBytes: 128, start });
    const consumer = rig.consumer(0);
    t.ok(rig.put(pattern(56, 1)), `from ${start}`);
    t.same(rig.take(consumer), pattern(56, 1));
  }
});
