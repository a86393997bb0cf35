/** The k8s-file driver: records of both streams in one real file, against the reference formatter. */
import t from 'tap';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { type Random, seededRandom } from '../../helpers/random.ts';
import { ReferenceFormatter } from '../kernel/reference.ts';
import { SEED } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';

const STREAMS = [STDOUT, STDERR] as const;
/** The smallest output area that holds any record. */
const LEAST_OUTPUT = 45 + 8192 + 2;

t.test('whole lines go out at once, a part is held until it is settled', async (t) => {
  const rig = new DriverRig(t);
  const [out, err] = [rig.lead(STDOUT), rig.lead(STDERR)];
  rig.consume(STDOUT, Buffer.from('one\ntw'));
  t.equal(rig.content.toString(), `${out}F one\n`);
  t.equal(rig.driver.holdsPartial(STDOUT, false), true);
  t.equal(rig.driver.holdsPartial(STDERR, false), false);
  rig.consume(STDERR, Buffer.from('bad\n'));
  rig.driver.settle(STDERR, false);
  rig.driver.settle(STDOUT, false);
  t.equal(rig.content.toString(), `${out}F one\n${err}F bad\n${out}P tw\n`);
  t.equal(rig.driver.holdsPartial(STDOUT, false), false);
});

t.test('each stream holds a part of its own', async (t) => {
  const rig = new DriverRig(t);
  const [out, err] = [rig.lead(STDOUT), rig.lead(STDERR)];
  rig.consume(STDOUT, Buffer.from('o'));
  rig.consume(STDERR, Buffer.from('e'));
  rig.consume(STDOUT, Buffer.from('ut\n'));
  rig.consume(STDERR, Buffer.from('rr\n'));
  t.equal(rig.content.toString(), `${out}F out\n${err}F err\n`);
});

t.test('settling without a part writes nothing', async (t) => {
  const rig = new DriverRig(t);
  for (const stream of STREAMS) rig.driver.settle(stream, false);
  rig.consume(STDOUT, Buffer.alloc(0));
  t.equal(rig.content.length, 0);
  t.match(rig.counters, { records: 0, writes: 0 });
});

t.test('one batch of whole lines is one write', async (t) => {
  const rig = new DriverRig(t);
  rig.consume(STDOUT, Buffer.from('line\n'.repeat(1000)));
  t.match(rig.counters, { records: 1000, writes: 1, writtenBytes: rig.content.length });
});

t.test('a batch that formats to more than the output area takes several writes', async (t) => {
  const rig = new DriverRig(t, { outputBytes: LEAST_OUTPUT });
  rig.consume(STDOUT, Buffer.from('\n'.repeat(1000)));
  t.equal(rig.content.toString(), `${rig.lead(STDOUT)}F \n`.repeat(1000));
  t.match(rig.counters, { records: 1000, writtenBytes: 46_000 });
  t.ok(rig.counters.writes >= 6, `${rig.counters.writes} writes`);
});

t.test('a driver that takes over goes on with the part that its predecessor held', async (t) => {
  const rig = new DriverRig(t);
  const lead = rig.lead(STDOUT);
  rig.consume(STDOUT, Buffer.from('first\nsec'));
  const before = rig.driver;
  rig.driver = rig.takeOver();
  before.close();
  rig.nanoseconds = 5;
  t.equal(rig.driver.holdsPartial(STDOUT, false), true);
  rig.consume(STDOUT, Buffer.from('ond\n'));
  t.equal(rig.content.toString(), `${lead}F first\n${lead}F second\n`);
});

t.test('a part that is held goes into the new file after a reopen', async (t) => {
  const rig = new DriverRig(t);
  rig.consume(STDOUT, Buffer.from('first\nsec'));
  rig.driver.reopen();
  rig.consume(STDOUT, Buffer.from('ond\n'));
  t.equal(rig.content.toString(), `${rig.lead(STDOUT)}F second\n`);
});

/** Any bytes with lines of about `longest` bytes. */
function chunk(random: Random, length: number, longest: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = random.below(longest) === 0 ? 0x0a : random.below(256);
  return bytes;
}

t.test(`random chunks of both streams become what the reference makes of them, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 12; round++) {
    const rig = new DriverRig(t, { outputBytes: LEAST_OUTPUT + random.below(random.pick([16, 20_000])) });
    const references = { [STDOUT]: new ReferenceFormatter(), [STDERR]: new ReferenceFormatter() };
    const expected: Buffer[] = [];
    const longest = random.pick([1, 10, 100, 20_000]);
    for (let step = 0; step < 60; step++) {
      const stream: Stream = random.pick(STREAMS);
      const reference = references[stream];
      rig.nanoseconds = step;
      const bytes = chunk(random, random.below(random.pick([2, 100, 10_000])), longest);
      reference.feed(bytes, rig.lead(stream));
      rig.consume(stream, bytes, random.below(64));
      if (random.below(3) === 0) {
        reference.settle();
        rig.driver.settle(stream, false);
      }
      expected.push(reference.take());
      if (rig.driver.holdsPartial(stream, false) !== reference.holdsPartial) t.fail(`step ${step}: holdsPartial`);
    }
    t.ok(rig.content.equals(Buffer.concat(expected)), `round ${round}, lines of ${longest}`);
    const records = references[STDOUT].records + references[STDERR].records;
    t.match(rig.counters, { records, writtenBytes: rig.content.length, droppedBytes: 0 });
  }
});
