/**
 * The log-heavy sample: numbered lines of mixed lengths, the same bytes every time. The container writes them, the
 * verification makes them again. Lines come in blocks of 1000: within a block each line has its own length and filler,
 * from block to block only the thousands of the line numbers differ, so that a block costs microseconds to make.
 */

import { writeSync } from 'node:fs';

const LINES_PER_BLOCK = 1000;
/** Of a line's number: the number of its block, then its place in the block. */
const BLOCK_DIGITS = 9;
const LINE_DIGITS = 3;
const SEED = 0x5eed_c0de;
const TEXT = 'the quick brown fox jumps over the lazy dog and logs it, 0123456789 times a second; ';
const NEWLINE = 0x0a;

/** Lengths in bytes, newline included: 60 % of the lines are of the first kind, 30 % of the second, and so on. */
const LENGTHS = [
  { upTo: 0.6, min: 20, max: 80 },
  { upTo: 0.9, min: 80, max: 200 },
  { upTo: 0.995, min: 200, max: 1000 },
];
/** These need more than one record. */
const LONGEST = { min: 1000, max: 20_000 };

export interface SampleSize {
  readonly blocks: number;
  readonly bytes: number;
  readonly lines: number;
}

/** The sample of at least `bytes` bytes, in whole blocks. */
export function sampleSize(bytes: number): SampleSize {
  const blocks = Math.max(1, Math.ceil(bytes / template.bytes.length));
  return { blocks, bytes: blocks * template.bytes.length, lines: blocks * LINES_PER_BLOCK };
}

/** Makes the blocks one after the other. Each is valid until the next is asked for; all have the same length. */
export function* sampleBlocks(blocks: number): Generator<Buffer, void, void> {
  const block = Buffer.from(template.bytes);
  let written = '0'.repeat(BLOCK_DIGITS);
  for (let index = 0; index < blocks; index++) {
    const digits = String(index).padStart(BLOCK_DIGITS, '0');
    for (let place = 0; place < BLOCK_DIGITS; place++) {
      if (digits[place] === written[place]) continue;
      const digit = digits.charCodeAt(place);
      for (const start of template.lineStarts) block[start + place] = digit;
    }
    written = digits;
    yield block;
  }
}

/** What the container runs: writes the sample to an fd, a block with each write. Blocks while the pipe is full. */
export function writeSample(fd: number, blocks: number): void {
  for (const block of sampleBlocks(blocks)) {
    for (let offset = 0; offset < block.length; ) offset += writeSync(fd, block, offset);
  }
}

interface Template {
  readonly bytes: Buffer;
  readonly lineStarts: Uint32Array;
}

function makeTemplate(): Template {
  const random = generator(SEED);
  const lines: Buffer[] = [];
  const lineStarts = new Uint32Array(LINES_PER_BLOCK);
  let bytes = 0;
  for (let index = 0; index < LINES_PER_BLOCK; index++) {
    lineStarts[index] = bytes;
    const line = Buffer.alloc(lineLength(random));
    line.fill(TEXT.slice(index % TEXT.length) + TEXT);
    line.write(`${String(index).padStart(BLOCK_DIGITS + LINE_DIGITS, '0')} `);
    line[line.length - 1] = NEWLINE;
    lines.push(line);
    bytes += line.length;
  }
  return { bytes: Buffer.concat(lines), lineStarts };
}

function lineLength(random: () => number): number {
  const pick = random();
  const { min, max } = LENGTHS.find(({ upTo }) => pick < upTo) ?? LONGEST;
  return min + Math.floor(random() * (max - min));
}

/** Numbers from 0 to 1, the same for the same seed (a linear congruential generator, Numerical Recipes). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const template = makeTemplate();
