/** The kernel against the reference over random streams, cut anywhere, into output areas of any size. */
import t from 'tap';
import { CONTENT_MAX_BYTES, PREFIX_BYTES } from '../../../src/kernel/layout.ts';
import { type Random, seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { ReferenceFormatter } from './reference.ts';
import { KernelRig, leadOf } from './rig.ts';

const rig = new KernelRig();

/** A stream of about `length` bytes of one of several characters. */
function stream(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const kind = random.below(5);
  const longest = random.pick([2, 20, 100, 1000, 20_000]);
  for (let at = 0; at < length; ) {
    const line = Math.min(random.below(longest + 1), length - at);
    const fill = kind === 0 ? 0 : kind === 1 ? 0xff : 0x20 + random.below(90);
    bytes.fill(fill, at, at + line);
    if (kind === 4) for (let i = at; i < at + line; i++) bytes[i] = random.below(256);
    at += line + 1;
    if (at <= length) bytes[at - 1] = 0x0a;
  }
  return bytes;
}

/** Feeds both, cut at random, settled at random; throws where they differ. */
function compare(random: Random, bytes: Buffer, outputBytes: number): { cuts: number; fills: number } {
  const reference = new ReferenceFormatter();
  const place = { outputBytes, sourceAlign: random.below(64), outputAlign: random.below(64) };
  rig.place(place);
  const seen = { cuts: 0, fills: 0 };
  // Single bytes are slow: short streams only.
  const longest = bytes.length < 4000 ? random.pick([1, 40, 500]) : random.pick([400, 9000, 65536]);
  for (let at = 0, number = 0; at < bytes.length; number++) {
    const chunk = bytes.subarray(at, at + 1 + random.below(longest));
    const lead = leadOf(number);
    let done = 0;
    rig.feed(chunk, lead, random.below(256), (taken, cut) => {
      reference.feed(chunk.subarray(done, done + taken), lead);
      done += taken;
      if (done < chunk.length) seen.fills++;
      if (!cut) return;
      reference.settle();
      seen.cuts++;
    });
    at += chunk.length;
    if (rig.open !== reference.holdsPartial) throw new Error(`open: ${rig.open}`);
    if (random.below(4) === 0) {
      const held = reference.holdsPartial;
      reference.settle();
      if (rig.settle() !== Number(held)) throw new Error('settle');
    }
  }
  rig.settle();
  reference.settle();
  if (rig.records !== reference.records) throw new Error(`${rig.records} records, not ${reference.records}`);
  const [got, wanted] = [rig.output, reference.output];
  if (got.equals(wanted)) return seen;
  const at = got.findIndex((byte, i) => byte !== wanted[i]);
  throw new Error(`output differs at byte ${at} of ${wanted.length}: ${JSON.stringify(place)}`);
}

t.test(`random streams in areas that hold any record, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  let fills = 0;
  for (let round = 0; round < 120; round++) {
    const outputBytes = PREFIX_BYTES + CONTENT_MAX_BYTES + 2 + random.below(random.pick([4, 100, 20_000, 100_000]));
    const seen = compare(random, stream(random, 1 + random.below(60_000)), outputBytes);
    t.equal(seen.cuts, 0, 'a record never fills such an area alone');
    fills += seen.fills;
  }
  t.ok(fills > 100, `the output was full ${fills} times`);
});

t.test(`random streams in areas of 47 bytes and more, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED + 1);
  let cuts = 0;
  for (let round = 0; round < 250; round++) {
    // The smallest area takes a prefix, one byte and a newline.
    const outputBytes = PREFIX_BYTES + 2 + random.below(random.pick([1, 20, 200, 9000]));
    cuts += compare(random, stream(random, 1 + random.below(6000)), outputBytes).cuts;
  }
  t.ok(cuts > 100, `${cuts} records were cut by the area's end`);
});
