/** The whole command line: what wins over what, and what the caller of the parser gets. */
import t from 'tap';
import { parseCommandLine, readRawArgv } from '../../../src/cli/index.ts';
import { BARE, CREATE, ID, read } from './fixtures/command-line.ts';
import { tempDir } from './fixtures/temp-dir.ts';

t.test('--version prints version and commit, exit 0', async (t) => {
  const version = {
    kind: 'exit',
    status: 0,
    stdout: 'conmon version 9.8.7\ncommit: c0ffee\n',
    stderr: '',
    syslog: undefined,
  };
  t.same(read(['--version']), version);
  t.same(read([...CREATE, '--version']), version);
  t.same(read(['--version', '--log-level', 'loud', '--log-max-files', '-1']), version, 'before any check');
});

t.test('an argument that does not parse wins over --version', async (t) => {
  t.same(read(['--version', '--bogus']), {
    kind: 'exit',
    status: 1,
    stdout: '',
    stderr: 'conmon: option parsing failed: Unknown option --bogus\n',
    syslog: undefined,
  });
});

t.test('help wins over everything behind it, required options included', async (t) => {
  t.same(read(['--help']), { kind: 'help' });
  t.same(read(['--version', '-h', '--bogus']), { kind: 'help' });
});

t.test('with --syslog a refusal comes with its line for syslog, the container named in 20 characters', async (t) => {
  const syslog = (...argv: string[]) => {
    const result = read(argv);
    return result.kind === 'exit' ? result.syslog : result.kind;
  };
  const message = '<error>: Container UUID not provided. Use --cuuid';
  t.equal(syslog('-c', 'short', '--syslog'), `conmon short ${message}`);
  t.equal(syslog('-c', 'short', '--syslog', '--log-tag', 'tag'), `conmon short: tag ${message}`);
  t.equal(syslog('-c', ID, '--syslog'), `conmon ${ID.slice(0, 20)} ${message}`);
  t.equal(syslog('-c', 'short'), undefined);
  t.equal(syslog('--syslog'), undefined, 'C has not set up syslog when it misses the id');
});

t.test('arguments that were not UTF-8 are looked up in the bytes', async (t) => {
  const argv = [...BARE, '-l', '/\ufffd'];
  const raw = argv.map((argument) => Buffer.from(argument));
  t.equal(read(argv, { rawArgv: () => [Buffer.from('node'), ...raw] }).kind, 'run');
  raw[raw.length - 1] = Buffer.from([0x2f, 0xff]);
  const result = read(argv, { rawArgv: () => [Buffer.from('node'), ...raw] });
  const stderr = 'conmon: option parsing failed: Invalid byte sequence in conversion input\n';
  t.same(result, { kind: 'exit', status: 1, stdout: '', stderr, syslog: undefined });
});

t.test('the real file system is asked when no other is handed in', async (t) => {
  const dir = tempDir(t);
  const result = parseCommandLine({
    argv: ['-c', ID, '-u', ID, '-l', 'none', '-b', `${dir}/none`, '-r', process.execPath],
    rawArgv: readRawArgv,
    env: {},
    cwd: () => dir,
    version: '9.8.7',
    commit: 'c0ffee',
  });
  t.match(result, {
    kind: 'exit',
    stderr: `[conmon:e]: Bundle path ${dir}/none is not valid No such file or directory\n`,
  });
});
