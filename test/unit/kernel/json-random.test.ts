/** The json formatter against the reference: every short length and alignment, every cut, random streams and areas. */
import t from 'tap';
import { JSON_CONTENT_MAX_BYTES } from '../../../src/kernel/layout.ts';
import { type Random, seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { JsonReference } from './json-reference.ts';
import { JsonRig, leastOutput, tailOf } from './rig.ts';

const rig = new JsonRig();
const LENGTH_MAX = 100;
const TAIL = tailOf(7);

function expected(...chunks: readonly Uint8Array[]): Buffer {
  const reference = new JsonReference();
  for (const chunk of chunks) reference.feed(chunk, TAIL);
  reference.finish();
  return reference.output;
}

const SPECIAL = [0x00, 0x09, 0x0a, 0x0d, 0x1f, 0x22, 0x26, 0x3c, 0x3e, 0x5c, 0x7f];
/** Bytes that begin, continue or spoil UTF-8 sequences. */
const HIGH = [
  0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xa8, 0xa9, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff,
];
const TEXTS = [
  'é',
  '€',
  '日本語',
  '😀',
  '\u2028',
  '\u2029',
  'naïve ',
  '{"a":"b<c>"}',
  '\u07ff',
  '\ud7ff',
  '\u{10ffff}',
];

const filler = (i: number) => 0x61 + (i % 26);
const every = (n: number, byte: number) => (i: number) => (i % n === n - 1 ? byte : filler(i));
const patterns: Readonly<Record<string, (random: Random) => (i: number) => number>> = {
  'nothing special': () => filler,
  'only newlines': () => () => 0x0a,
  'a newline every 17 bytes': () => every(17, 0x0a),
  'a quote every 16 bytes': () => every(16, 0x22),
  'only quotes': () => () => 0x22,
  'two-byte characters': () => (i) => (i % 2 === 0 ? 0xc3 : 0xa9),
  'three-byte characters': () => (i) => [0xe2, 0x82, 0xac][i % 3] ?? 0,
  'four-byte characters': () => (i) => [0xf0, 0x9f, 0x98, 0x80][i % 4] ?? 0,
  'only 0xff': () => () => 0xff,
  'specials amid text': (random) => (i) => (random.below(8) === 0 ? random.pick(SPECIAL) : filler(i)),
  'high bytes': (random) => () => random.pick(HIGH),
  'any bytes': (random) => () => random.below(256),
};

for (const [name, pattern] of Object.entries(patterns))
  t.test(`${name}: lengths 0 to ${LENGTH_MAX}, alignments 0 to 63, seed ${SEED}`, async (t) => {
    const byteAt = pattern(seededRandom(SEED));
    const bytes = Buffer.from(Array.from({ length: LENGTH_MAX }, (_, i) => byteAt(i)));
    for (let length = 0; length <= LENGTH_MAX; length++) {
      const chunk = bytes.subarray(0, length);
      const wanted = expected(chunk);
      for (let align = 0; align < 64; align++) {
        const other = (align * 23 + length) % 64;
        rig.place({ outputBytes: 1 << 15, sourceAlign: align, outputAlign: other, tailAlign: (align + length) % 16 });
        rig.feed(chunk, TAIL, [0x0a, 0x22, 0x80, 0x61][align % 4]);
        rig.finish();
        if (!rig.output.equals(wanted)) t.fail(`length ${length}, source ${align}, output ${other}`);
      }
    }
    t.pass();
  });

t.test(`a text means the same wherever it is cut in two, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 20; round++) {
    const parts = Array.from({ length: 30 }, () =>
      random.below(4) === 0
        ? Buffer.of(random.pick([...SPECIAL, ...HIGH]))
        : Buffer.from(random.pick([...TEXTS, 'plain text', '\n'])),
    );
    const text = Buffer.concat(parts);
    const wanted = expected(text);
    for (let cut = 0; cut <= text.length; cut++) {
      rig.place({ outputBytes: 1 << 15, sourceAlign: cut % 64 });
      rig.feed(text.subarray(0, cut), TAIL, random.below(256));
      rig.feed(text.subarray(cut), TAIL, random.below(256));
      rig.finish();
      if (!rig.output.equals(wanted)) t.fail(`round ${round} cut at ${cut}: ${text.toString('hex')}`);
    }
  }
  t.pass();
});

t.test('lines around the longest record, of characters of each size', async (t) => {
  for (const char of ['x', 'é', '€', '😀', '"', '\u2028', '\x01']) {
    const count = Math.floor(JSON_CONTENT_MAX_BYTES / Buffer.byteLength(char));
    for (let more = -3; more <= 3; more++)
      for (const lead of ['', 'a', 'ab', 'abc']) {
        const line = Buffer.from(`${lead}${char.repeat(count + more)}\nz\n`);
        const wanted = expected(line);
        for (const cut of [0, 1, 16380, 16383, 16384, 16385, line.length - 3]) {
          rig.place({ outputBytes: 1 << 18, sourceAlign: cut % 64, outputAlign: line.length % 64 });
          rig.feed(line.subarray(0, cut), TAIL);
          rig.feed(line.subarray(cut), TAIL);
          rig.finish();
          if (!rig.output.equals(wanted)) t.fail(`${lead}, ${count + more} of ${char}, cut at ${cut}`);
        }
      }
  }
  t.pass();
});

/** A stream of about `length` bytes. */
function stream(random: Random, length: number): Buffer {
  const longest = random.pick([2, 20, 100, 1000, 40_000]);
  const kind = random.below(5);
  const parts: Buffer[] = [];
  for (let bytes = 0; bytes < length; ) {
    const line = random.below(longest + 1);
    const part =
      kind === 0
        ? Buffer.alloc(line, 0x61)
        : kind === 1
          ? Buffer.from(random.pick(TEXTS).repeat(1 + line / 6))
          : kind === 2
            ? Buffer.from(Array.from({ length: line }, () => random.below(256)))
            : kind === 3
              ? Buffer.from(Array.from({ length: line }, () => random.pick(HIGH)))
              : Buffer.from(
                  Array.from({ length: line }, (_, i) => (random.below(10) === 0 ? random.pick(SPECIAL) : filler(i))),
                );
    parts.push(part, Buffer.from('\n'));
    bytes += part.length + 1;
  }
  return Buffer.concat(parts).subarray(0, length);
}

/** What the records say, without where they end. */
function content(output: Buffer): Buffer {
  const logs = output.toString('latin1').match(/(?<=^\{"log":")[^"\\]*(?:\\.[^"\\]*)*(?=",")/gm) ?? [];
  return Buffer.from(logs.join(''), 'latin1');
}

/** @param bounds whether the records must end at the same places: an area's end cuts them elsewhere, amid invalid bytes */
function compare(random: Random, bytes: Buffer, outputBytes: number, bounds = true): { cuts: number; fills: number } {
  const reference = new JsonReference();
  rig.place({ outputBytes, sourceAlign: random.below(64), outputAlign: random.below(64), tailAlign: random.below(64) });
  const seen = { cuts: 0, fills: 0 };
  const longest = bytes.length < 4000 ? random.pick([1, 3, 40, 500]) : random.pick([400, 9000, 65536]);
  for (let at = 0, number = 0; at < bytes.length; number++) {
    const chunk = bytes.subarray(at, at + 1 + random.below(longest));
    // What is kept for a record's end is as long as the tail was: an area with nothing to spare gets the same each time.
    const tail = tailOf(bounds ? number : 5);
    let done = 0;
    rig.feed(chunk, tail, random.below(256), (taken, cut) => {
      reference.feed(chunk.subarray(done, done + taken), tail);
      done += taken;
      if (done < chunk.length) seen.fills++;
      if (!cut) return;
      reference.settle();
      seen.cuts++;
    });
    at += chunk.length;
    if (bounds && rig.open !== reference.holdsPartial) throw new Error(`open: ${rig.open}`);
    if (random.below(4) === 0) {
      const held = reference.holdsPartial;
      reference.settle();
      if (rig.settle() !== Number(held) && bounds) throw new Error('settle');
    }
  }
  rig.finish();
  reference.finish();
  if (bounds && rig.records !== reference.records) throw new Error(`${rig.records} records, not ${reference.records}`);
  const [got, wanted] = bounds ? [rig.output, reference.output] : [content(rig.output), content(reference.output)];
  if (got.equals(wanted)) return seen;
  const at = got.findIndex((byte, i) => byte !== wanted[i]);
  throw new Error(`output differs at byte ${at} of ${wanted.length}`);
}

t.test(`random streams in areas that hold any record, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED + 1);
  let fills = 0;
  for (let round = 0; round < 60; round++) {
    const outputBytes = leastOutput(tailOf(36)) + 20 + random.below(random.pick([4, 100, 100_000]));
    const seen = compare(random, stream(random, 1 + random.below(60_000)), outputBytes);
    t.equal(seen.cuts, 0, 'a record never fills such an area alone');
    fills += seen.fills;
  }
  t.ok(fills > 5, `the output was full ${fills} times`);
});

t.test(`random streams in small areas, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED + 2);
  let cuts = 0;
  for (let round = 0; round < 150; round++) {
    const outputBytes = 330 + random.below(random.pick([1, 20, 200, 9000]));
    cuts += compare(random, stream(random, 1 + random.below(6000)), outputBytes, false).cuts;
  }
  t.ok(cuts > 50, `${cuts} records were cut by the area's end`);
});

t.test(`every record is JSON that says what went in, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED + 3);
  for (let round = 0; round < 30; round++) {
    const text = Array.from({ length: 200 }, () =>
      random.pick([...TEXTS, '\x00', '"', '\\', '\n', '\r', '\t', 'words ']),
    );
    rig.place({ outputBytes: 1 << 17 }).feed(Buffer.from(text.join('')), TAIL);
    rig.finish();
    const records = rig.output.toString().trimEnd().split('\n');
    const logs = records.map((record) => (JSON.parse(record) as { log: string }).log);
    t.equal(logs.join(''), text.join(''));
  }
});
