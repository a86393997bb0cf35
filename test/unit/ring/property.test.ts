/** Random claims, commits, releases, joins and leaves against a plain queue; positions near their wrap. */
import t, { type Test } from 'tap';
import { HEADER_BYTES, POSITION_MASK, RING_OFFSET, recordBytes } from '../../../src/ring/layout.ts';
import { type Random, seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { pattern, Rig } from './rig.ts';

const WRAP = POSITION_MASK + 1;

/** What one consumer must still get. */
interface Expected {
  readonly records: { readonly payload: Buffer; readonly stream: number }[];
  state: 'absent' | 'requested' | 'active';
}

interface Outcome {
  committed: number;
  full: number;
  padded: number;
}

function play(t: Test, rig: Rig, random: Random, steps: number): Outcome {
  const { capacityBytes, producer } = rig;
  const outcome: Outcome = { committed: 0, full: 0, padded: 0 };
  const consumers = [rig.consumer(0), rig.consumer(1)] as const;
  const expected: readonly Expected[] = [
    { records: [], state: 'active' },
    { records: [], state: 'absent' },
  ];
  const fail = (what: string): never => {
    throw new Error(`${what} (capacity ${capacityBytes}, tail ${producer.tail}, seed ${SEED})`);
  };
  const letIn = () => {
    for (const consumer of expected) if (consumer.state === 'requested') consumer.state = 'active';
  };
  for (let i = 0; i < steps; i++) {
    const index = random.below(2) as 0 | 1;
    const [consumer, model] = [consumers[index], expected[index] as Expected];
    const roll = random.below(10);
    if (roll < 5) {
      const want = random.below(random.pick([8, 64, capacityBytes, 2 * capacityBytes])) + 1;
      const least = Math.min(want, 1 + random.below(random.pick([8, capacityBytes / 2 - HEADER_BYTES])));
      const offset = producer.tryClaim(want, least);
      letIn();
      if (offset === -1) {
        outcome.full++;
        // A record of up to half of the ring always fits somewhere in an empty one.
        const idle = expected.every(({ state, records }) => state !== 'active' || records.length === 0);
        if (idle && consumers.every((c, j) => expected[j]?.state !== 'active' || c.backlogBytes === 0))
          fail(`an empty ring refused ${least} bytes`);
        continue;
      }
      const claimed = producer.claimedBytes;
      if (claimed < least || claimed > want) fail(`claimed ${claimed}, least ${least}, want ${want}`);
      if (offset % 8 !== 0 || offset < RING_OFFSET + HEADER_BYTES || offset + claimed > RING_OFFSET + capacityBytes)
        fail(`claim at ${offset} of ${claimed} bytes`);
      const used = random.below(4) === 0 ? random.below(claimed + 1) : claimed;
      // All of the claim is the producer's to write, also what it does not commit.
      rig.bytes.set(pattern(claimed, i), offset);
      const before = producer.tail;
      producer.commit(used, i & 0xff);
      if (used > 0 && ((producer.tail - before) & POSITION_MASK) !== recordBytes(used)) outcome.padded++;
      if (used === 0) continue;
      outcome.committed++;
      for (const { state, records } of expected)
        if (state === 'active') records.push({ payload: pattern(claimed, i).subarray(0, used), stream: i & 0xff });
    } else if (roll < 9 && model.state === 'active') {
      if (index === 1 && !consumer.active) fail('an admitted consumer is not active');
      const next = model.records.shift();
      if (consumer.next() !== (next !== undefined)) fail(`consumer ${index}: next is not ${next !== undefined}`);
      if (next === undefined) continue;
      if (consumer.stream !== next.stream || !rig.record(consumer).equals(next.payload))
        fail(`consumer ${index}: wrong record ${consumer.stream} in place of ${next.stream}`);
      if (random.below(4) === 0) consumer.next(); // looking twice changes nothing
      consumer.release();
      const kept = model.records.reduce((sum, { payload }) => sum + recordBytes(payload.length), 0);
      if (consumer.backlogBytes < kept || consumer.backlogBytes > capacityBytes) fail('backlog');
    } else if (index === 1 && random.below(20) === 0) {
      if (model.state === 'absent') {
        consumer.request();
        model.state = 'requested';
      } else {
        consumer.leave();
        model.state = 'absent';
        model.records.length = 0;
      }
    } else if (random.below(20) === 0) {
      producer.admitConsumers();
      letIn();
    }
  }
  producer.end();
  for (const [index, consumer] of consumers.entries()) {
    const model = expected[index] as Expected;
    if (model.state !== 'active') continue;
    if (!consumer.active) fail('not let in'); // also fixes where one that was let in last begins
    for (const record of model.records) if (!rig.take(consumer)?.equals(record.payload)) fail('lost at the end');
    if (consumer.next() || !consumer.finished) fail('not finished');
  }
  rig.checkCanaries();
  t.ok(outcome.committed > steps / 20, `capacity ${capacityBytes}: ${JSON.stringify(outcome)}`);
  return outcome;
}

t.test(`random records arrive whole and in order, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (const capacityBytes of [64, 128, 256, 1024, 4096]) {
    const outcome = play(t, new Rig({ capacityBytes }), random, 20_000);
    t.ok(outcome.full > 0 && outcome.padded > 0, 'the ring was full and its lap end was skipped');
  }
});

t.test(`positions wrap unnoticed, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED + 1);
  for (const capacityBytes of [64, 256, 4096])
    for (const distance of [0, 8, 64, 1024]) {
      const rig = new Rig({ capacityBytes, start: WRAP - distance - capacityBytes });
      const from = rig.producer.tail;
      play(t, rig, random, 3000);
      t.ok(rig.producer.tail < from, `from ${from} to ${rig.producer.tail}`);
    }
});

t.test('a ring that is full at the wrap is full, not empty', async (t) => {
  const rig = new Rig({ capacityBytes: 64, start: WRAP - 64 });
  const consumer = rig.consumer(0);
  t.ok(rig.put(pattern(56, 1)));
  t.equal(rig.producer.tail, 0);
  t.equal(consumer.backlogBytes, 64);
  t.equal(rig.producer.tryClaim(1, 1), -1);
  t.same(rig.take(consumer), pattern(56, 1));
  t.ok(rig.put(pattern(56, 2)));
  t.same(rig.take(consumer), pattern(56, 2));
});
