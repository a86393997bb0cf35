/** The journald driver: which lines become which messages. */
import t from 'tap';
import { LINE_MAX_BYTES } from '../../../src/log/journald.ts';
import { EMSGSIZE } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { field } from '../../helpers/journal-entry.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { CID, JournaldRig } from './journald-rig.ts';

t.test('a line is a message, its newline included, with the priority of its stream', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('one\n\ntwo\n');
  rig.print('bad\n', STDERR);
  t.same(rig.lines, ['6|one\n', '6|\n', '6|two\n', '3|bad\n']);
});

t.test('every message says which container it is of', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('x\n');
  const [entry] = rig.journal.entries;
  const fields = Object.fromEntries([...(entry ?? [])].map(([name, [value]]) => [name, value?.toString()]));
  t.same(fields, {
    CONTAINER_ID_FULL: CID,
    CONTAINER_ID: CID.slice(0, 12),
    CONTAINER_NAME: 'web',
    SYSLOG_IDENTIFIER: 'web',
    PRIORITY: '6',
    MESSAGE: 'x\n',
  });
});

t.test('the tag is the identifier, else the name, else the short id; labels are fields', async (t) => {
  const identifier = (target: object): [string | undefined, string | undefined, string | undefined] => {
    const rig = new JournaldRig(t, { target });
    rig.print('x\n');
    const [entry = new Map()] = rig.journal.entries;
    return [field(entry, 'SYSLOG_IDENTIFIER'), field(entry, 'CONTAINER_NAME'), field(entry, 'CONTAINER_TAG')];
  };
  t.same(identifier({ tag: 'tag' }), ['tag', 'web', 'tag']);
  t.same(identifier({ tag: '' }), ['', 'web', '']);
  t.same(identifier({ tag: 'two\nlines' }), ['two\nlines', 'web', 'two\nlines']);
  t.same(identifier({ name: undefined }), [CID.slice(0, 12), undefined, undefined]);
  const rig = new JournaldRig(t, { target: { labels: ['A=1', 'B=', 'A=2', 'C=x\ny'] } });
  rig.print('x\n');
  const [entry] = rig.journal.entries;
  t.same(entry?.get('A')?.map(String), ['1', '2']);
  t.same(entry?.get('B')?.map(String), ['']);
  t.same(entry?.get('C')?.map(String), ['x\ny']);
});

t.test('NUL, invalid UTF-8 and what looks like the protocol pass as they are', async (t) => {
  const rig = new JournaldRig(t);
  const line = 'a\0b\xff\xfeMESSAGE=x\x01\r\n';
  rig.print(line);
  t.same(rig.lines, [`6|${line}`]);
});

t.test('a priority at the beginning of a line overrides and is taken off', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('<0>zero\n<7>seven\n<3>\n<8>eight\n<a>\n< 3>\n <3>\n<3\n<>\n<3x\n<\nx3>\n</>\n');
  rig.print('<6>info\n', STDERR);
  t.same(rig.lines, [
    '0|zero\n',
    '7|seven\n',
    '3|\n',
    ...['<8>eight\n', '<a>\n', '< 3>\n', ' <3>\n', '<3\n', '<>\n', '<3x\n', '<\n', 'x3>\n', '</>\n'].map(
      (line) => `6|${line}`,
    ),
    '6|info\n',
  ]);
});

t.test('a line is put together from several reads, its priority too', async (t) => {
  const line = '<4>warning\n';
  for (let cut = 0; cut <= line.length; cut++) {
    const rig = new JournaldRig(t);
    rig.print(line.slice(0, cut));
    t.equal(rig.driver.holdsPartial(STDOUT, false), false, 'it is not cut for want of more');
    rig.print(line.slice(cut));
    t.same(rig.lines, ['4|warning\n'], `cut at ${cut}`);
  }
  const rig = new JournaldRig(t);
  for (const char of '<1>a\nb\n') rig.print(char);
  t.same(rig.lines, ['1|a\n', '6|b\n']);
});

t.test('each stream puts its own line together', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('out');
  rig.print('err', STDERR);
  rig.print('put\n');
  rig.print('or\n', STDERR);
  t.same(rig.lines, ['6|output\n', '3|error\n']);
});

t.test('what a stream ends with is a part', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('whole\n<2>rest');
  rig.print('more', STDERR);
  t.same(rig.lines, ['6|whole\n']);
  rig.end();
  t.same(rig.lines, ['6|whole\n', '2|rest+', '3|more+']);
  rig.end();
  t.equal(rig.lines.length, 3, 'once');
});

t.test('a priority is a part’s own also when nothing is behind it, and never what lies behind a part', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('<3>');
  rig.print('<3', STDERR);
  new Uint8Array(rig.memory.buffer)[0] = '>'.charCodeAt(0);
  rig.end();
  t.same(rig.lines, ['3|+', '3|<3+']);
});

t.test('--no-container-partial-message leaves the mark out', async (t) => {
  const rig = new JournaldRig(t, { target: { tellPartial: false } });
  rig.print('rest');
  rig.end();
  t.same(rig.lines, ['6|rest']);
});

t.test('a line of 48 KiB is whole, a longer one is split, all parts with its priority', async (t) => {
  for (const cut of [0, 1, 100, LINE_MAX_BYTES - 1, LINE_MAX_BYTES, LINE_MAX_BYTES + 1])
    for (const [stream, usual] of [
      [STDOUT, 6],
      [STDERR, 3],
    ] as const) {
      const print = (line: string): string[] => {
        const rig = new JournaldRig(t);
        rig.print(line.slice(0, cut), stream);
        rig.print(line.slice(cut), stream);
        rig.end();
        return rig.lines;
      };
      const full = `<5>${'x'.repeat(LINE_MAX_BYTES - 3)}`;
      t.same(print(`${full}\n`), [`5|${full.slice(3)}\n`], `cut at ${cut}`);
      t.same(print(`${full}<1>y\nz\n`), [`5|${full.slice(3)}+`, '5|<1>y\n', `${usual}|z\n`], `cut at ${cut}`);
      t.same(print(full), [`5|${full.slice(3)}+`], `cut at ${cut}`);
    }
});

t.test('a line of many parts', async (t) => {
  const rig = new JournaldRig(t);
  const line = Buffer.alloc(10 * LINE_MAX_BYTES + 5, 'abcdefg');
  for (let at = 0; at < line.length; at += 200_000) rig.print(line.subarray(at, at + 200_000));
  rig.print('\n');
  const entries = rig.journal.entries;
  t.equal(entries.length, 11);
  t.same(
    entries.map((entry) => field(entry, 'MESSAGE')?.length),
    [...new Array(10).fill(LINE_MAX_BYTES), 6],
  );
  t.equal(entries.map((entry) => field(entry, 'MESSAGE')).join(''), `${line}\n`);
});

t.test('a message that no datagram holds goes as a sealed file', async (t) => {
  const rig = new JournaldRig(t, { calls: { sendmmsg: () => EMSGSIZE } });
  rig.print('one\n<3>two\nrest');
  rig.end();
  t.same(rig.lines, ['6|one\n', '3|two\n', '6|rest+']);
  t.equal(rig.journal.files, 3);
});

t.test('labels of the longest kind are sent with every line', async (t) => {
  const value = 'v'.repeat(16_000);
  const rig = new JournaldRig(t, { target: { labels: [`LABEL=${value}`] } });
  const line = `${'x'.repeat(LINE_MAX_BYTES)}\n`;
  rig.print(line);
  const [entry = new Map()] = rig.journal.entries;
  t.equal(field(entry, 'LABEL'), value);
  t.equal(field(entry, 'MESSAGE'), line);
});

t.test('many lines go with one system call', async (t) => {
  let calls = 0;
  const rig = new JournaldRig(t, {
    calls: {
      sendmmsg: (...args) => {
        calls++;
        return args[4] > 0 ? args[4] : sys.sendmmsg(...args);
      },
    },
  });
  rig.offer('line\n'.repeat(1280));
  t.equal(calls, 10);
  t.match(rig.counters, { records: 1280, writes: 10 });
});

/** What the contract makes of a stream's lines, the slow way. */
function expected(text: string, stream: Stream): string[] {
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  return lines.flatMap((line) => {
    const [, digit, rest = ''] = /^<([0-7])>([\s\S]*)$/.exec(line) ?? [undefined, undefined, line];
    const priority = digit ?? (stream === STDOUT ? '6' : '3');
    const parts: string[] = [];
    const limit = (at: number): number => (at === 0 && digit !== undefined ? LINE_MAX_BYTES - 3 : LINE_MAX_BYTES);
    let at = 0;
    const contentEnd = rest.endsWith('\n') ? rest.length - 1 : rest.length;
    while (contentEnd - at > limit(at)) {
      const next = at + limit(at);
      parts.push(`${priority}|${rest.slice(at, next)}+`);
      at = next;
    }
    parts.push(`${priority}|${rest.slice(at)}${rest.endsWith('\n') ? '' : '+'}`);
    return parts;
  });
}

t.test(`random streams, cut anywhere, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 25; round++) {
    const rig = new JournaldRig(t);
    const longest = random.pick([3, 30, 300, 120_000]);
    const stream: Stream = random.pick([STDOUT, STDERR] as const);
    let text = '';
    for (let lines = random.below(400) + 1; lines > 0 && text.length < 400_000; lines--) {
      const start = random.pick(['', '', '<3>', '<', '<9>', '<3']);
      const char = String.fromCharCode(random.pick([0x61, 0, 0xff, 0x3c]));
      text += `${start}${char.repeat(random.below(longest))}\n`;
    }
    if (random.below(2) === 0) text += 'rest';
    const step = random.pick(text.length < 5000 ? [1, 7, 1000] : [5000, 65_536, 200_000]);
    for (let at = 0; at < text.length; ) {
      const size = 1 + random.below(step);
      rig.print(text.slice(at, at + size), stream, random.below(64));
      at += size;
    }
    rig.end();
    const [got, wanted] = [rig.lines, expected(text, stream)];
    const wrong = got.findIndex((line, i) => line !== wanted[i]);
    if (got.length !== wanted.length || wrong !== -1)
      t.fail(`round ${round}: message ${wrong} of ${got.length}, ${wanted.length} wanted`);
  }
  t.pass();
});
