/**
 * How a session starts: what the engines see of conmon until the container runs, and what the runtime is given.
 */
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { fdsOf, processInfo, statusField } from '../helpers/proc.ts';
import { type Recording, readRecording, realRuntimes } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const SIGPIPE_BIT = 1n << 12n;

/** A fake that records what it got, then makes a container which waits until `end` exists. */
const recorder = (container: Container) => [
  `record ${container.path('recording')}`,
  `container while [ ! -e ${container.path('end')} ]; do sleep 0.01; done; exit 3`,
];

function recordingOf(container: Container): Promise<Recording> {
  return waitFor('the recording', () => readRecording(container.path('recording')));
}

const touch = (path: string) => writeFileSync(path, '');

for (const style of ['crio', 'podman'] as const) {
  promise(`a container started as ${style} starts it runs to its end`, { runtimes: realRuntimes() }, async (c) => {
    const container = c.container({ style, script: 'echo hello; echo oops >&2; exit 7' });
    await container.run();
    c.t.equal(await container.finished(), 7, 'the exit file in the exit dir');
    c.t.equal(readFileSync(container.persistFile, 'latin1'), '7', 'the exit file in the persist dir');
    const log = container.log();
    c.t.equal(log.stdout.toString(), 'hello\n', 'stdout');
    c.t.equal(log.stderr.toString(), 'oops\n', 'stderr');
  });
}

promise('the pid comes in one write, under the key that the caller speaks', {}, async (c) => {
  for (const [style, key] of [
    ['crio', 'pid'],
    ['podman', 'data'],
  ] as const) {
    const container = c.container({ style, fake: ['container-exit 0'] });
    const message = await container.conmon.nextMessage();
    const pid = readFileSync(container.containerPidfile, 'latin1');
    c.t.equal(message.bytes.toString(), `{"${key}": ${pid}}\n`, `${style}: the message`);
    if (style === 'podman') {
      c.t.strictSame(container.conmon.packets.map(String), [`{"data": ${pid}}\n`], 'one packet, nothing else');
    }
    await container.exited();
    await container.conmon.syncClosed();
    c.t.equal(container.conmon.unread, '', `${style}: nothing follows`);
  }
});

promise('nothing is started before the caller says go on the start pipe', {}, async (c) => {
  const container = c.container({ fake: (self) => [`touch ${self.path('ran')}`, 'container-exit 0'], holdStart: true });
  const early = await Promise.race([container.conmon.started, sleep(300, 'waiting')]);
  c.t.equal(early, 'waiting', 'conmon waits');
  c.t.notOk(existsSync(container.path('ran')), 'the runtime does not run');
  c.t.notOk(existsSync(container.conmonPidfile), 'there is no conmon-pidfile');
  container.conmon.go();
  await container.created();
  c.t.equal(await container.exited(), 0);
});

promise('the end of the start pipe counts as go', {}, async (c) => {
  const container = c.container({ fake: ['container-exit 0'], holdStart: true });
  container.conmon.closeStartPipe();
  await container.created();
  c.t.equal(await container.exited(), 0);
});

promise(
  'the started process returns while the runtime is still creating, the daemon’s pid in its file',
  {},
  async (c) => {
    const container = c.container({ fake: (self) => [`wait-file ${self.path('go')}`, 'container-exit 0'] });
    await container.startedOk();
    const pid = Number(readFileSync(container.conmonPidfile, 'latin1'));
    c.t.not(pid, container.conmon.child.pid, 'not the pid of the process that was started');
    await waitFor('the daemon to lead a session', () => processInfo(pid)?.sid === pid);
    await within('stderr to be closed', container.conmon.stderrClosed);
    c.t.equal(container.conmon.stdout + container.conmon.stderr, '', 'it says nothing');
    // Ours has its attach socket for stdin.
    const stdin = c.monitor.name === 'ours' ? /^socket:/ : /^\/dev\/null$/;
    await waitFor('the daemon to leave our streams', () => stdin.test(fdsOf(pid).get(0) ?? ''));
    for (const fd of [1, 2]) {
      c.t.equal(fdsOf(pid).get(fd), '/dev/null', `the daemon's fd ${fd}`);
    }
    touch(container.path('go'));
    await container.created();
    await container.exited();
  },
);

promise('the runtime gets its command line in the order of the contract', {}, async (c) => {
  const args = [
    '-s',
    '--no-pivot',
    '--no-new-keyring',
    '--runtime-opt',
    '--lsm-profile=x',
    '--runtime-opt',
    '--preserve-fds',
  ];
  const container = c.container({ fake: recorder, args: [...args, '--runtime-arg', '--log', '--runtime-arg', '/x y'] });
  await container.created();
  const { argv } = await recordingOf(container);
  const globals = ['--systemd-cgroup', `--root=${container.runtimeRoot}`, '--log', '/x y'];
  const paths = ['--bundle', container.bundle, '--pid-file', container.containerPidfile];
  const options = ['--no-pivot', '--no-new-keyring', '--lsm-profile=x', '--preserve-fds'];
  c.t.strictSame(argv, [container.runtimePath, ...globals, 'create', ...paths, ...options, container.cid]);
  touch(container.path('end'));
  await container.exited();
});

promise(
  'the runtime gets the caller’s environment, directory, pipes for streams and a parent it dies with',
  {},
  async (c) => {
    const container = c.container({ fake: recorder, env: { MARK: 'a b', EMPTY: '' } });
    await container.created();
    const recording = await recordingOf(container);
    c.t.strictSame(
      [...recording.environment].sort(),
      [
        'CRI_O_EXTERNAL=true',
        'EMPTY=',
        'MARK=a b',
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        '_OCI_STARTPIPE=4',
        '_OCI_SYNCPIPE=3',
      ],
      'the environment',
    );
    c.t.equal(recording.cwd, container.bundle, 'the directory');
    c.t.equal(recording.ppid, container.daemonPid, 'its parent is conmon');
    c.t.equal(recording.pdeathsig, 9, 'PDEATHSIG is SIGKILL');
    c.t.equal(statusField(recording.status, 'SigBlk'), '0000000000000000', 'no signal is blocked');
    c.t.strictSame([...recording.fds.keys()].sort(), [0, 1, 2], 'fds 0 to 2 and no other');
    c.t.equal(recording.fds.get(0)?.target, '/dev/null', 'stdin');
    c.t.match(recording.fds.get(1)?.target, /^pipe:/, 'stdout');
    c.t.match(recording.fds.get(2)?.target, /^pipe:/, 'stderr');
    c.t.not(recording.fds.get(1)?.target, recording.fds.get(2)?.target, 'stdout and stderr are two pipes');
    c.t.equal(recording.oomScoreAdj, Number(readFileSync('/proc/self/oom_score_adj', 'latin1')), 'oom_score_adj');
    touch(container.path('end'));
    await container.exited();
  },
);

promise(
  'the container’s pipes have mode 0777, so that a container of another user can open /dev/stdout',
  { differs: { c: 'C 2.1.6 changes the mode of terminals only; 2.2.1 does it for pipes' } },
  async (c) => {
    const container = c.container({ fake: recorder, args: ['-i'] });
    await container.created();
    const { fds } = await recordingOf(container);
    const modes = [0, 1, 2].map((fd) => ((fds.get(fd)?.mode ?? 0) & 0o777).toString(8));
    c.t.strictSame(modes, c.differs === undefined ? ['777', '777', '777'] : ['600', '600', '600']);
    touch(container.path('end'));
    await container.exited();
  },
);

promise(
  'a container of another user writes to /dev/stdout and /dev/stderr',
  {
    runtimes: ['runc', 'crun'],
  },
  async (c) => {
    const args = ['/bin/sh', '-c', 'echo out >/dev/stdout; echo err >/dev/stderr'];
    const container = c.container({ process: { args, uid: 1234, gid: 1234 } });
    await container.run();
    c.t.equal(await container.finished(), 0);
    c.t.equal(container.log().stdout.toString(), 'out\n');
    c.t.equal(container.log().stderr.toString(), 'err\n');
  },
);

promise(
  'the daemon ignores SIGPIPE, and umask and session are its own',
  {
    differs: { c: 'C 2.1.6 keeps the caller’s umask; 2.2.1 sets 0022' },
  },
  async (c) => {
    const container = c.container({ fake: recorder, launch: ['--umask', '0077'] });
    await container.created();
    const status = readFileSync(`/proc/${container.daemonPid}/status`, 'latin1');
    c.t.ok(BigInt(`0x${statusField(status, 'SigIgn')}`) & SIGPIPE_BIT, 'SIGPIPE is ignored');
    c.t.equal(statusField(status, 'Umask'), c.differs === undefined ? '0022' : '0077', 'umask');
    touch(container.path('end'));
    await container.exited();
  },
);

promise('--sync: no other process takes over, and it ends with the container’s status', {}, async (c) => {
  for (const [verb, status] of [
    ['container-exit 0', 0],
    ['container-exit 42', 42],
    ['container-kill 9', 137],
    ['container-kill 15', 143],
  ] as const) {
    const container = c.container({ fake: [verb], sync: true });
    await container.created();
    c.t.equal(await container.exited(), status, `${verb}: exit file`);
    const ended = await within('conmon to end', container.conmon.started);
    c.t.strictSame(ended, { code: status, signal: null }, `${verb}: conmon's own status`);
  }
});

promise('conmon works through a symlink, by a relative path and from any directory', {}, async (c) => {
  const link = c.workspace.path('bin', 'monitor');
  symlinkSync(c.monitor.path, link);
  const relative = `${'../'.repeat(20)}${c.monitor.path.slice(1)}`;
  for (const [conmonPath, cwd] of [
    [link, '/'],
    [link, c.workspace.directory('bin')],
    ['./monitor', c.workspace.directory('bin')],
    [relative, c.workspace.directory('elsewhere')],
  ] as const) {
    const container = c.container({ fake: ['container-exit 5'], conmonPath, cwd });
    await container.created();
    c.t.equal(await container.exited(), 5, `${conmonPath} from ${cwd}`);
  }
});

promise(
  'without -i a container reads the end of its stdin at once; with -i it waits',
  { runtimes: realRuntimes() },
  async (c) => {
    for (const [args, expected] of [
      [[], '0\n'],
      [['-i'], '143\n'],
      [['--leave-stdin-open', '-i'], '143\n'],
    ] as const) {
      // A shell gives what it runs in the background /dev/null for stdin, hence fd 3.
      const script = 'exec 3<&0; cat <&3 & pid=$!; (sleep 0.3; kill $pid 2>&-) & wait $pid; echo $?';
      const container = c.container({ script, args });
      await container.run();
      c.t.equal(await container.finished(), 0);
      c.t.equal(container.log().stdout.toString(), expected, args.join(' '));
    }
  },
);
