/** The verification of a log: one wrong byte is found, wherever it is. */

import { writeFileSync } from 'node:fs';
import t from 'tap';
import { sampleBlocks } from '../../../src/demo/sample.ts';
import { verifyLog } from '../../../src/demo/verify-log.ts';
import { Scratch } from './support.ts';

const scratch = new Scratch(t);
const STAMP = '2026-11-23T18:00:00.123456789+01:00';
const MAX_CONTENT_BYTES = 8192;

interface Line {
  stamp?: string;
  stream?: string;
  tag: 'F' | 'P';
  content: Buffer;
}

/** The records of a right log of these bytes. */
function recordsOf(payload: Buffer): Line[] {
  const records: Line[] = [];
  for (let at = 0; at < payload.length; ) {
    const newline = payload.indexOf(10, at);
    const lineEnd = newline === -1 ? payload.length : newline;
    const end = Math.min(lineEnd, at + MAX_CONTENT_BYTES);
    const isFull = newline !== -1 && end === lineEnd;
    records.push({ tag: isFull ? 'F' : 'P', content: payload.subarray(at, end) });
    at = end + (isFull ? 1 : 0);
  }
  return records;
}

function write(records: readonly Line[]): string {
  const path = scratch.fresh('log');
  const parts = records.flatMap(({ stamp = STAMP, stream = 'stdout', tag, content }) => [
    Buffer.from(`${stamp} ${stream} ${tag} `),
    content,
    Buffer.from('\n'),
  ]);
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

const sample = Buffer.concat([...copies(2)]);
const text = (value: string) => Buffer.from(value);

t.test('a right log is right, and its totals are told', async (t) => {
  const records = recordsOf(sample);
  records[0] = { ...(records[0] as Line), stamp: '2026-11-23T17:59:58.123456789+01:00' };
  const result = await verifyLog(write(records), sampleBlocks(2));
  t.match(result, { difference: undefined, payloadBytes: sample.length, lines: 2000, records: records.length });
  t.equal(result.seconds.toFixed(3), '2.000');
});

t.test('the blocks may be cut anywhere', async (t) => {
  const blocks = ['ab', '', 'c\nd', 'ef\n', 'g'].map(text);
  t.equal((await verifyLog(write(recordsOf(Buffer.concat(blocks))), blocks)).difference, undefined);
});

t.test('one flipped bit is found with its place', async (t) => {
  for (const offset of [0, 11, 1000, sample.length - 2]) {
    const wrong = Buffer.from(sample);
    wrong[offset] = (wrong[offset] ?? 0) ^ 4;
    const { difference, payloadBytes } = await verifyLog(write(recordsOf(wrong)), sampleBlocks(2));
    t.equal(payloadBytes, offset);
    const line = sample.subarray(0, offset).toString('latin1').split('\n').length;
    t.match(difference, new RegExp(`^payload offset ${offset} \\(line ${line}, record at log offset \\d+\\)`));
  }
});

t.test('a missing, doubled or swapped line is found', async (t) => {
  const good = recordsOf(sample);
  const changed = (change: (records: Line[]) => void) => {
    const records = [...good];
    change(records);
    return verifyLog(write(records), sampleBlocks(2));
  };
  t.match((await changed((r) => r.splice(500, 1))).difference, /expected/, 'missing in the middle');
  t.match((await changed((r) => r.splice(0, 1))).difference, /^payload offset 11 \(line 1/, 'missing at the start');
  t.match((await changed((r) => r.pop())).difference, /ends early.*line 2000/, 'missing at the end');
  t.match((await changed((r) => r.push(r.at(-1) as Line))).difference, /expected the end/, 'doubled at the end');
  t.match((await changed((r) => r.splice(7, 0, r[7] as Line))).difference, /expected/, 'doubled');
  t.match((await changed((r) => r.splice(7, 2, r[8] as Line, r[7] as Line))).difference, /expected/, 'swapped');
});

t.test('a wrong tag, stream or record length is found', async (t) => {
  const differenceOf = async (records: Line[], expected: string) =>
    (await verifyLog(write(records), [text(expected)])).difference;
  t.match(await differenceOf([{ tag: 'P', content: text('a') }], 'a\n'), /ends early/, 'P for F at the end');
  t.match(
    await differenceOf(
      [
        { tag: 'P', content: text('a') },
        { tag: 'F', content: text('b') },
      ],
      'a\nb\n',
    ),
    /expected "\\n/,
  );
  t.match(await differenceOf([{ tag: 'F', content: text('a') }], 'a'), /expected the end/, 'F for P');
  t.match(await differenceOf([{ tag: 'F', stream: 'stderr', content: text('a') }], 'a\n'), /a record of stderr/);
  t.match(await differenceOf([{ tag: 'F', content: text('a'.repeat(8193)) }], `${'a'.repeat(8193)}\n`), /8193 bytes/);
});

t.test('a log that is empty, garbage or cut off is told', async (t) => {
  t.match((await verifyLog(write([]), [text('a\n')])).difference, /ends early: payload offset 0 \(line 1\)/);
  t.equal((await verifyLog(write([]), [])).difference, undefined);
  const garbage = scratch.fresh('log');
  writeFileSync(garbage, 'garbage\n');
  t.match((await verifyLog(garbage, [text('a\n')])).difference, /log offset 0: not a k8s-file record/);
  const cut = scratch.fresh('log');
  writeFileSync(cut, `${STAMP} stdout F a`);
  t.match((await verifyLog(cut, [text('a\n')])).difference, /log offset 0/);
  await t.rejects(verifyLog('/nonexistent', []), { code: 'ENOENT' });
});

/** The sample's blocks, each in memory of its own. */
function* copies(blocks: number): Generator<Buffer> {
  for (const block of sampleBlocks(blocks)) yield Buffer.from(block);
}
