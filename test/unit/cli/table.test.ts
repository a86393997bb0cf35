/** The table of options: complete, unambiguous, frozen. */
import t from 'tap';
import { findLong, findShort, OPTION_TABLE, type OptionSpec } from '../../../src/cli/table.ts';

/** Contract section 2, and the two settings of our own. `+` marks a list, `#` an int, `##` an int64, `!` a flag. */
const CONTRACT = `
  !api-version bundle,b cid,c cuuid,u name,n conmon-pidfile,P container-pidfile,p runtime,r +runtime-arg +runtime-opt
  !systemd-cgroup,s !no-pivot !no-new-keyring !terminal,t !stdin,i !leave-stdin-open +log-path,l ##log-size-max
  ##log-global-size-max !log-rotate #log-max-files +log-allowlist-dir log-tag +log-label !no-container-partial-message
  !no-sync-log log-level !syslog exit-dir persist-dir,0 exit-command +exit-command-arg #exit-delay !exec,e
  exec-process-spec !exec-attach restore socket-dir-path !full-attach sdnotify-socket #timeout,T !sync
  !replace-listen-pid !version #create-timeout #attach-stall-timeout
`;

const rows: readonly OptionSpec[] = OPTION_TABLE;
const MARKS = { flag: '!', string: '', int: '#', int64: '##', list: '+' } as const;

t.test('every option of the contract is there, with its letter and kind, and no other', async (t) => {
  const wanted = CONTRACT.trim().split(/\s+/).sort();
  const found = rows.map((row) => `${MARKS[row.kind]}${row.name}${row.short === undefined ? '' : `,${row.short}`}`);
  t.same(found.sort(), wanted);
});

t.test('no name and no letter stands for two options', async (t) => {
  const names = rows.flatMap((row) => [row.name, ...(row.hiddenAliases ?? [])]);
  t.equal(new Set(names).size, names.length);
  const letters = rows.flatMap((row) => row.short ?? []);
  t.equal(new Set(letters).size, letters.length);
  t.notOk(letters.includes('h'), 'h is the letter of help');
});

t.test('the old names lead to the new options', async (t) => {
  t.equal(findLong('pidfile')?.name, 'container-pidfile');
  t.equal(findLong('restore-arg')?.name, 'runtime-opt');
});

t.test('look-ups take exact names only', async (t) => {
  t.equal(findLong('cid')?.name, 'cid');
  t.equal(findShort('0')?.name, 'persist-dir');
  for (const name of ['', 'ci', 'CID', 'cidx', '--cid', 'c', 'toString', '__proto__'])
    t.equal(findLong(name), undefined);
  for (const letter of ['', 'C', 'h', '?', 'cid', '__proto__']) t.equal(findShort(letter), undefined);
});

t.test('every option has help, and every value a placeholder', async (t) => {
  for (const row of rows) {
    t.match(row.help, /^[A-Z].*[^.\s]$/s, row.name);
    t.equal(row.placeholder === undefined, row.kind === 'flag', row.name);
  }
});

t.test('the table is frozen to the last alias', async (t) => {
  t.ok(Object.isFrozen(rows));
  for (const row of rows) {
    t.ok(Object.isFrozen(row), row.name);
    if (row.hiddenAliases !== undefined) t.ok(Object.isFrozen(row.hiddenAliases), row.name);
  }
});
