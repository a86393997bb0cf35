/** The launcher's own C library (native/small-libc.c) answers as glibc does, and stops what overruns a buffer. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../helpers/random.ts';
import { BUILDS, compile, REPOSITORY } from './harness.ts';

const PROBE = 'test/unit/launcher/libc-probe.c';
const LIMIT_MS = 20_000;
const SEED = Number(process.env['TEST_SEED'] ?? randomInt(2 ** 31));

const small = compile([PROBE, 'native/small-libc.c'], [...BUILDS.static.flags, '-DSMALL']);
const glibc = compile([PROBE], ['-O2', '-U_FORTIFY_SOURCE']);

function run(program: string, args: readonly string[], env: Record<string, string> = {}) {
  const { status, signal, stdout } = spawnSync(program, args, { env, timeout: LIMIT_MS, encoding: 'latin1' });
  return { status, signal, stdout };
}

t.test(`numbers, strings and formats, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const letters = '0011 223456789-+ \t\nax';
  const some = () => Array.from({ length: random.below(24) }, () => random.pick([...letters])).join('');
  const limits = [
    ...[
      '',
      '-',
      '+',
      '-1',
      '0',
      ' 12',
      '\v\f\r7',
      '9223372036854775807',
      '9223372036854775808',
      '-9223372036854775808',
    ],
    ...['-9223372036854775809', '18446744073709551615', '18446744073709551616', '-18446744073709551615', '2147483648'],
    ...['-18446744073709551616', '99999999999999999999999', '0x10', '3-5', 'x'.repeat(1000)],
  ];
  const args = ['text', ...limits, ...Array.from({ length: 400 }, some)];
  const told = run(glibc, args);
  t.equal(told.status, 3);
  t.strictSame(run(small, args), told);
});

t.test('an errno has the words that glibc has for it, or its number', async (t) => {
  const words = run(glibc, ['errors']).stdout.split('\n');
  const ours = run(small, ['errors']).stdout.split('\n');
  t.equal(ours.length, words.length);
  for (const [number, text] of ours.entries())
    if (text !== `Unknown error ${number}`) t.equal(text, words[number], `errno ${number}`);
  for (const name of [
    'No such file or directory',
    'Permission denied',
    'Too many open files',
    'Cannot allocate memory',
  ])
    t.ok(ours.includes(name), name);
});

t.test('signals are handled, blocked and returned from', async (t) => {
  t.strictSame(run(small, ['signal']), { status: 3, signal: null, stdout: '45\n60 64\n' });
});

t.test('environment and memory', async (t) => {
  const env = { FIRST: '1', FIRS: 'short', EMPTY: '', LAST: 'x=y' };
  const args = ['environment', 'FIRST', 'FIRS', 'EMPTY', 'LAST', 'NONE', 'FIRST=1'];
  t.strictSame(run(small, args, env), run(glibc, args, env));
  t.match(run(small, args, env).stdout, /^1\nshort\n\nx=y\n\(none\)\n\(none\)\nFIRST=1\n/);
});

t.test('a copy that is too long, and a smashed stack, end the program', async (t) => {
  const traps: readonly (string | null)[] = ['SIGILL', 'SIGTRAP'];
  for (const what of ['overrun', 'smash']) {
    const { signal, stdout } = run(small, [what]);
    t.ok(traps.includes(signal), `${what}: ${signal}`);
    t.notMatch(stdout, /p/, 'nothing was done with it');
  }
});

t.test('the guard of the stack is another one each time, and ends a string', async (t) => {
  const guards = Array.from({ length: 8 }, () => run(small, ['guard']).stdout.trim());
  for (const guard of guards) t.match(guard, /^[0-9a-f]{14}00$/);
  t.equal(new Set(guards).size, guards.length);
});

t.test(
  'the launcher lies anywhere in memory, holds no address, and no page of it is both written and executed',
  async (t) => {
    const headers = execFileSync('readelf', ['-hlrW', join(REPOSITORY, 'bin/conmon')], { encoding: 'latin1' });
    t.match(headers, /Type: +DYN /);
    t.match(headers, /GNU_STACK .* RW /);
    t.notMatch(headers, /LOAD .* RWE/);
    t.notMatch(headers, /INTERP/);
    if (process.arch === 'x64') t.match(headers, 'There are no relocations in this file.');
    else t.match(headers, /GNU_RELRO/);
  },
);
