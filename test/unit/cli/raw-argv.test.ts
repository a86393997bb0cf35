/** Arguments that were not valid UTF-8 are told from those that hold a real replacement character. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { readRawArgv, splitArguments, textTest } from '../../../src/cli/raw-argv.ts';

const bytes = (...parts: (string | number[])[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))));

t.test('a cmdline file is cut at each NUL, empty arguments kept', async (t) => {
  const texts = (cmdline: string) => splitArguments(Buffer.from(cmdline)).map(String);
  t.same(texts('node\0main.cjs\0\0-c\0x\0'), ['node', 'main.cjs', '', '-c', 'x']);
  t.same(texts('node\0cut'), ['node', 'cut'], 'a last argument without its NUL');
  t.same(texts(''), []);
  t.same(texts('\0'), ['']);
});

t.test('the bytes are looked up only for an argument with a replacement character', async (t) => {
  let lookUps = 0;
  const raw = () => {
    lookUps++;
    return [bytes('node'), bytes('plain'), bytes('é'), bytes('a', [0xff]), bytes('\ufffd')];
  };
  const isText = textTest(['plain', 'é', 'a\ufffd', '\ufffd'], raw);
  t.same([isText(0), isText(1), lookUps], [true, true, 0]);
  t.same([isText(2), isText(3), lookUps], [false, true, 1], 'once for all of them');
});

t.test('GLib and Node agree on what is UTF-8', async (t) => {
  const bad = [[0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80], [0xff]];
  for (const sequence of bad) {
    const raw = bytes('x', sequence, 'y');
    t.notOk(textTest([raw.toString()], () => [raw])(0), sequence.join(' '));
  }
  for (const text of ['\ufffd', '\uffff\ufffd', '\u{10ffff}\ufffd']) {
    t.ok(textTest([text], () => [Buffer.from(text)])(0), JSON.stringify(text));
  }
});

t.test('bytes that do not line up with the arguments are not believed', async (t) => {
  t.ok(textTest(['a\ufffd'], undefined)(0));
  t.ok(textTest(['a\ufffd'], () => [])(0));
  t.ok(textTest(['a\ufffd'], () => [bytes('other', [0xff])])(0));
  t.ok(textTest(['a'], () => [])(7));
});

t.test('the arguments of a real process are found with their bytes', async (t) => {
  const module = fileURLToPath(new URL('../../../src/cli/raw-argv.ts', import.meta.url));
  const script = `
    import { readRawArgv, textTest } from ${JSON.stringify(module)};
    const argv = process.argv.slice(1);
    console.log(JSON.stringify(argv.map((_, index) => textTest(argv, readRawArgv)(index))));`;
  // Node cannot pass bytes that are not UTF-8 to a child; printf(1) can.
  const shell =
    'exec "$1" --input-type=module -e "$2" -- --cid "$(printf "a\\377")" "$(printf "\\357\\277\\275")" x ""';
  const out = execFileSync('/bin/sh', ['-c', shell, 'sh', process.execPath, script], { timeout: 20_000 });
  t.same(JSON.parse(String(out)), [true, false, true, true, true]);
});

t.test('this process has arguments', async (t) => {
  t.ok(readRawArgv().length > 0);
});
