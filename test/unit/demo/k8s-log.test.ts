/** The reader of k8s-file logs. */

import t from 'tap';
import { K8sLogReader, LogFormatError, timestampSeconds } from '../../../src/demo/k8s-log.ts';

const STAMP = '2026-11-23T18:00:00.123456789+01:00';
const line = (stream: string, tag: string, content: string) => `${STAMP} ${stream} ${tag} ${content}\n`;

/** What the reader makes of these chunks, as plain values. */
function read(chunks: readonly Buffer[]) {
  const reader = new K8sLogReader();
  const records = chunks.flatMap((chunk) =>
    [...reader.push(chunk)].map(({ offset, isStdout, isFull, content }) => ({
      offset,
      isStdout,
      isFull,
      content: content.toString('latin1'),
    })),
  );
  reader.end();
  return records;
}

t.test('stream, tag and content of each record are told apart, whatever the bytes', async (t) => {
  const contents = ['plain', '', ' leading and trailing ', '\0\xff\xfe', 'P F stdout'];
  const lines = contents.map((content, index) => line(index % 2 ? 'stderr' : 'stdout', index % 3 ? 'F' : 'P', content));
  let offset = 0;
  t.same(
    read([Buffer.from(lines.join(''), 'latin1')]),
    contents.map((content, index) => {
      const record = { offset, isStdout: index % 2 === 0, isFull: index % 3 !== 0, content };
      offset += lines[index]?.length ?? 0;
      return record;
    }),
  );
});

t.test('records are the same wherever the reads cut them', async (t) => {
  const log = Buffer.from(line('stdout', 'F', 'one') + line('stderr', 'P', 'two') + line('stdout', 'F', ''));
  const whole = read([log]);
  for (let cut = 0; cut <= log.length; cut++) {
    t.same(read([log.subarray(0, cut), log.subarray(cut)]), whole, `cut at ${cut}`);
  }
  t.same(read([...log].map((byte) => Buffer.of(byte))), whole, 'byte by byte');
});

t.test('a line that is no record is refused with its offset', async (t) => {
  const good = line('stdout', 'F', 'x');
  for (const bad of [
    '\n',
    'garbage\n',
    `${STAMP} stdout F\n`,
    `${STAMP} stdout X content\n`,
    `${STAMP} stdlog F content\n`,
    `${STAMP}  stdout F content\n`,
    `${STAMP} stdout Fcontent\n`,
    `2026-11-23T18:00:00.123+01:00 stdout F content\n`,
    `2026-11-23 18:00:00.123456789+01:00 stdout F content\n`,
  ]) {
    try {
      read([Buffer.from(good + bad)]);
      t.fail(`accepted ${JSON.stringify(bad)}`);
    } catch (error) {
      t.ok(error instanceof LogFormatError && error.offset === good.length, JSON.stringify(bad));
    }
  }
});

t.test('a log that ends inside a record is refused', async (t) => {
  t.throws(() => read([Buffer.from(line('stdout', 'F', 'x').slice(0, -1))]), LogFormatError);
});

t.test('timestamps count from 1970, in whatever zone', async (t) => {
  const seconds = Date.UTC(2026, 10, 23, 17, 0, 0) / 1000;
  t.equal(timestampSeconds(Buffer.from(STAMP)).toFixed(6), (seconds + 0.123456789).toFixed(6));
  t.equal(timestampSeconds(Buffer.from('2026-11-23T17:00:00.000000000Z')), seconds);
});
