/** Log files of JSON records: what is in one real file, against the reference and an independent JSON parser. */
import t from 'tap';
import { JsonFormat } from '../../../src/log/json-format.ts';
import { UtcTime } from '../../../src/log/utc-time.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { seededRandom } from '../../helpers/random.ts';
import { JsonReference } from '../kernel/json-reference.ts';
import { SEED } from '../native/fake-sys.ts';
import { DriverRig, type MakeFormat } from './driver-rig.ts';

const OUTPUT_BYTES = 1 << 17;
const FULL = { outputBytes: 1 << 18 };

const make =
  (attributes: Readonly<Record<string, string>> = {}): MakeFormat =>
  (memory, kernel, clock) =>
    new JsonFormat(memory, kernel, new UtcTime(clock), attributes);

/** A record as Docker writes it, with its time's fraction. */
function record(log: string, stream: string, fraction = '', attrs = ''): string {
  return `{"log":"${log}","stream":"${stream}"${attrs},"time":"2026-11-23T18:00:00${fraction}Z"}\n`;
}

t.test('records of both streams are what Docker writes', async (t) => {
  const rig = new DriverRig(t, FULL, make());
  rig.consume(STDOUT, Buffer.from('one\ntw'));
  rig.nanoseconds = 120_000_000;
  rig.consume(STDERR, Buffer.from('"bad"\n'));
  rig.consume(STDOUT, Buffer.from('o\n'));
  t.equal(
    rig.content.toString(),
    record('one\\n', 'stdout') + record('\\"bad\\"\\n', 'stderr', '.12') + record('two\\n', 'stdout', '.12'),
  );
});

t.test('a part goes out without a newline, with the time at which it does', async (t) => {
  const rig = new DriverRig(t, FULL, make());
  rig.consume(STDOUT, Buffer.from('prompt: '));
  t.equal(rig.driver.holdsPartial(STDOUT, false), true);
  rig.nanoseconds = 1;
  rig.driver.settle(STDOUT, false);
  t.equal(rig.content.toString(), record('prompt: ', 'stdout', '.000000001'));
  t.equal(rig.driver.holdsPartial(STDOUT, false), false);
});

t.test('half of a character is kept back until the rest or the end of the stream comes', async (t) => {
  const rig = new DriverRig(t, FULL, make());
  rig.consume(STDOUT, Buffer.from([0x61, 0xe2, 0x82]));
  rig.driver.settle(STDOUT, false);
  t.equal(rig.driver.holdsPartial(STDOUT, false), false, 'nothing that a settle would write');
  t.equal(rig.driver.holdsPartial(STDOUT, true), true);
  rig.consume(STDOUT, Buffer.from([0xac, 0xe2]));
  rig.driver.settle(STDOUT, true);
  t.equal(rig.driver.holdsPartial(STDOUT, true), false);
  t.equal(rig.content.toString(), record('a', 'stdout') + record('€\\ufffd', 'stdout'));
});

t.test('labels and tag are attrs, sorted and escaped', async (t) => {
  const rig = new DriverRig(t, FULL, make({ tag: 'a<b>&"\u2028', ZONE: 'x', APP: '' }));
  rig.consume(STDERR, Buffer.from('x\n'));
  const attrs = ',"attrs":{"APP":"","ZONE":"x","tag":"a\\u003cb\\u003e\\u0026\\"\\u2028"}';
  t.equal(rig.content.toString(), record('x\\n', 'stderr', '', attrs));
  t.same(JSON.parse(rig.content.toString()).attrs, { APP: '', ZONE: 'x', tag: 'a<b>&"\u2028' });
});

t.test('a text of conmon itself is a record of stderr', async (t) => {
  const rig = new DriverRig(t, FULL, make({ tag: 't' }));
  const format = make()(rig.memory, rig.kernel, rig.clock);
  t.equal(Buffer.from(format.notice('[conmon] <x>')).toString(), record('[conmon] \\u003cx\\u003e\\n', 'stderr'));
});

t.test('a driver that takes over goes on with a part and half of a character', async (t) => {
  const rig = new DriverRig(t, FULL, make());
  rig.consume(STDOUT, Buffer.from([0x61, 0xf0, 0x9f, 0x98]));
  const before = rig.driver;
  rig.driver = rig.takeOver();
  before.close();
  t.equal(rig.driver.holdsPartial(STDOUT, false), true);
  rig.consume(STDOUT, Buffer.from([0x80, 0x0a]));
  t.equal(rig.content.toString(), record('a😀\\n', 'stdout'));
});

t.test('the longest labels leave room for the longest record', async (t) => {
  const rig = new DriverRig(t, { outputBytes: 1 << 20 }, make({ X: '\x01'.repeat(16_384) }));
  const line = `${'\x02'.repeat(16_384)}\n`;
  rig.consume(STDOUT, Buffer.from(line));
  const { log, attrs } = JSON.parse(rig.content.toString());
  t.equal(log, line);
  t.equal(attrs.X.length, 16_384);
});

t.test(`random chunks of both streams become what the reference makes of them, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 6; round++) {
    const rig = new DriverRig(t, { outputBytes: OUTPUT_BYTES + random.below(20_000) }, make());
    const references = { [STDOUT]: new JsonReference(), [STDERR]: new JsonReference() };
    const expected: Buffer[] = [];
    const longest = random.pick([1, 10, 100, 20_000]);
    for (let step = 0; step < 40; step++) {
      const stream: Stream = random.pick([STDOUT, STDERR]);
      rig.nanoseconds = step;
      const bytes = Buffer.alloc(random.below(random.pick([2, 100, 10_000])));
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(longest) === 0 ? 0x0a : random.below(256);
      const fraction = step === 0 ? '' : `.${String(step).padStart(9, '0')}`.replace(/0+$/, '');
      const tail = record('', stream === STDOUT ? 'stdout' : 'stderr', fraction).slice('{"log":"'.length);
      references[stream].feed(bytes, tail);
      rig.consume(stream, bytes, random.below(64));
      if (random.below(3) === 0) {
        references[stream].settle();
        rig.driver.settle(stream, false);
      }
      expected.push(references[stream].take());
    }
    t.ok(rig.content.equals(Buffer.concat(expected)), `round ${round}, lines of ${longest}`);
    for (const line of rig.content.toString().trimEnd().split('\n')) JSON.parse(line);
    const records = references[STDOUT].records + references[STDERR].records;
    t.match(rig.counters, { records, writtenBytes: rig.content.length, droppedBytes: 0 });
  }
});
