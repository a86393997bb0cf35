/** GLib's option dialect, case by case. reference.test.ts holds the same parser against C conmon. */
import t from 'tap';
import { parseArguments } from '../../../src/cli/goption.ts';
import { OPTION_TABLE } from '../../../src/cli/table.ts';
import { given } from './fixtures/command-line.ts';

function failure(...argv: string[]): string {
  const outcome = parseArguments(argv, () => true);
  return outcome.kind === 'failed' ? outcome.message : `no failure: ${outcome.kind}`;
}

t.test('a value follows its option, or an equals sign after the long name', async (t) => {
  t.equal(given('--cid', 'x').strings.cid, 'x');
  t.equal(given('--cid=x').strings.cid, 'x');
  t.equal(given('-c', 'x').strings.cid, 'x');
  t.equal(given('--cid=a=b').strings.cid, 'a=b');
  t.equal(given('--cid==').strings.cid, '=');
});

t.test('every option takes a value as its kind says', async (t) => {
  for (const option of OPTION_TABLE) {
    const [name, letter] = [`--${option.name}`, 'short' in option ? [`-${option.short}`] : []];
    for (const written of [name, ...letter]) {
      if (option.kind === 'flag') {
        t.ok(given(written).flags.has(option.name), written);
        continue;
      }
      t.equal(failure(written), `Missing argument for ${written}`);
      const found = given(written, '7');
      if (option.kind === 'string') t.equal(found.strings[option.name], '7', written);
      else if (option.kind === 'list') t.same(found.lists[option.name], ['7'], written);
      else t.equal(found.ints[option.name], 7, written);
    }
  }
});

t.test('what was not given has no entry', async (t) => {
  t.same(given(), { flags: new Set(), strings: {}, ints: {}, lists: {} });
});

t.test('whatever follows an option that takes a value is its value', async (t) => {
  for (const value of ['-x', '--', '-', '', '--cid', '--help', '-h', '--version', '--bogus']) {
    t.equal(given('--name', value).strings.name, value);
    t.equal(given('-n', value).strings.name, value);
    t.same(given('--runtime-arg', value, '--exit-command-arg', value).lists, {
      'runtime-arg': [value],
      'exit-command-arg': [value],
    });
  }
});

t.test('an empty value is a value', async (t) => {
  t.equal(given('--cid=').strings.cid, '');
  t.equal(given('--cid', '').strings.cid, '');
  t.same(given('--exit-command-arg', '', '--exit-command-arg=').lists['exit-command-arg'], ['', '']);
});

t.test('a repeated scalar keeps its last value, a repeated list all of them in order', async (t) => {
  const { strings, ints, lists } = given(...'-c a --cid b --cid=c -T 1 --timeout 2 -l x --log-path y -l z'.split(' '));
  t.equal(strings.cid, 'c');
  t.equal(ints.timeout, 2);
  t.same(lists['log-path'], ['x', 'y', 'z']);
});

t.test('an old name is the same option under the name that was typed', async (t) => {
  t.equal(given('-p', 'a', '--pidfile', 'b').strings['container-pidfile'], 'b');
  t.same(given('--runtime-opt', 'a', '--restore-arg', 'b').lists['runtime-opt'], ['a', 'b']);
  t.equal(failure('--pidfile'), 'Missing argument for --pidfile');
});

t.test('letters share a dash, and one of them may take the next argument wherever it stands', async (t) => {
  t.same([...given('-it').flags], ['stdin', 'terminal']);
  for (const cluster of ['-itc', '-ict', '-cit']) {
    const { flags, strings } = given(cluster, 'VALUE', 'stray');
    t.same([flags.size, strings.cid], [2, 'VALUE'], cluster);
  }
  t.same([...given('-ii').flags], ['stdin']);
  t.equal(given('-0', '/persist').strings['persist-dir'], '/persist');
});

t.test('a cluster has room for one value', async (t) => {
  t.equal(failure('-cu', 'A', 'B'), 'Error parsing option -u');
  t.equal(failure('-cc', 'A'), 'Error parsing option -c');
  t.equal(failure('-cu'), 'Missing argument for -c');
});

t.test('a value cannot be glued to a letter', async (t) => {
  t.equal(failure('-cVALUE', 'x'), 'Unknown option -cVALUE');
  t.equal(failure('-c=VALUE', 'x'), 'Unknown option -c=VALUE');
  t.equal(failure('-cVALUE'), 'Missing argument for -c', 'the letter before comes first');
  t.equal(failure('-t5'), 'Unknown option -t5');
});

t.test('a flag with a value is the flag, whatever the value', async (t) => {
  for (const value of ['', '0', 'false', 'no', '1']) t.ok(given(`--exec=${value}`).flags.has('exec'));
});

t.test('positionals are ignored', async (t) => {
  t.same(given('--api-version', '1', 'x', '', '-', 'y', '-i'), given('--api-version', '-i'));
});

t.test('two dashes end the options', async (t) => {
  t.same([...given('-i', '--', '-t', '--bogus', '--help').flags], ['stdin']);
});

t.test('unknown options are named as typed', async (t) => {
  const unknown = [
    '--bogus',
    '--bogus=1',
    '--ci',
    '--CID',
    '--cid-x',
    '--cidx=1',
    '---',
    '--=x',
    '-z',
    '-iz',
    '-zi',
    '-=',
  ];
  for (const argument of [...unknown, '--help=x', '--help-conmon', '--help-', '--no-sync', '-i-', '-é', '--é', '-💥']) {
    t.equal(failure(argument), `Unknown option ${argument}`);
  }
});

t.test('numbers that are none are named with the option as typed', async (t) => {
  t.equal(failure('--timeout', 'abc'), 'Cannot parse integer value “abc” for --timeout');
  t.equal(failure('-T', ''), 'Cannot parse integer value “” for -T');
  t.equal(failure('-tT', '5 '), 'Cannot parse integer value “5 ” for -T');
  t.equal(failure('--exit-delay=9999999999'), 'Integer value “9999999999” for --exit-delay out of range');
  const excess = '9223372036854775808';
  t.equal(failure('--log-size-max', excess), `Integer value “${excess}” for --log-size-max out of range`);
});

t.test('seconds and counts have 32 bits, bytes have 64, to the last one', async (t) => {
  const tooMuch = (option: string, value: string) =>
    t.equal(failure(option, value), `Integer value “${value}” for ${option} out of range`);
  for (const [option, least, most] of [
    ['timeout', -(2 ** 31), 2 ** 31 - 1],
    ['log-max-files', -(2 ** 31), 2 ** 31 - 1],
  ] as const) {
    t.equal(given(`--${option}`, String(most)).ints[option], most);
    t.equal(given(`--${option}`, String(least)).ints[option], least);
    tooMuch(`--${option}`, String(most + 1));
    tooMuch(`--${option}`, String(least - 1));
  }
  const [most, least] = ['9223372036854775807', '-9223372036854775808'];
  t.equal(given('--log-size-max', most).ints['log-size-max'], Number(most));
  t.equal(given('--log-size-max', least).ints['log-size-max'], Number(least));
  tooMuch('--log-size-max', '-9223372036854775809');
});

t.test('help ends the parsing where it stands, but not before an error', async (t) => {
  const helped = [
    ['--help'],
    ['--help-all'],
    ['-h'],
    ['-?'],
    ['-ih'],
    ['-i?z'],
    ['-hz'],
    ['-ch', 'x'],
    ['--help', '--bogus'],
  ];
  for (const argv of [...helped, ['-c', 'x', '-h', '-T', 'bad'], ['stray', '--help']]) {
    t.same(
      parseArguments(argv, () => true),
      { kind: 'help' },
      argv.join(' '),
    );
  }
  t.equal(failure('--bogus', '--help'), 'Unknown option --bogus');
  t.equal(failure('-zh'), 'Unknown option -zh');
  t.equal(failure('-ch'), 'Missing argument for -c');
});

t.test('a text value that was not UTF-8 is refused, a number or a positional is not asked', async (t) => {
  const not = (index: number) => (argv: readonly string[]) => parseArguments(argv, (at) => at !== index);
  const refused = { kind: 'failed', message: 'Invalid byte sequence in conversion input' };
  t.same(not(1)(['--cid', '\ufffd']), refused);
  t.same(not(1)(['-ic', '\ufffd']), refused);
  t.same(not(0)(['--cid=\ufffd']), refused);
  t.same(not(2)(['-i', '-l', '\ufffd']), refused);
  t.equal(not(0)(['\ufffd', '-i']).kind, 'given');
  t.same(not(1)(['-T', '\ufffd']), { kind: 'failed', message: 'Cannot parse integer value “\ufffd” for -T' });
});
