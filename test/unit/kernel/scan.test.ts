/** The line scanner: where newlines are, at every alignment and length, and when its table is full. */
import t from 'tap';
import { createMemory, loadKernel } from '../../../src/kernel/kernel.ts';
import { RING_OFFSET } from '../../../src/ring/layout.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';

const TABLE = RING_OFFSET + (1 << 16);
const CANARY = 0x5a5a5a5a;
const memory = createMemory(TABLE + (1 << 16));
const bytes = new Uint8Array(memory.buffer);
const words = new Uint32Array(memory.buffer);
const kernel = loadKernel(memory);

/** The slow way. */
function newlines(input: Uint8Array): number[] {
  return [...input].flatMap((byte, i) => (byte === 0x0a ? [i + 1] : []));
}

function scan(input: Uint8Array, align: number, max = 4096, behind = 0x0a): number[] {
  const source = RING_OFFSET + align;
  bytes.fill(0x0a, RING_OFFSET, source);
  bytes.set(input, source);
  bytes.fill(behind, source + input.length, source + input.length + 64);
  words[TABLE / 4 + max] = CANARY;
  const count = kernel.scan(source, input.length, TABLE, max);
  if (count > max || words[TABLE / 4 + max] !== CANARY) throw new Error('written past the table');
  return [...words.subarray(TABLE / 4, TABLE / 4 + count)];
}

t.test(`lengths 0 to 200 at alignments 0 to 63, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (const density of [1, 2, 10, 60, 1000]) {
    const input = Uint8Array.from({ length: 200 }, () => (random.below(density) === 0 ? 0x0a : random.below(256)));
    for (let length = 0; length <= input.length; length++) {
      const part = input.subarray(0, length);
      const wanted = newlines(part);
      for (let align = 0; align < 64; align++)
        if (scan(part, align).join() !== wanted.join()) t.fail(`length ${length}, alignment ${align}`);
    }
  }
  t.pass();
});

t.test('bytes that are close to a newline are none', async (t) => {
  t.same(scan(Uint8Array.of(0x8a, 0x0b, 0x09, 0x4a, 0x0a), 3), [5]);
});

t.test('a full table ends the search, and the rest is found from there', async (t) => {
  const input = Buffer.from('a\n\nbc\n'.repeat(40));
  const wanted = newlines(input);
  for (const max of [1, 2, 63, 64, 65]) {
    const found: number[] = [];
    for (let from = 0; from < input.length; ) {
      const part = scan(input.subarray(from), from % 64, max);
      found.push(...part.map((at) => from + at));
      from = part.length === max ? (found.at(-1) ?? 0) : input.length;
    }
    t.same(found, wanted, `${max} at a time`);
  }
});
