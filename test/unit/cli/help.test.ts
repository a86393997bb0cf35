/** The help text, as a caller that searches it for options sees it. */
import t from 'tap';
import { helpText } from '../../../src/cli/help.ts';
import { OPTION_TABLE, type OptionSpec } from '../../../src/cli/table.ts';

const rows: readonly OptionSpec[] = OPTION_TABLE;

t.test('help lists every option that is not hidden, with letter and placeholder', async (t) => {
  const text = await helpText('9.8.7');
  const lines = text.split('\n');
  for (const row of rows) {
    const start = `  ${row.short === undefined ? '   ' : `-${row.short},`} --${row.name} `;
    const line = lines.find((candidate) => candidate.startsWith(start));
    t.ok(line, row.name);
    t.match(line, `${row.placeholder === undefined ? '' : `${row.placeholder}: `}${row.help.slice(0, 20)}`);
    for (const alias of row.hiddenAliases ?? [])
      t.notOk(
        lines.some((each) => each.includes(` --${alias} `)),
        alias,
      );
  }
  t.match(text, /^ {2}-h, --help /m);
});

t.test('what CRI-O searches for is there', async (t) => {
  t.match(await helpText('9.8.7'), '--log-global-size-max');
});

t.test('help is plain text that ends in a newline and does not depend on the terminal', async (t) => {
  const text = await helpText('9.8.7');
  t.match(text, /^Usage: conmon \[OPTION\.\.\.\]\n/);
  t.match(text, /\nconmon 9\.8\.7\n$/);
  t.ok(text.split('\n').every((line) => line.length <= 110 && !line.includes('\u001b')));
  t.notMatch(text, /\[(string|boolean|array)\]/);
});
