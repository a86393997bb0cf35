/**
 * The end of a container in the order of contract section 8: exit files, then the exit command, then conmon's own end.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { statusField } from '../helpers/proc.ts';
import { type Recording, readRecording, realRuntimes } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

/** An empty signal mask in /proc/PID/status. */
const NONE = '0000000000000000';

/** An exit command that keeps what it found: its own facts and the exit files as they were then. */
const witness = (self: Container) => [
  `copy ${self.exitFile} ${self.path('exit-seen')}`,
  `copy ${self.persistFile} ${self.path('persist-seen')}`,
  `record ${self.path('witnessed')}`,
];

function witnessed(container: Container): Promise<Recording> {
  return waitFor('the exit command', () => readRecording(container.path('witnessed')));
}

promise(
  'the exit command runs after both exit files and with its arguments',
  { runtimes: realRuntimes() },
  async (c) => {
    const args = ['container', 'cleanup', '--rm', '', 'a b', '-x=1'];
    const container = c.container({ style: 'podman', script: 'exit 3', exitCommand: { script: witness, args } });
    await container.run();
    c.t.equal(await container.exited(), 3);
    const { argv } = await witnessed(container);
    c.t.strictSame(argv, [container.path('exit-command'), ...args]);
    c.t.equal(readFileSync(container.path('exit-seen'), 'latin1'), '3', 'it saw the file in the exit dir');
    c.t.equal(readFileSync(container.path('persist-seen'), 'latin1'), '3', 'it saw the file in the persist dir');
    await container.ended();
  },
);

promise('the persist dir’s exit file comes first, and each replaces an old one in one step', {}, async (c) => {
  const go = c.workspace.path('go');
  const container = c.container({ fake: [`container while [ ! -e ${go} ]; do sleep 0.01; done; exit 12`] });
  await container.created();
  const paths = [container.persistFile, container.exitFile];
  for (const path of paths) {
    writeFileSync(path, 'old');
  }
  const fds = paths.map((path) => openSync(path, 'r'));
  writeFileSync(go, '');
  await waitFor('the new exit file', () => readFileSync(container.exitFile, 'latin1') !== 'old');
  for (const [index, path] of paths.entries()) {
    const fd = fds[index] ?? -1;
    const bytes = Buffer.alloc(16);
    c.t.equal(bytes.toString('latin1', 0, readSync(fd, bytes)), 'old', 'the old file was not written to');
    c.t.equal(fstatSync(fd).nlink, 0, 'a rename took its place');
    c.t.equal(readFileSync(path, 'latin1'), '12', 'the status, no newline');
    closeSync(fd);
  }
  const [persistNs, exitNs] = paths.map((path) => statSync(path, { bigint: true }).ctimeNs);
  c.t.ok((persistNs ?? 0n) <= (exitNs ?? -1n), 'the persist dir was first');
  c.t.strictSame(readdirSync(container.exitDir), [container.cid], 'no temporary file in the exit dir');
  c.t.strictSame(readdirSync(container.persistDir), ['exit'], 'none in the persist dir');
});

promise('--exit-delay: the exit files come at once, the exit command after the delay', {}, async (c) => {
  const container = c.container({
    fake: ['container-exit 0'],
    exitCommand: { script: witness },
    args: ['--exit-delay', '1'],
  });
  await container.created();
  await container.exited();
  c.t.notOk(existsSync(container.path('witnessed/done')), 'not yet');
  await witnessed(container);
  const delayMs = statSync(container.path('witnessed/done')).mtimeMs - statSync(container.exitFile).mtimeMs;
  c.t.ok(delayMs >= 990 && delayMs < 3000, `after ${delayMs.toFixed(0)} ms`);
});

promise(
  'the exit command gets the caller’s environment, no fd above 2, no blocked signal and the old oom score',
  { differs: { c: 'C leaves SIGCHLD and SIGUSR1 blocked in its exit command' } },
  async (c) => {
    const container = c.container({
      style: 'podman',
      fake: (self) => [`record ${self.path('runtime-got')}`, 'container-exit 0'],
      exitCommand: { script: witness },
      env: { EXTRA: 'x y' },
      launch: ['--open', '7', '/dev/null', '--open', '30', '/dev/null'],
    });
    await container.created();
    await container.exited();
    const got = await witnessed(container);
    const runtime = readRecording(container.path('runtime-got'));
    c.t.strictSame(got.environment.toSorted(), runtime?.environment.toSorted(), 'the same environment as the runtime');
    c.t.strictSame([...got.fds.keys()].toSorted(), [0, 1, 2], 'fds');
    c.t.equal(
      statusField(got.status, 'SigBlk'),
      c.differs === undefined ? NONE : '0000000000010200',
      'blocked signals',
    );
    c.t.equal(got.oomScoreAdj, Number(readFileSync('/proc/self/oom_score_adj', 'latin1')), 'oom_score_adj');
  },
);

promise(
  'the status of an exit command that fails becomes conmon’s own',
  {
    differs: { c: 'C means to, and its own status replaces it: the exit handler looks at the last child only' },
  },
  async (c) => {
    const container = c.container({ sync: true, fake: ['container-exit 3'], exitCommand: { script: ['exit 42'] } });
    await container.created();
    c.t.equal(await container.exited(), 3, 'the exit file has the container’s');
    const ended = await within('conmon to end', container.conmon.started);
    c.t.strictSame(ended, { code: c.differs === undefined ? 42 : 3, signal: null });
  },
);

promise('an exit command that succeeds leaves the container’s status', {}, async (c) => {
  const container = c.container({ sync: true, fake: ['container-exit 3'], exitCommand: { script: ['exit 0'] } });
  await container.created();
  const ended = await within('conmon to end', container.conmon.started);
  c.t.strictSame(ended, { code: 3, signal: null });
});

promise('the exit command runs after a failed create too', {}, async (c) => {
  const container = c.container({
    sync: true,
    fake: (self) => [`stderr ${errorText(self)}`, 'exit 1'],
    exitCommand: { script: witness, args: ['cleanup'] },
  });
  c.t.equal((await container.failureMessage()).json['pid'], -1);
  const { argv } = await witnessed(container);
  c.t.strictSame(argv.slice(1), ['cleanup']);
  const ended = await within('conmon to end', container.conmon.started);
  c.t.strictSame(ended, { code: 1, signal: null });
  c.t.notOk(existsSync(container.exitFile), 'there is no exit file');
});

function errorText(self: Container): string {
  const path = self.path('error-text');
  writeFileSync(path, 'no such thing\n');
  return path;
}

promise('the exit command runs after a timeout too', {}, async (c) => {
  const container = c.container({
    fake: ['container sleep 1000'],
    exitCommand: { script: witness },
    args: ['--timeout', '1'],
  });
  await container.created();
  await witnessed(container);
  c.t.equal(readFileSync(container.path('exit-seen'), 'latin1'), '-1');
});

promise(
  'an exit command that cannot be executed is a failure of conmon',
  {
    differs: { c: 'C loses the status of its exit command' },
  },
  async (c) => {
    const args = ['--exit-command', '/nonexistent'];
    const container = c.container({ sync: true, fake: ['container-exit 0'], args });
    await container.created();
    c.t.equal(await container.exited(), 0);
    const ended = await within('conmon to end', container.conmon.started);
    c.t.equal(ended.code === 0, c.differs !== undefined, `its status is ${ended.code}`);
  },
);

promise('conmon waits for its exit command', {}, async (c) => {
  const go = c.workspace.path('go');
  const container = c.container({
    fake: ['container-exit 0'],
    exitCommand: { script: (self) => [`touch ${self.path('begun')}`, `wait-file ${go}`] },
    sync: true,
  });
  await container.created();
  await waitFor('the exit command', () => existsSync(container.path('begun')));
  c.t.equal(container.conmon.child.exitCode, null, 'conmon is still there');
  writeFileSync(go, '');
  c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 0, signal: null });
});

promise('a missing exit dir: the persist dir has the status, conmon’s own status is 1', {}, async (c) => {
  const container = c.container({ sync: true, fake: ['container-exit 6'], args: ['--exit-dir', '/nonexistent/exits'] });
  await container.created();
  const ended = await within('conmon to end', container.conmon.started);
  c.t.strictSame(ended, { code: 1, signal: null });
  c.t.equal(readFileSync(container.persistFile, 'latin1'), '6');
});

promise('a missing persist dir: conmon’s own status is 1', {}, async (c) => {
  const container = c.container({ sync: true, fake: ['container-exit 6'], args: ['--persist-dir', '/nonexistent'] });
  await container.created();
  const ended = await within('conmon to end', container.conmon.started);
  c.t.strictSame(ended, { code: 1, signal: null });
});

promise('without exit and persist dir nothing is written and the status is the container’s', {}, async (c) => {
  const container = c.container({ sync: true, fake: ['container-exit 6'], withoutExitDirs: true });
  await container.created();
  const ended = await within('conmon to end', container.conmon.started);
  c.t.strictSame(ended, { code: 6, signal: null });
  c.t.strictSame([...readdirSync(container.exitDir), ...readdirSync(container.persistDir)], []);
});

promise('a bundle that is removed while the container runs does not keep the exit files back', {}, async (c) => {
  const go = c.workspace.path('go');
  const container = c.container({ fake: [`container while [ ! -e ${go} ]; do sleep 0.01; done; exit 2`] });
  await container.created();
  rmSync(container.bundle, { recursive: true });
  writeFileSync(go, '');
  c.t.equal(await container.exited(), 2);
});
