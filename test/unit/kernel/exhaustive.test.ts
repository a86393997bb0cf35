/** The kernel against the reference: every short length, every alignment, every chunk boundary. */
import t from 'tap';
import { CONTENT_MAX_BYTES } from '../../../src/kernel/layout.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { ReferenceFormatter } from './reference.ts';
import { KernelRig, leadOf } from './rig.ts';

const LENGTH_MAX = 200;
const rig = new KernelRig();
const random = seededRandom(SEED);
const LEAD = leadOf(1);

const every = (n: number) => (i: number) => (i % n === n - 1 ? 0x0a : 0x61 + (i % 26));
const patterns: Readonly<Record<string, (i: number) => number>> = {
  'no newline': (i) => 0x61 + (i % 26),
  'only newlines': () => 0x0a,
  'every 2nd a newline': every(2),
  'every 3rd a newline': every(3),
  'every 15th a newline': every(15),
  'every 16th a newline': every(16),
  'every 17th a newline': every(17),
  'every 64th a newline': every(64),
  NUL: () => 0,
  '0xff': () => 0xff,
  '0x8a and 0x0b, which are close to newlines': (i) => [0x8a, 0x0b, 0x09, 0x4a][i % 4] ?? 0,
  'any bytes': () => random.below(256),
};

/** What the reference makes of `chunks`, with a settle at the end. */
function expected(...chunks: readonly Uint8Array[]): Buffer {
  const reference = new ReferenceFormatter();
  for (const chunk of chunks) reference.feed(chunk, LEAD);
  reference.settle();
  return reference.output;
}

for (const [name, byteAt] of Object.entries(patterns))
  t.test(`${name}: lengths 0 to ${LENGTH_MAX}, alignments 0 to 63, seed ${SEED}`, async (t) => {
    const bytes = Buffer.from(Array.from({ length: LENGTH_MAX }, (_, i) => byteAt(i)));
    for (let length = 0; length <= LENGTH_MAX; length++) {
      const chunk = bytes.subarray(0, length);
      const wanted = expected(chunk);
      for (let align = 0; align < 64; align++) {
        const other = (align * 23 + length) % 64;
        for (const [sourceAlign, outputAlign] of [
          [align, other],
          [other, align],
        ] as const) {
          rig.place({ outputBytes: 1 << 14, sourceAlign, outputAlign }).feed(chunk, LEAD);
          rig.settle();
          if (!rig.output.equals(wanted)) t.fail(`length ${length}, source ${sourceAlign}, output ${outputAlign}`);
        }
      }
    }
    t.pass();
  });

t.test('a line means the same wherever it is cut in two', async (t) => {
  for (const length of [1, 2, 15, 16, 17, 31, 33, 100, 200]) {
    const line = Buffer.from(`${'x'.repeat(length)}\nnext\n`);
    const wanted = expected(line);
    for (let cut = 0; cut <= line.length; cut++) {
      rig.place({ outputBytes: 1 << 14, sourceAlign: cut % 64 });
      rig.feed(line.subarray(0, cut), LEAD);
      rig.feed(line.subarray(cut), LEAD);
      rig.settle();
      if (!rig.output.equals(wanted)) t.fail(`${length} bytes cut at ${cut}`);
    }
  }
  t.pass();
});

t.test('a line cut into single bytes is one record', async (t) => {
  rig.place({ outputBytes: 1 << 14 });
  for (const byte of Buffer.from('hello\n')) rig.feed(Buffer.of(byte), LEAD);
  t.equal(rig.output.toString(), `${LEAD}F hello\n`);
});

t.test('a settle between two chunks makes the first a part, wherever it comes', async (t) => {
  const line = Buffer.from(`${'x'.repeat(60)}\n`);
  for (let cut = 0; cut <= line.length; cut++) {
    const reference = new ReferenceFormatter();
    rig.place({ outputBytes: 1 << 14 });
    for (const part of [line.subarray(0, cut), line.subarray(cut)]) {
      reference.feed(part, LEAD);
      reference.settle();
      rig.feed(part, LEAD);
      rig.settle();
    }
    if (!rig.output.equals(reference.output)) t.fail(`cut at ${cut}`);
  }
  t.pass();
});

t.test('lines around the longest record, cut around its end', async (t) => {
  for (let length = CONTENT_MAX_BYTES - 17; length <= CONTENT_MAX_BYTES + 17; length++) {
    const line = Buffer.from(`${'y'.repeat(length)}\nz\n`);
    const wanted = expected(line);
    for (const cut of [0, 1, 16, 8175, 8176, 8190, 8191, 8192, 8193, 8194, length, length + 1]) {
      rig.place({ outputBytes: 1 << 15, sourceAlign: cut % 64, outputAlign: length % 64 });
      rig.feed(line.subarray(0, cut), LEAD);
      rig.feed(line.subarray(cut), LEAD);
      rig.settle();
      if (!rig.output.equals(wanted)) t.fail(`${length} bytes cut at ${cut}`);
    }
  }
  t.pass();
});

t.test('a long line ends where its newline is', async (t) => {
  for (let length = 480; length <= 1300; length++) {
    const line = Buffer.from(`${'y'.repeat(length)}\n${'z'.repeat(700)}`);
    const wanted = expected(line);
    for (const sourceAlign of [0, length % 64]) {
      rig.place({ outputBytes: 1 << 14, sourceAlign, outputAlign: (length * 7) % 64 }).feed(line, LEAD);
      rig.settle();
      if (!rig.output.equals(wanted)) t.fail(`${length} bytes at ${sourceAlign}`);
    }
  }
  t.pass();
});

t.test('a long line fills an output of any size, but for its newline', async (t) => {
  const line = Buffer.from(`${'y'.repeat(6000)}\n`);
  for (let outputBytes = 3500; outputBytes <= 3700; outputBytes++) {
    const reference = new ReferenceFormatter();
    let at = 0;
    rig.place({ outputBytes, sourceAlign: outputBytes % 64 }).feed(line, LEAD, 0, (bytes, cut) => {
      reference.feed(line.subarray(at, at + bytes), LEAD);
      at += bytes;
      if (cut) reference.settle();
    });
    if (!rig.output.equals(reference.output)) t.fail(`${outputBytes} bytes`);
    const first = rig.output.indexOf(0x0a) + 1;
    if (first !== outputBytes) t.fail(`${first} of ${outputBytes} bytes are used`);
  }
  t.pass();
});

t.test('what lies behind the chunk has no say', async (t) => {
  const bytes = Buffer.from(Array.from({ length: LENGTH_MAX }, () => random.pick([0x0a, 0x61, 0x62])));
  for (let length = 0; length <= LENGTH_MAX; length++) {
    const chunk = bytes.subarray(0, length);
    const wanted = expected(chunk);
    for (const behind of [0x00, 0x0a, 0x61, 0xff]) {
      rig.place({ outputBytes: 1 << 14, sourceAlign: length % 64 }).feed(chunk, LEAD, behind);
      rig.settle();
      if (!rig.output.equals(wanted)) t.fail(`length ${length} before ${behind}`);
    }
  }
  t.pass(`seed ${SEED}`);
});

t.test('nor behind a chunk that ends amid a long line', async (t) => {
  for (let length = 480; length <= 900; length++) {
    const chunk = Buffer.alloc(length, 'y');
    const wanted = expected(chunk);
    for (const behind of [0x0a, 0x61]) {
      rig.place({ outputBytes: 1 << 14, sourceAlign: length % 64 }).feed(chunk, LEAD, behind);
      rig.settle();
      if (!rig.output.equals(wanted)) t.fail(`${length} bytes before ${behind}`);
    }
  }
  t.pass();
});
