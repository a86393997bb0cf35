/** The man page says what the option table says, and its rendered form is what its source says. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { OPTION_TABLE, type OptionSpec } from '../../../src/cli/table.ts';
import { REPOSITORY } from '../../helpers/native.ts';

const source = readFileSync(`${REPOSITORY}/docs/conmon.8.md`, 'utf8');
const options = section(source, 'OPTIONS');

/** From `# TITLE` to the next heading of that rank. */
function section(page: string, title: string): string {
  const [, body = ''] = page.split(`\n# ${title}\n`);
  return body.split(/\n# /)[0] ?? '';
}

/** The lines that are defined: a line in front of one that begins with a colon. */
function terms(text: string): string[] {
  return [...text.matchAll(/^(\*\*-.*)\n: {3}/gm)].map(([, term]) => term ?? '');
}

/** `**-b**, **--bundle** *DIR*`, as the table has it. */
function termOf({ name, short, placeholder }: OptionSpec): string {
  const letter = short === undefined ? '' : `**-${short}**, `;
  // *NAME*=*VALUE* and *DRIVER*[:*FILE*]: each word of it is one that stands for something.
  const value = placeholder === undefined ? '' : ` ${placeholder.replace(/[A-Z]+/g, '*$&*')}`;
  return `${letter}**--${name}**${value}`;
}

t.test('every option of the table is described, with its letter and its value', async (t) => {
  const described = terms(options).join(', ').split(', ').join(' ; ');
  for (const row of OPTION_TABLE) {
    const term = termOf(row).split(', ').join(' ; ');
    t.ok(` ; ${described} ; `.includes(` ; ${term} ; `), `--${row.name}`, { wanted: term });
    for (const alias of (row as OptionSpec).hiddenAliases ?? [])
      t.match(options, `Also known as **--${alias}**`, `--${row.name}'s old name`);
  }
});

t.test('every option that is described exists', async (t) => {
  const known = new Set(['help', ...OPTION_TABLE.map(({ name }) => name)]);
  const named = terms(options).flatMap((term) =>
    [...term.matchAll(/\*\*--([a-z-]+)\*\*/g)].map(([, name]) => name ?? ''),
  );
  t.strictSame(
    named.filter((name) => !known.has(name)),
    [],
  );
  t.equal(named.length, known.size, 'and once');
  const aliases = OPTION_TABLE.flatMap((row) => (row as OptionSpec).hiddenAliases ?? []);
  const mentioned = [...source.matchAll(/\*\*--([a-z0-9-]+)\*\*/g)].map(([, name]) => name ?? '');
  t.strictSame(
    mentioned.filter((name) => !known.has(name) && !aliases.includes(name)),
    [],
    'also where the text mentions one',
  );
});

t.test('every setting of our own is under ENVIRONMENT', async (t) => {
  const settings = readFileSync(`${REPOSITORY}/src/cli/own-settings.ts`, 'utf8').match(/CONMON_[A-Z_]+/g) ?? [];
  t.ok(settings.length > 0);
  for (const name of new Set(settings)) t.match(section(source, 'ENVIRONMENT'), `**${name}**`);
});

t.test('the page has the sections that readers look for', async (t) => {
  const titles = [...source.matchAll(/^# (.*)$/gm)].map(([, title]) => title);
  for (const title of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'FILES', 'ENVIRONMENT', 'SIGNALS'])
    t.ok(titles.includes(title), title);
  for (const title of ['EXIT STATUS', 'DIAGNOSTICS', 'SEE ALSO']) t.ok(titles.includes(title), title);
});

t.test('the rendered page is up to date (make man)', async (t) => {
  const rendered = execFileSync('go-md2man', ['-in', `${REPOSITORY}/docs/conmon.8.md`], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  t.ok(rendered === readFileSync(`${REPOSITORY}/docs/conmon.8`, 'utf8'), 'docs/conmon.8 is what go-md2man makes');
  t.match(rendered, /^\.nh\n\.TH conmon 8 /);
});
