/**
 * Bad command lines: one clear message on stderr that names the thing, status 1, and nothing is started or left.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import { ConmonProcess, type Ended } from '../helpers/conmon.ts';
import { installFake } from '../helpers/runtimes.ts';
import { within } from '../helpers/wait.ts';

interface Answer {
  readonly ended: Ended;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs conmon with exactly these arguments. */
async function answer(c: Case, args: readonly string[]): Promise<Answer> {
  const conmon = new ConmonProcess({
    path: c.monitor.path,
    args,
    env: { PATH: '/usr/bin:/bin', _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' },
    cwd: c.workspace.dir,
  });
  c.workspace.defer(() => conmon.release());
  // Ours reads the start pipe first, so that all it does is done in the cgroup that the caller chose; C looks at its options.
  conmon.go();
  const ended = await within(`conmon ${args.join(' ')}`, conmon.started);
  await within('stderr to be closed', conmon.stderrClosed);
  return { ended, stdout: conmon.stdout, stderr: conmon.stderr };
}

interface BadLine {
  readonly name: string;
  readonly args: (c: Case) => readonly string[];
  /** What stderr says, without the prefix. */
  readonly says: string | RegExp;
  /** The prefix is `conmon: ` for what is checked while options are parsed, else `[conmon:e]: `. */
  readonly whileParsing?: boolean;
  readonly excludes?: string;
}

const NEW_IN_2_2 = 'C 2.1.6 does not know the option; 2.2 does';
const cid = 'c'.repeat(64);
/** As far as the runtime. */
const named = ['-c', cid, '-u', cid];

function runtime(c: Case): string {
  const path = `${c.workspace.dir}/runtime`;
  return existsSync(path) ? path : installFake(path, [`touch ${c.workspace.dir}/ran`, 'exit 1']);
}

/** Complete but for the log path. */
const withRuntime = (c: Case) => [...named, '-r', runtime(c), '-b', c.workspace.dir];
const complete = (c: Case) => [...withRuntime(c), '-l', `${c.workspace.dir}/log`];

const BAD_LINES: readonly BadLine[] = [
  {
    name: 'an unknown option',
    args: (c) => [...complete(c), '--no-such-option'],
    says: /^option parsing failed: Unknown option --no-such-option$/,
    whileParsing: true,
  },
  {
    name: 'an unknown short option',
    args: (c) => [...complete(c), '-Z'],
    says: /^option parsing failed: Unknown option -Z$/,
    whileParsing: true,
  },
  {
    name: 'a missing value',
    args: (c) => [...complete(c), '--cid'],
    says: /^option parsing failed: Missing argument for --cid$/,
    whileParsing: true,
  },
  {
    name: 'a missing value of a short option',
    args: (c) => [...complete(c), '-c'],
    says: /^option parsing failed: Missing argument for -c$/,
    whileParsing: true,
  },
  ...[
    ['--timeout', 'abc'],
    ['--timeout', '1x'],
    ['--log-size-max', 'big'],
    ['--exit-delay', ''],
  ].map(([option = '', value = '']) => ({
    name: `${option} '${value}'`,
    args: (c: Case) => [...complete(c), option, value],
    says: new RegExp(`^option parsing failed: Cannot parse integer value .${value}. for ${option}$`),
    whileParsing: true,
  })),
  {
    name: 'a number out of range',
    args: (c) => [...complete(c), '--timeout', '99999999999'],
    says: /^option parsing failed: Integer value .99999999999. for --timeout out of range$/,
    whileParsing: true,
  },
  {
    name: 'no --cid',
    args: () => ['-u', cid],
    says: 'Container ID not provided. Use --cid',
    whileParsing: true,
  },
  {
    name: 'a negative --log-max-files',
    args: (c) => [...complete(c), '--log-max-files', '-1'],
    says: 'log-max-files must be non-negative, got -1',
    whileParsing: true,
    excludes: NEW_IN_2_2,
  },
  {
    name: '--log-rotate with --log-max-files 0',
    args: (c) => [...complete(c), '--log-rotate', '--log-max-files', '0'],
    says: 'log-max-files must be at least 1 when log-rotate is enabled, got 0',
    whileParsing: true,
    excludes: NEW_IN_2_2,
  },
  { name: 'no --cuuid', args: () => ['-c', cid], says: 'Container UUID not provided. Use --cuuid' },
  { name: 'no --runtime', args: () => named, says: 'Runtime path not provided. Use --runtime' },
  {
    name: 'a runtime that does not exist',
    args: () => [...named, '-r', '/nonexistent/runc'],
    says: 'Runtime path /nonexistent/runc is not valid No such file or directory',
  },
  {
    name: 'a runtime that is not executable',
    args: (c) => {
      writeFileSync(`${c.workspace.dir}/plain`, '');
      return [...named, '-r', `${c.workspace.dir}/plain`];
    },
    says: /^Runtime path \S+\/plain is not valid Permission denied$/,
  },
  { name: 'no --log-path', args: withRuntime, says: 'Log driver not provided. Use --log-path' },
  { name: 'an empty --log-path', args: (c) => [...withRuntime(c), '-l', ''], says: 'log-path must not be empty' },
  { name: 'k8s-file alone', args: (c) => [...withRuntime(c), '-l', 'k8s-file'], says: 'k8s-file requires a filename' },
  { name: 'k8s-file:', args: (c) => [...withRuntime(c), '-l', 'k8s-file:'], says: 'k8s-file requires a filename' },
  {
    name: 'an unknown log driver',
    args: (c) => [...withRuntime(c), '-l', 'syslog:/x'],
    says: 'No such log driver syslog',
  },
  {
    name: 'a log in a directory that does not exist',
    args: (c) => [...withRuntime(c), '-l', '/nonexistent/dir/log'],
    says: /^Failed to open log file\b.*No such file or directory$/,
  },
  {
    name: 'a log that is a directory',
    args: (c) => [...withRuntime(c), '-l', c.workspace.dir],
    says: /^Failed to open log file\b.*Is a directory$/,
  },
  {
    name: 'a log tag for k8s-file',
    args: (c) => [...complete(c), '--log-tag', 'x'],
    says: "k8s-file doesn't support --log-tag",
  },
  {
    name: 'a log label for k8s-file',
    args: (c) => [...complete(c), '--log-label', 'A=B'],
    says: "k8s-file doesn't support --log-label",
    excludes: NEW_IN_2_2,
  },
  {
    name: 'a log label without a value',
    args: (c) => [...withRuntime(c), '-l', 'journald', '--log-label', 'A'],
    says: /^Container labels must be in format LABEL=VALUE \(.*\)$/,
    excludes: NEW_IN_2_2,
  },
  {
    name: 'a log label with a small letter',
    args: (c) => [...withRuntime(c), '-l', 'journald', '--log-label', 'a=B'],
    says: /^Container label names must contain only uppercase letters, numbers and underscore \(in '.*'\)$/,
    excludes: NEW_IN_2_2,
  },
  {
    name: 'journald with a short id',
    args: (c) => ['-c', 'short', '-u', 'short', '-r', runtime(c), '-b', c.workspace.dir, '-l', 'journald'],
    says: 'Container ID must be longer than 12 characters',
  },
  {
    name: 'an unknown log level',
    args: (c) => [...complete(c), '--log-level', 'loud'],
    says: 'No such log level loud',
  },
  {
    name: 'a negative --exit-delay',
    args: (c) => [...complete(c), '--exit-delay', '-1'],
    says: 'Delay before invoking exit command must be greater than or equal to 0',
  },
  {
    name: '--exec without a process',
    args: (c) => [...complete(c), '--exec'],
    says: 'Exec process spec path not provided. Use --exec-process-spec',
  },
  {
    name: '--exec-attach without --exec',
    args: (c) => [...complete(c), '--exec-attach'],
    says: 'Attach can only be specified with exec',
  },
  {
    name: '--exec-attach without --api-version',
    args: (c) => [...complete(c), '--exec', '--exec-attach', '--exec-process-spec', '/x'],
    says: 'Attach can only be specified for a non-legacy exec session',
  },
  {
    name: '--exec and --restore',
    args: (c) => [...complete(c), '--exec', '--exec-process-spec', '/x', '--restore', '/x'],
    says: "Cannot use 'exec' and 'restore' at the same time",
  },
];

for (const { name, args, says, whileParsing, excludes } of BAD_LINES) {
  const annotation = excludes === undefined ? {} : { excludes: { c: excludes } };
  promise(`bad command line: ${name}`, annotation, async (c) => {
    const { ended, stdout, stderr } = await answer(c, args(c));
    c.t.strictSame(ended, { code: 1, signal: null }, 'status 1');
    // C 2.1.6 prints what GLib says on stdout, and its nexit has no colon after the prefix; 2.2.1 has mended both.
    const said = c.monitor.name === 'c' ? stdout + stderr.replace(/^\[conmon:e\] /, '[conmon:e]: ') : stderr;
    const prefix = whileParsing ? 'conmon: ' : '[conmon:e]: ';
    c.t.equal(said.slice(0, prefix.length), prefix, 'prefix');
    c.t.match(said.slice(prefix.length).replace(/\n$/, ''), says, 'message');
    c.t.equal(said.indexOf('\n'), said.length - 1, 'one line');
    c.t.notOk(existsSync(`${c.workspace.dir}/ran`), 'no runtime was started');
    if (c.monitor.name !== 'c') {
      c.t.equal(stdout, '', 'nothing on stdout');
    }
  });
}

promise('--version prints the version and the commit, and needs no container', {}, async (c) => {
  for (const args of [['--version'], ['--version', '-c', 'x', '--log-path', '']]) {
    const { ended, stdout, stderr } = await answer(c, args);
    c.t.strictSame(ended, { code: 0, signal: null });
    c.t.match(stdout, /^conmon version \d+\.\d+\.\d+\ncommit: \S+\n$/);
    c.t.equal(stderr, '');
  }
});

promise('--help lists the options that engines look for', {}, async (c) => {
  for (const option of ['--help', '-h']) {
    const { ended, stdout } = await answer(c, [option]);
    c.t.strictSame(ended, { code: 0, signal: null });
    for (const name of [
      '--log-global-size-max',
      '--log-size-max',
      '--persist-dir',
      '--exit-command',
      '--full-attach',
    ]) {
      c.t.ok(stdout.includes(name), name);
    }
  }
});

promise(
  'the dialect of GLib: clustered flags, NAME=VALUE, stray words, values that begin with a dash',
  {},
  async (c) => {
    const container = c.container({
      fake: (self) => [`record ${self.path('got')}`, 'container-exit 11'],
      args: [
        'stray',
        '-is',
        '--timeout=100',
        '--api-version',
        '1',
        '--runtime-arg',
        '--log-format=json',
        '--',
        '--no-such',
      ],
    });
    await container.created();
    c.t.equal(await container.exited(), 11);
  },
);

promise(
  'a pid file that cannot be written: the message names it, status 1, and nothing goes on',
  {
    differs: { c: 'the started process of C fails, its daemon and the container go on' },
  },
  async (c) => {
    const container = c.container({ fake: ['container-exit 0'], args: ['-P', '/nonexistent/dir/pidfile'] });
    c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
    c.t.match(
      container.conmon.stderr,
      /^\[conmon:e\]: Failed to write conmon pidfile: [^\n]*\/nonexistent\/dir\/pidfile/,
    );
    await container.conmon.syncClosed();
    c.t.equal(existsSync(container.containerPidfile), c.differs !== undefined);
  },
);

promise('_OCI_SYNCPIPE that is no number or no fd: a message that names it, status 1', {}, async (c) => {
  for (const value of ['abc', '99']) {
    const container = c.container({ fake: ['container-exit 0'], env: { _OCI_STARTPIPE: value }, holdStart: true });
    c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null }, value);
    c.t.match(container.conmon.stderr, /^\[conmon:e\]: .*_OCI_STARTPIPE/);
  }
});
