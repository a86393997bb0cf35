/**
 * What the options do whose effects no other file looks at: defaults, letters, old names, warnings.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import { ConmonProcess } from '../helpers/conmon.ts';
import { installFake, readRecording } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const CID = 'd'.repeat(64);

/** Runs conmon with exactly these arguments, in the directory `cwd`, to its end. */
async function run(c: Case, args: readonly string[], cwd: string): Promise<ConmonProcess> {
  const env = { PATH: '/usr/bin:/bin', _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' };
  const conmon = new ConmonProcess({ path: c.monitor.path, args, env, cwd });
  c.workspace.defer(() => conmon.release());
  conmon.go();
  await within('conmon', conmon.started);
  await conmon.syncClosed();
  return conmon;
}

function recorder(c: Case): string {
  return installFake(c.workspace.path('runtime'), [`record ${c.workspace.path('got')}`, 'container-exit 5']);
}

async function argv(c: Case): Promise<readonly string[]> {
  return (await waitFor('the recording', () => readRecording(c.workspace.path('got')))).argv;
}

promise(
  'without -b and -p: the bundle is the working directory, and the pid file is pidfile-ID in it',
  {},
  async (c) => {
    const cwd = c.workspace.directory('here');
    const runtime = recorder(c);
    const conmon = await run(c, ['--sync', '-c', CID, '-u', CID, '-r', runtime, '-l', 'none', '--full-attach'], cwd);
    c.t.match(conmon.unread, /^\{"pid": \d+\}\n$/);
    const paths = ['--bundle', cwd, '--pid-file', `${cwd}/pidfile-${CID}`];
    c.t.strictSame(await argv(c), [runtime, 'create', ...paths, CID]);
    c.t.ok(existsSync(`${cwd}/ctl`), 'the control files are there');
  },
);

promise('every letter stands for its option', {}, async (c) => {
  const [bundle, exits, persist] = [c.workspace.directory('b'), c.workspace.directory('x'), c.workspace.directory('0')];
  const runtime = recorder(c);
  const names = ['-c', CID, '-u', CID, '-n', 'name', '-b', bundle, '-r', runtime, '-0', persist];
  const files = ['-P', c.workspace.path('own-pid'), '-p', c.workspace.path('pid'), '-l', c.workspace.path('log')];
  await run(
    c,
    [...names, ...files, '-si', '-T', '60', '--sync', '--exit-dir', exits, '--full-attach'],
    c.workspace.dir,
  );
  const paths = ['--bundle', bundle, '--pid-file', c.workspace.path('pid')];
  c.t.strictSame(await argv(c), [runtime, '--systemd-cgroup', 'create', ...paths, CID]);
  c.t.equal(readFileSync(`${persist}/exit`, 'latin1'), '5');
  c.t.equal(readFileSync(`${exits}/${CID}`, 'latin1'), '5');
  c.t.ok(existsSync(c.workspace.path('log')));
});

promise('--pidfile and --restore-arg are old names of --container-pidfile and --runtime-opt', {}, async (c) => {
  const runtime = recorder(c);
  const args = [
    '--sync',
    '-c',
    CID,
    '-u',
    CID,
    '-r',
    runtime,
    '-l',
    'none',
    '--full-attach',
    '-b',
    c.workspace.directory('b'),
  ];
  await run(
    c,
    [...args, '--pidfile', c.workspace.path('old'), '--restore-arg', '--first', '--runtime-opt', '--second'],
    c.workspace.dir,
  );
  const got = await argv(c);
  c.t.equal(got[got.indexOf('--pid-file') + 1], c.workspace.path('old'));
  c.t.strictSame(got.slice(-3), ['--first', '--second', CID]);
});

promise(
  '--no-container-partial-message without journald is warned of, and the container runs',
  { excludes: { c: 'C 2.1.6 does not know the option; 2.2 does' } },
  async (c) => {
    const container = c.container({
      fake: ['container-exit 3'],
      args: ['--no-container-partial-message', '--log-level', 'warn'],
    });
    await container.created();
    c.t.equal(await container.exited(), 3);
    c.t.match(container.conmon.stderr, /--no-container-partial-message has no effect without journald log driver/);
  },
);

promise('--no-sync-log: the log is as complete as without', {}, async (c) => {
  const container = c.container({ fake: ['container echo a; echo b >&2; exit 3'], args: ['--no-sync-log'] });
  await container.created();
  c.t.equal(await container.exited(), 3);
  c.t.equal(`${container.log().stdout}${container.log().stderr}`, 'a\nb\n');
});

promise(
  '--create-timeout: a runtime that hangs is ended, with what it has started, and the caller hears of it',
  { excludes: { c: 'an option of ours' } },
  async (c) => {
    for (const [args, env] of [
      [['--create-timeout', '1'], {}],
      [[], { CONMON_CREATE_TIMEOUT: '1' }],
    ] as const) {
      const container = c.container({ fake: ['orphan sleep 1000', 'hang'], args, env, sync: true });
      const { json } = await container.failureMessage();
      c.t.equal(json['pid'], -1);
      c.t.match(json['message'], /did not create the container within 1 seconds/);
      c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
    }
  },
);

promise('a value may begin with a dash, a list grows, and the last scalar wins', {}, async (c) => {
  const container = c.container({
    fake: (self) => [`record ${self.path('got')}`, 'container-exit 0'],
    args: [
      '--runtime-arg',
      '--debug',
      '--runtime-arg=--log=/x',
      '-T',
      '1',
      '-T',
      '60',
      '--timeout=70',
      '--',
      '--no-such-option',
    ],
  });
  await container.created();
  const { argv: got } = await waitFor('the recording', () => readRecording(container.path('got')));
  c.t.strictSame(got.slice(1, 4), [`--root=${container.runtimeRoot}`, '--debug', '--log=/x']);
  c.t.equal(await container.exited(), 0);
});

promise('positional arguments are ignored, wherever they stand', {}, async (c) => {
  const runtime = recorder(c);
  writeFileSync(c.workspace.path('b', 'x'), '');
  const args = [
    '1',
    '--sync',
    'stray',
    '-c',
    CID,
    '-u',
    CID,
    '--api-version',
    '1',
    '-r',
    runtime,
    '-l',
    'none',
    '--full-attach',
    '-b',
  ];
  const conmon = await run(
    c,
    [...args, c.workspace.directory('b'), '-p', c.workspace.path('pid'), 'last'],
    c.workspace.dir,
  );
  c.t.match(conmon.unread, /^\{"data": \d+\}\n$/);
});
