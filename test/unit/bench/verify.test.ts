/** The verifier of the bench: a log counts only when it holds what was written, byte for byte. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { buildProgram } from '../../../bench/harness/native.ts';
import { type LogFormat, verifyLines, verifyLog } from '../../../bench/harness/verify.ts';

const run = promisify(execFile);
const verifier = await buildProgram('verify-log');
const dir = await mkdtemp(join(tmpdir(), 'bench-verify-'));
t.teardown(() => rm(dir, { recursive: true, force: true }));

/** A small generator of numbers below `limit`, so that a failing case can be repeated from its seed. */
function numbers(seed: number): (limit: number) => number {
  let state = seed >>> 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

async function payload(lineBytes: number, totalBytes: number): Promise<Buffer> {
  const { stdout } = await run(verifier, ['payload', String(lineBytes), String(totalBytes)], {
    encoding: 'buffer',
    maxBuffer: 1 << 26,
    timeout: 30_000,
  });
  return stdout;
}

interface LogRecord {
  tag: string;
  content: Buffer;
}

/** What a monitor would make of reads that end at `ends` (offsets, ascending): F at a newline, P at the end of a read. */
function records(bytes: Buffer, ends: readonly number[] = []): LogRecord[] {
  const made: LogRecord[] = [];
  let begin = 0;
  const cut = (end: number): void => {
    for (; end - begin > 8192; begin += 8192) made.push({ tag: 'P', content: bytes.subarray(begin, begin + 8192) });
    if (end > begin) made.push({ tag: 'P', content: bytes.subarray(begin, end) });
    begin = end;
  };
  for (const end of [...ends, bytes.length]) {
    for (let newline = bytes.indexOf(10, begin); newline >= 0 && newline < end; newline = bytes.indexOf(10, begin)) {
      for (; newline - begin > 8192; begin += 8192)
        made.push({ tag: 'P', content: bytes.subarray(begin, begin + 8192) });
      made.push({ tag: 'F', content: bytes.subarray(begin, newline) });
      begin = newline + 1;
    }
    cut(end);
  }
  return made;
}

function render(list: readonly LogRecord[]): Buffer {
  return Buffer.concat(
    list.flatMap(({ tag, content }) => [
      Buffer.from(`2026-11-23T18:00:00.123456789+01:00 stdout ${tag} `),
      content,
      Buffer.from('\n'),
    ]),
  );
}

async function verdict(log: Buffer, lineBytes: number, totalBytes: number, format: LogFormat = 'k8s'): Promise<string> {
  const path = join(dir, 'log');
  await writeFile(path, log);
  try {
    const { records: count, partial, logBytes } = await verifyLog(format, path, lineBytes, totalBytes);
    return `ok ${count} ${partial} ${logBytes === log.length}`;
  } catch (error) {
    return /"problem":"([^"]*)"/.exec(String(error))?.[1] ?? String(error);
  }
}

t.test('the payload is whole lines of the given length, each different from all others of a period', async (t) => {
  for (const lineBytes of [9, 20, 100, 1000, 10_000]) {
    const lines = Math.floor((1 << 20) / lineBytes);
    const bytes = await payload(lineBytes, lines * lineBytes);
    const texts = bytes.toString('latin1').split('\n');
    t.equal(texts.pop(), '', `${lineBytes}: ends with a newline`);
    t.equal(new Set(texts).size, lines, `${lineBytes}: ${lines} different lines`);
    t.ok(
      texts.every((text) => text.length === lineBytes - 1),
      `${lineBytes}: newline included`,
    );
  }
});

t.test('a log of what was written is accepted, however the lines were split', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`SEED=${seed}`);
  const below = numbers(seed);
  for (const lineBytes of [1, 2, 20, 100, 1000, 8192, 8193, 8194, 10_000, 20_000]) {
    const totalBytes = Math.max(1, Math.floor(200_000 / lineBytes)) * lineBytes;
    const bytes = await payload(lineBytes, totalBytes);
    const ends = Array.from({ length: 50 }, () => below(totalBytes)).sort((a, b) => a - b);
    for (const list of [records(bytes), records(bytes, ends)]) {
      const partial = list.filter(({ tag }) => tag === 'P').length;
      t.equal(
        await verdict(render(list), lineBytes, totalBytes),
        `ok ${list.length} ${partial} true`,
        `${lineBytes} B`,
      );
    }
  }
});

t.test('one flipped bit anywhere is found', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`SEED=${seed}`);
  const below = numbers(seed);
  const log = render(records(await payload(100, 20_000), [4050]));
  for (let round = 0; round < 40; round++) {
    const at = below(log.length);
    const spoilt = Buffer.from(log);
    const inRecord = at - (log.lastIndexOf(10, at - 1) + 1);
    // A digit of a timestamp may be any digit: there only a byte that is none is wrong.
    const inTimestamp = inRecord < 35 && log[at] !== 10;
    spoilt[at] = inTimestamp ? 0x7e : (log[at] ?? 0) ^ (1 << below(8));
    t.not((await verdict(spoilt, 100, 20_000)).slice(0, 2), 'ok', `offset ${at}`);
  }
});

t.test('a missing line is found: first, in the middle, last', async (t) => {
  const list = records(await payload(100, 20_000));
  t.equal(await verdict(render(list.slice(1)), 100, 20_000), 'content differs');
  t.equal(await verdict(render(list.toSpliced(77, 1)), 100, 20_000), 'content differs');
  t.equal(await verdict(render(list.slice(0, -1)), 100, 20_000), 'less than was written');
  t.equal(await verdict(Buffer.alloc(0), 100, 20_000), 'less than was written');
});

t.test('a doubled line is found: first, in the middle, last', async (t) => {
  const list = records(await payload(100, 20_000));
  for (const [at, problem] of [
    [0, 'content differs'],
    [77, 'content differs'],
    [list.length - 1, 'more than was written'],
  ] as const) {
    const double = list[at];
    t.ok(double);
    if (double === undefined) continue;
    const doubled = await verdict(render(list.toSpliced(at, 0, double)), 100, 20_000);
    t.ok(['content differs', problem].includes(doubled), `${at}: ${doubled}`);
  }
});

t.test('two lines that changed places are found', async (t) => {
  const list = records(await payload(20, 2000));
  const [first, second] = [list[10], list[11]];
  if (first === undefined || second === undefined) throw new Error('too few lines');
  t.equal(await verdict(render(list.toSpliced(10, 2, second, first)), 20, 2000), 'content differs');
});

t.test('a wrong tag is found: F for P, P for F, and any other', async (t) => {
  const split = records(await payload(100, 1000), [250]);
  const at = split.findIndex(({ tag }) => tag === 'P');
  t.equal(at, 2);
  const retag = (index: number, tag: string): Buffer =>
    render(split.map((record, position) => (position === index ? { ...record, tag } : record)));
  t.equal(await verdict(retag(at, 'F'), 100, 1000), 'content differs');
  t.equal(await verdict(retag(0, 'P'), 100, 1000), 'content differs', 'the newline of the first line is gone');
  t.equal(await verdict(retag(split.length - 1, 'P'), 100, 1000), 'less than was written');
  t.equal(await verdict(retag(at, 'X'), 100, 1000), 'tag is neither P nor F');
});

t.test('a record over 8192 bytes, an empty P and an added empty F are found', async (t) => {
  const bytes = await payload(10_000, 20_000);
  const first = bytes.subarray(0, 9999);
  const rest = records(bytes.subarray(10_000));
  t.equal(await verdict(render([{ tag: 'F', content: first }, ...rest]), 10_000, 20_000), 'F where the line goes on');
  const long = [
    { tag: 'P', content: first.subarray(0, 8193) },
    { tag: 'F', content: first.subarray(8193) },
  ];
  t.equal(await verdict(render([...long, ...rest]), 10_000, 20_000), 'record too long');
  const list = records(bytes);
  const nothing = Buffer.alloc(0);
  t.equal(
    await verdict(render(list.toSpliced(1, 0, { tag: 'P', content: nothing })), 10_000, 20_000),
    'empty P record',
  );
  t.not(await verdict(render([...list, { tag: 'F', content: nothing }]), 10_000, 20_000), /^ok/);
});

t.test('a log that ends inside a record is found, wherever it ends', async (t) => {
  const log = render(records(await payload(20, 200), [55]));
  const recordEnds = new Set([...log.keys()].filter((at) => log[at - 1] === 10));
  for (let length = 0; length < log.length; length += recordEnds.has(length + 1) ? 1 : 7) {
    t.not((await verdict(log.subarray(0, length), 20, 200)).slice(0, 2), 'ok', `${length} bytes`);
  }
});

t.test('another stream, another time format and a prefix of another driver are not accepted', async (t) => {
  const log = render(records(await payload(20, 200))).toString('latin1');
  const altered = (from: string | RegExp, to: string): Promise<string> =>
    verdict(Buffer.from(log.replace(from, to), 'latin1'), 20, 200);
  t.equal(await altered('stdout', 'stderr'), 'no valid record prefix');
  t.equal(await altered('+01:00', 'Z'), 'no valid record prefix');
  t.equal(await altered('T18', ' 18'), 'no valid record prefix');
  t.equal(await altered('+01:00', '-01:00'), 'ok 10 0 true', 'any time zone will do');
});

t.test('the floor is verified as well: a copy must be the payload itself', async (t) => {
  const bytes = await payload(100, 3_000_000);
  t.equal(await verdict(bytes, 100, 3_000_000, 'raw'), 'ok 0 0 true');
  const spoilt = Buffer.from(bytes);
  spoilt[2_500_000] = (spoilt[2_500_000] ?? 0) ^ 1;
  t.equal(await verdict(spoilt, 100, 3_000_000, 'raw'), 'content differs');
  t.equal(await verdict(bytes.subarray(0, -1), 100, 3_000_000, 'raw'), 'less than was written');
  t.equal(await verdict(Buffer.concat([bytes, bytes.subarray(0, 100)]), 100, 3_000_000, 'raw'), 'content differs');
});

t.test('a log that cannot be read is an error, not a verdict', async (t) => {
  await t.rejects(verifyLog('k8s', join(dir, 'absent'), 20, 200), /absent: No such file/);
});

t.test('a log of two streams counts when each of them is whole, and only then', async (t) => {
  const lines = (await payload(100, 500)).toString('latin1').match(/.*\n/g) ?? [];
  const record = (stream: string, line: string) => `2026-11-23T18:00:00.123456789+00:00 ${stream} F ${line}`;
  const path = join(dir, 'two');
  const write = (err: readonly string[]) =>
    writeFile(path, lines.map((line, i) => record('stdout', line) + (err[i] ? record('stderr', err[i]) : '')).join(''));
  await write(lines);
  t.match(await verifyLog('k8s', path, 100, 500, 'stdout'), { records: 5 });
  t.match(await verifyLog('k8s', path, 100, 500, 'stderr'), { records: 5 });
  await t.rejects(verifyLog('k8s', path, 100, 500), /no valid record prefix/, 'one stream was asked for');
  await write(lines.slice(0, 4));
  await verifyLog('k8s', path, 100, 500, 'stdout');
  await t.rejects(verifyLog('k8s', path, 100, 500, 'stderr'), /less than was written/);
});

t.test('of a log that was replaced, any whole end of the payload is accepted', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  t.comment(`SEED=${seed}`);
  const below = numbers(seed);
  for (const lineBytes of [20, 100, 10_000]) {
    const totalBytes = Math.floor(3_000_000 / lineBytes) * lineBytes;
    const list = records(await payload(lineBytes, totalBytes), [below(totalBytes)]);
    for (const from of [0, 1, below(list.length), list.length - 1])
      t.match(
        await verdict(render(list.slice(from)), lineBytes, totalBytes, 'k8s-tail'),
        /^ok /,
        `${lineBytes}, ${from}`,
      );
  }
});

t.test('of a log that was replaced, what is missing, doubled, spoilt or not the end is found', async (t) => {
  const list = records(await payload(100, 20_000));
  const tail = list.slice(50);
  const check = (log: Buffer) => verdict(log, 100, 20_000, 'k8s-tail');
  t.equal(await check(render(tail.slice(0, -1))), 'content differs', 'the last line is missing');
  t.equal(await check(render(tail.toSpliced(70, 1))), 'content differs', 'one in the middle is missing');
  t.equal(await check(render(tail.toSpliced(70, 0, ...tail.slice(70, 71)))), 'content differs', 'one is doubled');
  t.equal(await check(render(tail.toSpliced(70, 1, { tag: 'F', content: Buffer.alloc(99, 'x') }))), 'content differs');
  t.equal(await check(Buffer.alloc(0)), 'nothing');
  t.equal(await check(render([...list, ...list])), 'more than was written');
  const rendered = render(tail);
  t.not((await check(rendered.subarray(0, -1))).slice(0, 2), 'ok', 'cut short');
  t.equal(await check(Buffer.concat([Buffer.from('x'), rendered])), 'no valid record prefix');
});

t.test('a log of single lines is compared line by line', async (t) => {
  const path = join(dir, 'lines');
  const check = async (log: string) => {
    await writeFile(path, log);
    return verifyLines(path, 2, (line) => line === 'a line');
  };
  const record = (tag: string, content: string) => `2026-11-23T18:00:00.123456789+01:00 stdout ${tag} ${content}\n`;
  await check(record('F', 'a line').repeat(2));
  await check(record('P', 'a li') + record('F', 'ne') + record('F', 'a line'));
  for (const [log, problem] of [
    [record('F', 'a line'), /1 lines of 2/],
    [record('F', 'a line').repeat(3), /3 lines of 2/],
    [record('F', 'a line') + record('F', 'a lime'), /a lime/],
    [record('F', 'a line').repeat(2) + record('P', 'a'), /and a part/],
    [record('F', 'a line').repeat(2).slice(0, -1), /cut short/],
    [record('F', 'a line') + record('F', 'a line').replace('stdout', 'stderr'), /stderr/],
    ['', /cut short|0 lines/],
  ] as const)
    await t.rejects(check(log), problem);
});
