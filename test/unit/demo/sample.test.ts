/** The sample: what the container writes can be made again, line for line. */

import { closeSync, openSync, readFileSync } from 'node:fs';
import t from 'tap';
import { sampleBlocks, sampleSize, writeSample } from '../../../src/demo/sample.ts';
import { Scratch } from './support.ts';

const scratch = new Scratch(t);
const BLOCKS = 12;

t.test('the size is known beforehand', async (t) => {
  const size = sampleSize(2_000_000);
  const bytes = Buffer.concat([...copies(size.blocks)]);
  t.equal(bytes.length, size.bytes);
  t.equal(bytes.toString('latin1').split('\n').length - 1, size.lines);
  t.ok(size.bytes >= 2_000_000);
  t.equal(sampleSize(0).blocks, 1);
});

t.test('lines are numbered from 0 without a gap, in mixed lengths', async (t) => {
  const lines = Buffer.concat([...copies(BLOCKS)])
    .toString('latin1')
    .split('\n')
    .slice(0, -1);
  const wrong = lines.findIndex((line, index) => !line.startsWith(`${String(index).padStart(12, '0')} `));
  t.equal(wrong, -1);
  const lengths = lines.map(({ length }) => length);
  t.ok(Math.min(...lengths) < 25 && Math.max(...lengths) > 8192, 'short lines, and lines longer than a record');
});

t.test('the bytes are the same every time', async (t) => {
  const path = scratch.path('sample');
  const fd = openSync(path, 'w');
  writeSample(fd, BLOCKS);
  closeSync(fd);
  t.ok(readFileSync(path).equals(Buffer.concat([...copies(BLOCKS)])));
});

/** The blocks, each in memory of its own. */
function* copies(blocks: number): Generator<Buffer> {
  for (const block of sampleBlocks(blocks)) yield Buffer.from(block);
}
