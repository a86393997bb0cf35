/**
 * Our command line against C conmon's, byte for byte: a list of arguments for each oddity of GOption and each check,
 * then random ones. Only command lines that must end in help, the version or an error are given to C, so that it
 * never starts a runtime. CONMON_REFERENCE names another C conmon than Debian's.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { parseCommandLine } from '../../../src/cli/index.ts';
import { OPTION_TABLE, type OptionSpec } from '../../../src/cli/table.ts';
import { ID } from './fixtures/command-line.ts';
import { Random } from './fixtures/random.ts';
import { tempDir } from './fixtures/temp-dir.ts';

const REFERENCE = process.env['CONMON_REFERENCE'] ?? '/usr/bin/conmon';
const skip = existsSync(REFERENCE) ? false : `no ${REFERENCE}`;
const RUNS = 100;
const TIMEOUT_MS = 10_000;

/** How a command line ended, as far as the two must agree. */
interface Ending {
  readonly status: number | null;
  readonly text: string;
}

function runReference(argv: readonly string[], cwd: string): Ending {
  // A UTF-8 locale: in any other, C converts what it prints and refuses every value that is not ASCII.
  const env = { LC_ALL: 'C.UTF-8', PATH: '/usr/bin:/bin' };
  const { status, stdout, stderr } = spawnSync(REFERENCE, argv, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // 2.1.6 tells of arguments that do not parse on stdout, and has no colon behind the tag of some errors.
  return { status, text: general(stdout + stderr.replace(/^\[conmon:e\] /, '[conmon:e]: ')) };
}

function runOurs(argv: readonly string[], cwd: string): Ending | undefined {
  const result = parseCommandLine({ argv, env: {}, cwd: () => cwd, version: '0.0.0', commit: 'x' });
  if (result.kind === 'run') return undefined;
  if (result.kind === 'help') return { status: 0, text: 'help' };
  return { status: result.status, text: general(result.stdout + result.stderr) };
}

/** Help and version are worded differently on purpose. */
function general(text: string): string {
  if (text.startsWith('Usage:')) return 'help';
  return text.replace(/^conmon version \d+\.\d+\.\d+\S*\ncommit: \S+\n$/, 'version');
}

const OURS: readonly OptionSpec[] = OPTION_TABLE;

/** Options of ours that this C conmon does not have yet, by name; cases that use them are left out. */
function unknownToReference(): readonly string[] {
  const help = spawnSync(REFERENCE, ['--help'], { encoding: 'utf8', timeout: TIMEOUT_MS, env: { LC_ALL: 'C.UTF-8' } });
  return OURS.map((option) => option.name).filter((name) => !help.stdout.includes(`--${name} `));
}

/** GOption's dialect. Each ends before anything is checked but for --cid. */
const DIALECT: readonly (readonly string[])[] = [
  [],
  ['1'],
  ['--version'],
  ['--version', '1'],
  ['--version=1'],
  ['--version=0'],
  ['--version='],
  ['--api-version=foo', '--version'],
  ['-', '--version'],
  ['', '--version'],
  ['--', '--version'],
  ['--cid', '--', '--version'],
  ['--cid', '--version'],
  ['--cid', '-x', '--version'],
  ['--cid', '--help', '--version'],
  ['--cid=', '--version'],
  ['--cid', '', '--version'],
  ['--cid==', '--version'],
  ['--cid', 'é', '--version'],
  ['-it', '--version'],
  ['-ic', 'V', '--version'],
  ['-ci', 'V', '--version'],
  ['-cV', '--version'],
  ['-c=V', '--version'],
  ['-cV'],
  ['-c'],
  ['-ii', '--version'],
  ['-i-'],
  ['-i-t', '--version'],
  ['-cu', 'A', '--version'],
  ['-cc', 'A'],
  ['-cu'],
  ['-0', 'x', '--version'],
  ['-0x'],
  ['-t5'],
  ['-tT', 'x'],
  ['-T', '-5', '--version'],
  ['--cid'],
  ['--runtime-arg'],
  ['--pidfile'],
  ['--restore-arg'],
  ['--pidfile', 'x', '--restore-arg', 'y', '--version'],
  ['--bogus'],
  ['--bogus=1'],
  ['--no-such', '--version'],
  ['--no-sync', '--version'],
  ['--ci', 'x'],
  ['--CID', 'x'],
  ['--cid-x', 'x'],
  ['--cidx=1'],
  ['---'],
  ['--=x'],
  ['-='],
  ['-z'],
  ['-iz'],
  ['-zi'],
  ['-z', '--version'],
  ['-é'],
  ['--é'],
  ['-💥'],
  ['--help'],
  ['--help-all'],
  ['--help-conmon'],
  ['--help-'],
  ['--help=x'],
  ['--helpx'],
  ['-h'],
  ['-?'],
  ['-i?'],
  ['-hz'],
  ['-zh'],
  ['-ch', 'A'],
  ['-ch'],
  ['-c', 'h', '-h'],
  ['--bogus', '--help'],
  ['--help', '--bogus'],
  ['--version', '--help'],
  ['--version', '--timeout', 'abc'],
];

/** For --timeout (32 bits) and --log-size-max (64), each behind --version. */
const INTEGERS: readonly string[] = [
  ...[
    '',
    '0',
    '5',
    '-5',
    '+5',
    '0x10',
    '0X1f',
    '-0x10',
    '010',
    '08',
    '0x',
    '0xg',
    '0b1',
    '0o7',
    '00000000000000000005',
  ],
  ...[' 5', '\t\n\v\f\r 5', '5 ', '5\n', ' ', '-', '+', '+-5', '- 5', '1e3', '1.0', '1_000', '1,000', 'abc', '٣', 'é'],
  ...['2147483647', '2147483648', '-2147483648', '-2147483649', '0x7fffffff', '0x80000000', '017777777777'],
  ...['9223372036854775807', '9223372036854775808', '-9223372036854775808', '-9223372036854775809'],
  ...['0x7fffffffffffffff', '0x8000000000000000', '99999999999999999999', '99999999999999999999x'],
];

const RUNTIME = ['-r', '/bin/false'] as const;
const READY = ['-c', ID, '-u', ID, ...RUNTIME] as const;

/** The checks between options, C's order included: each list has several mistakes, of which one is told. */
const CHECKS: readonly (readonly string[])[] = [
  ['-c', 'x'],
  ['-c', 'x', '--log-level', 'loud', '--exec', '--restore', 'y'],
  ['-c', 'x', '--log-level', ''],
  ['-c', 'x', '--log-level', 'TRACE'],
  ['-c', 'x', '-e', '--restore', 'y', '--exec-attach'],
  ['-c', 'x', '--exec-attach'],
  ['-c', 'x', '-e', '--exec-attach'],
  ['-c', 'x', '-e', '--exec-attach', '--api-version', '1'],
  ['-c', 'x', '-e', '--api-version'],
  ['-c', 'x', '-e'],
  ['-c', 'x', '-u', 'y'],
  ['-c', 'x', '-u', 'y', '-r', ''],
  ['-c', 'x', '-u', 'y', '-r', '/nowhere'],
  ['-c', 'x', '-u', 'y', '-r', '/bin/false/x'],
  ['-c', 'x', '-u', 'y', '-r', '/etc/passwd'],
  ['-c', 'x', '-u', 'y', '-r', `/${'x'.repeat(300)}`],
  ['-c', 'x', '-u', 'y', '-r', '/nowhere', '-e'],
  ['-c', 'x', '-e', '-r', '/bin/false'],
  ['-c', 'x', '-e', '-r', '/bin/false', '--exec-process-spec', '/s'],
  ['-c', 'x', '-e', '-r', '/bin/false', '--exec-process-spec', '/s', '--exit-delay', '-1'],
  [...READY],
  [...READY, '--exit-delay', '-1', '-l', 'a:b'],
  ...['', ':', '::', 'k8s-file', 'k8s-file:', 'foo:', 'foo:bar', '/a:b', ':a:b', 'foo::', 'syslog:x'].map((path) => [
    ...[...READY, '-l', 'none', '-l', path],
  ]),
  [...READY, '-l', 'none', '-l', 'a:b', '-l', 'k8s-file'],
  [...READY, '-c', '123456789012', '-l', 'journald'],
  [...READY, '-c', '123456789012', '-l', 'journald:x', '-l', 'none'],
  [...READY, '-l', 'log', '--log-tag', 'x'],
  [...READY, '-l', 'k8s-file:log', '--log-tag', ''],
  [...READY, '-l', ':none', '--log-tag', 'x', '--log-label', 'A=b'],
  [...READY, '-l', 'log', '--log-label', 'A=b'],
  ...['=x', '', 'LABEL', 'A=b=c', 'a=b', 'A-B=c', 'É=c'].map((label) => [
    ...[...READY, '-l', 'journald', '--log-label', 'OK=1', '--log-label', label],
  ]),
  ['--log-max-files', '-1'],
  ['--log-rotate', '--log-max-files', '0'],
  [...READY, '--no-container-partial-message', '-l', 'a:b'],
];

t.test('arguments parse, or fail to, as in C', { skip }, async (t) => {
  const compare = comparer(tempDir(t));
  for (const argv of DIALECT) compare(t, argv);
});

t.test('integers parse, or fail to, as in C', { skip }, async (t) => {
  const compare = comparer(tempDir(t));
  for (const text of INTEGERS) compare(t, ['--version', `--log-size-max=${text}`, '-T', text]);
  for (const text of INTEGERS) compare(t, ['--version', '--log-size-max', text]);
});

t.test('checks are made in the order of C and told in its words', { skip }, async (t) => {
  const compare = comparer(tempDir(t));
  for (const argv of CHECKS) compare(t, argv);
});

t.test('a value that is not UTF-8 is refused as in C', { skip }, async (t) => {
  const wanted = 'conmon: option parsing failed: Invalid byte sequence in conversion input\n';
  const shell = 'exec "$1" --cid "$(printf "a\\377")"';
  const { stdout, stderr, status } = spawnSync('/bin/sh', ['-c', shell, 'sh', REFERENCE], {
    encoding: 'utf8',
    env: { LC_ALL: 'C.UTF-8' },
    timeout: TIMEOUT_MS,
  });
  t.same([status, stdout + stderr], [1, wanted]);
  const argv = ['--cid', 'a\ufffd'];
  const rawArgv = () => [Buffer.from('--cid'), Buffer.from([0x61, 0xff])];
  t.match(parseCommandLine({ argv, rawArgv, env: {}, cwd: () => '/', version: '', commit: '' }), { stderr: wanted });
});

t.test('random arguments end as in C', { skip }, async (t) => {
  const random = Random.fromEnvironment(t);
  const compare = comparer(tempDir(t));
  for (let run = 0; run < RUNS; run++) compare(t, randomArguments(random));
});

/** No value is a path that exists: C can get no further than its check of the runtime. */
const VALUES: readonly string[] = [
  ...['', 'a', '-', '--', '-x', '--cid', '--help', '5', '-5', '0x1F', '010', '08', '5 ', ' 5', '2147483648', 'info'],
  ...['9223372036854775808', 'é', 'a=b', '=', '0x', '--version', '/nowhere/runtime', '-it', 'none'],
];
const LETTERS = 'bcPpuelnr0istTzh?=-é5';

function randomArguments(random: Random): string[] {
  const names = OURS.flatMap((option) => [option.name, ...(option.hiddenAliases ?? [])]);
  return Array.from({ length: random.below(8) }, () => {
    switch (random.below(5)) {
      case 0:
        return `--${random.pick(names)}`;
      case 1:
        return `--${random.pick(names)}=${random.pick(VALUES)}`;
      case 2:
        return `-${Array.from({ length: 1 + random.below(3) }, () => random.pick([...LETTERS])).join('')}`;
      case 3:
        return `--${random.pick(names).slice(0, random.below(12))}`;
      default:
        return random.pick(VALUES);
    }
  });
}

/** Makes the comparison for one test: in an empty directory, with what this C conmon does not know left out by name. */
function comparer(cwd: string): (t: Test, argv: readonly string[]) => void {
  const unknown = unknownToReference();
  return (t, argv) => {
    const missing = unknown.find((name) => argv.some((argument) => usesOption(argument, name)));
    if (missing !== undefined) {
      t.pass(`${JSON.stringify(argv)} needs --${missing}`, { skip: `${REFERENCE} has no --${missing}` });
      return;
    }
    const ours = runOurs(argv, cwd);
    assert(ours !== undefined, `this would start a runtime: ${JSON.stringify(argv)}`);
    t.same(ours, runReference(argv, cwd), JSON.stringify(argv));
  };
}

function usesOption(argument: string, name: string): boolean {
  return argument === `--${name}` || argument.startsWith(`--${name}=`);
}
