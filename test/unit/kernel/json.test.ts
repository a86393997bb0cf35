/** Single promises of the json formatter, by name. */
import t from 'tap';
import { JSON_CONTENT_MAX_BYTES } from '../../../src/kernel/layout.ts';
import { JsonRig, tailOf } from './rig.ts';

const rig = new JsonRig();
const [A, B] = [tailOf(1), tailOf(2)];
const start = () => rig.place({ outputBytes: 1 << 18 });
const format = (input: string | Buffer): string => {
  start().feed(Buffer.from(input), A);
  rig.finish();
  return rig.output.toString('latin1');
};
/** What one line's record says. */
const log = (content: string, tail = A): string => `{"log":"${content}${tail}`;

t.test('a line keeps its newline in the log, a part has none', async (t) => {
  start().feed(Buffer.from('one\ntwo\nthr'), A);
  t.equal(rig.output.toString(), log('one\\n') + log('two\\n'), 'the part is held');
  t.equal(rig.open, true);
  t.equal(rig.settle(), 1);
  t.equal(rig.settle(), 0);
  rig.feed(Buffer.from('ee\n'), B);
  t.equal(rig.output.toString(), log('one\\n') + log('two\\n') + log('thr') + log('ee\\n', B));
});

t.test('a record carries the time at which it ended', async (t) => {
  start().feed(Buffer.from('be'), A);
  rig.feed(Buffer.from('gun\n'), B);
  t.equal(rig.output.toString(), log('begun\\n', B));
});

t.test('bytes that JSON or HTML give a meaning to are escaped as Docker does', async (t) => {
  t.equal(format('a"b\\c\n'), log('a\\"b\\\\c\\n'));
  t.equal(format('<a href="x">&\n'), log('\\u003ca href=\\"x\\"\\u003e\\u0026\\n'));
  t.equal(format('\r\n'), log('\\r\\n'));
  t.equal(
    format('\t\b\f\0\x1b\x7f\n'),
    log('\\u0009\\u0008\\u000c\\u0000\\u001b\x7f\\n'),
    'no \\t, \\b or \\f; DEL passes',
  );
  t.equal(format("!#%';=?[]\n"), log("!#%';=?[]\\n"), 'their neighbours pass');
});

t.test('valid UTF-8 passes, but for the two line separators', async (t) => {
  for (const text of [
    'é',
    'ß€',
    '日本語',
    '😀',
    '\ufeff',
    '\u07ff\u0800\uffff',
    '\u{10000}\u{10ffff}',
    '\ud7ff\ue000',
  ]) {
    t.equal(format(`${text}\n`), Buffer.from(log(`${text}\\n`)).toString('latin1'));
    t.equal(format(text), Buffer.from(log(text)).toString('latin1'), 'at the end of the input');
  }
  t.equal(
    format('a\u2028b\u2029c\u2027\u202a\n'),
    Buffer.from(log('a\\u2028b\\u2029c\u2027\u202a\\n')).toString('latin1'),
  );
});

t.test('each invalid byte is one U+FFFD, as Go counts them', async (t) => {
  const bad = (n: number) => '\\ufffd'.repeat(n);
  for (const [bytes, count] of [
    [[0x80], 1],
    [[0xff, 0xfe], 2],
    [[0xc0, 0xaf], 2],
    [[0xc1, 0xbf], 2],
    [[0xe0, 0x9f, 0xbf], 3],
    [[0xed, 0xa0, 0x80], 3],
    [[0xf0, 0x8f, 0xbf, 0xbf], 4],
    [[0xf4, 0x90, 0x80, 0x80], 4],
    [[0xf5, 0x80, 0x80, 0x80], 4],
    [[0xe2, 0x82], 2],
    [[0xf0, 0x9f, 0x98], 3],
    [[0xc3], 1],
  ] as const) {
    t.equal(
      format(Buffer.from([...bytes, 0x61, 0x62, 0x63, 0x64, 0x0a])),
      log(`${bad(count)}abcd\\n`),
      `${bytes}, then text`,
    );
    t.equal(format(Buffer.from([...bytes, 0x0a])), log(`${bad(count)}\\n`), `${bytes}, then a newline`);
    t.equal(format(Buffer.from(bytes)), log(bad(count)), `${bytes}, then nothing`);
  }
});

t.test('a character that a read cuts is whole in the log', async (t) => {
  const text = Buffer.from('x😀é日y\n');
  for (let cut = 0; cut <= text.length; cut++) {
    start().feed(text.subarray(0, cut), A);
    rig.feed(text.subarray(cut), A);
    t.equal(rig.output.toString(), log('x😀é日y\\n'), `cut at ${cut}`);
  }
});

t.test('a partial record leaves the beginning of a character to the next one', async (t) => {
  const text = Buffer.from('ab€cd\n');
  for (const cut of [3, 4]) {
    start().feed(text.subarray(0, cut), A);
    t.equal(rig.settle(), 1);
    t.equal(rig.open, false, 'half of a character is no part to be settled');
    t.equal(rig.settle(), 0);
    rig.feed(text.subarray(cut), B);
    t.equal(rig.output.toString(), log('ab') + log('€cd\\n', B));
  }
});

t.test('the end of a stream turns the beginning of a character into U+FFFD', async (t) => {
  start().feed(Buffer.from([0x61, 0xe2, 0x82]), A);
  rig.settle();
  t.equal(rig.pending, 2);
  t.equal(rig.finish(), 1);
  t.equal(rig.output.toString(), log('a') + log('\\ufffd\\ufffd'));
  t.equal(rig.finish(), 0);
});

t.test('a line of the longest content is one record, one byte more is two', async (t) => {
  const full = 'x'.repeat(JSON_CONTENT_MAX_BYTES);
  t.equal(format(`${full}\n`), log(`${full}\\n`));
  t.equal(format(`${full}y\n`), log(full) + log('y\\n'));
  t.equal(format(full), log(full));
});

t.test('a character at the longest content is not cut in two', async (t) => {
  for (const char of ['é', '€', '😀', '\u2028'])
    for (let before = 1; before < Buffer.byteLength(char); before++) {
      const full = 'x'.repeat(JSON_CONTENT_MAX_BYTES - before);
      const text = char === '\u2028' ? '\\u2028' : Buffer.from(char).toString('latin1');
      t.equal(format(`${full}${char}z\n`), log(full) + log(`${text}z\\n`));
      const input = Buffer.from(`${full}${char}z\n`);
      start().feed(input.subarray(0, full.length + 1), A);
      rig.feed(input.subarray(full.length + 1), A);
      t.equal(rig.output.toString('latin1'), log(full) + log(`${text}z\\n`), 'nor when a read cuts it');
    }
});

t.test('nothing in, nothing out', async (t) => {
  start().feed(Buffer.alloc(0), A);
  t.equal(rig.finish(), 0);
  t.equal(rig.output.length, 0);
});

t.test('an area that is too small takes nothing and is left alone', async (t) => {
  rig.place({ outputBytes: A.length });
  t.throws(() => rig.feed(Buffer.from('x\n'), A), /no progress/);
});
