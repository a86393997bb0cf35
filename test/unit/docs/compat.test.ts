/** docs/compat.md has a row for every option, and none for an option that is not there. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { OPTION_TABLE, type OptionSpec } from '../../../src/cli/table.ts';
import { REPOSITORY } from '../../helpers/native.ts';

/** What only conmon-v3 has, or what is no row of the table here. */
const ELSEWHERE = ['help', 'seccomp-notify-socket', 'seccomp-notify-plugins'];

const page = readFileSync(`${REPOSITORY}/docs/compat.md`, 'utf8');
const [, options = ''] = page.split('\n## Options\n');
const rows = (options.split(/\n## /)[0] ?? '').split('\n').filter((line) => line.startsWith('| `-'));

/** Every option that the first cells name, letters included. */
function named(): string[] {
  return rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(-[^`]+)`/g)].map(([, name]) => name ?? ''));
}

t.test('every option has one row, with its letter and its old names', async (t) => {
  const all = named();
  for (const row of OPTION_TABLE as readonly OptionSpec[]) {
    const names = [`--${row.name}`, ...(row.hiddenAliases ?? []).map((alias) => `--${alias}`)];
    if (row.short !== undefined) names.push(`-${row.short}`);
    for (const name of names) t.equal(all.filter((other) => other === name).length, 1, name);
  }
});

t.test('no row is about an option that does not exist', async (t) => {
  const rowsOfTable = OPTION_TABLE as readonly OptionSpec[];
  const known = new Set([
    '-h',
    ...ELSEWHERE.map((name) => `--${name}`),
    ...rowsOfTable.flatMap(({ name, short, hiddenAliases = [] }) => [
      `--${name}`,
      ...(short === undefined ? [] : [`-${short}`]),
      ...hiddenAliases.map((alias) => `--${alias}`),
    ]),
  ]);
  t.strictSame(
    named().filter((name) => !known.has(name)),
    [],
  );
});

t.test('every row says what each of the three does', async (t) => {
  t.match(options, '| option | C | conmon-v3 | here | why |');
  for (const row of rows) {
    const [before, , , v3, here, ...rest] = row.split('|').map((cell) => cell.trim());
    t.strictSame([before, rest.length], ['', 2], row);
    t.ok(v3 !== '' && here !== '', row);
  }
});
