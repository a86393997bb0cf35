/**
 * The end of an exec session: exit files where they are asked for, then the status on the sync pipe, then the exit
 * command after its delay; and the signals that end it before.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { type Exec, endContainer, idleContainer, noContainer } from '../helpers/exec.ts';
import { isRunning } from '../helpers/proc.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

promise('an exec with exit and persist dir leaves its status in both before it says it', {}, async (c) => {
  const exec = c.exec(noContainer(c), { style: 'podman', fake: ['container-exit 12'] });
  await exec.number();
  c.t.equal(await exec.number(), 12);
  c.t.equal(readFileSync(exec.exitFile, 'latin1'), '12', 'in the exit dir, when the sync pipe says it');
  c.t.equal(readFileSync(`${exec.persistDir}/exit`, 'latin1'), '12', 'in the persist dir');
  await exec.daemonGone();
});

promise('an ExecSync leaves no exit file, no socket and no link', { runtimes: ['runc'] }, async (c) => {
  const container = await idleContainer(c);
  const before = readdirSync(c.workspace.dir).length;
  const exec = c.exec(container, { command: 'exit 0' });
  c.t.equal(await exec.number(), 0);
  await exec.ended();
  c.t.strictSame(
    [exec.exitDir, exec.persistDir, exec.socketDir].flatMap((dir) => readdirSync(dir)),
    [],
  );
  c.t.strictSame(readdirSync(exec.dir).sort(), ['exec-pid', 'exec.log', 'exits', 'persist', 'process.json', 'sock']);
  c.t.equal(readdirSync(c.workspace.dir).length, before + 1, 'nothing in the directory that it was started in');
  await endContainer(container);
});

promise(
  'an exec whose exit dir is missing says its status all the same',
  { differs: { c: 'C ends at the exit file that it cannot write, and says nothing' } },
  async (c) => {
    const exec = c.exec(noContainer(c), {
      style: 'podman',
      fake: ['container-exit 12'],
      args: ['--exit-dir', '/nonexistent/exits'],
    });
    const all = await exec.everything();
    c.t.equal(/\{"data": 12\}\n$/.test(all), c.differs === undefined, all);
    c.t.equal(readFileSync(`${exec.persistDir}/exit`, 'latin1'), '12');
    await exec.daemonGone();
  },
);

const witness = (exec: Exec) => [
  `copy ${exec.exitFile} ${exec.path('exit-seen')}`,
  `copy ${exec.persistDir}/exit ${exec.path('persist-seen')}`,
  `record ${exec.path('witnessed')}`,
];

promise('the exit command of an exec runs --exit-delay after its end, with the caller’s environment', {}, async (c) => {
  const exec = c.exec(noContainer(c), {
    style: 'podman',
    fake: (self) => [`record ${self.path('runtime-got')}`, 'container-exit 2'],
    exitCommand: witness,
    args: ['--exit-delay', '1', '--exit-command-arg', 'exec', '--exit-command-arg', '--rm'],
    env: { MARK: 'x y' },
  });
  await exec.number();
  c.t.equal(await exec.number(), 2, 'the status comes before it');
  c.t.notOk(existsSync(exec.path('witnessed/done')), 'it has not run yet');
  const got = await waitFor('the exit command', () => readRecording(exec.path('witnessed')));
  c.t.equal(readFileSync(exec.path('exit-seen'), 'latin1'), '2', 'it saw the exit file');
  c.t.equal(readFileSync(exec.path('persist-seen'), 'latin1'), '2', 'and the one in the persist dir');
  c.t.strictSame(got.argv, [exec.path('exit-command'), 'exec', '--rm']);
  c.t.ok(got.environment.includes('MARK=x y'));
  c.t.strictSame([...got.fds.keys()].sort(), [0, 1, 2], 'its fds');
  const delayMs = statSync(exec.path('witnessed/done')).mtimeMs - statSync(exec.exitFile).mtimeMs;
  c.t.ok(delayMs >= 990, `after ${delayMs.toFixed(0)} ms`);
  await exec.daemonGone();
});

promise('the sync pipe of an exec is closed before the exit delay, for the caller waits for its end', {}, async (c) => {
  const exec = c.exec(noContainer(c), {
    style: 'podman',
    fake: ['container-exit 2'],
    exitCommand: witness,
    args: ['--exit-delay', '2'],
  });
  c.t.match(await exec.everything(), /\{"data": 2\}\n$/);
  const closedMs = Date.now();
  await waitFor('the exit command', () => existsSync(exec.path('witnessed/done')));
  const laterMs = statSync(exec.path('witnessed/done')).mtimeMs - closedMs;
  c.t.ok(laterMs > 1000, `the exit command ran ${laterMs.toFixed(0)} ms later`);
  await exec.daemonGone();
});

promise('the exit command runs after an exec that never began', {}, async (c) => {
  const exec = c.exec(noContainer(c), { style: 'podman', fake: ['exit 1'], exitCommand: witness });
  await exec.everything();
  await waitFor('the exit command', () => existsSync(exec.path('witnessed/done')));
  c.t.notOk(existsSync(exec.path('exit-seen')), 'there is no exit file');
  await exec.daemonGone();
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const) {
  promise(
    `${signal} to an ExecSync’s conmon reaches its process, whose status is told`,
    { runtimes: ['runc', 'crun'] },
    async (c) => {
      const container = await idleContainer(c);
      const trap = `trap "echo got; exit 33" ${signal.slice(3)}; echo ready; while :; do sleep 0.02; done`;
      const exec = c.exec(container, { command: trap });
      await waitFor('the trap', () => readFileSync(exec.logPath, 'latin1').includes('F ready'));
      exec.conmon.child.kill(signal);
      c.t.equal(await exec.everything(), '{"exit_code": 33}\n');
      c.t.strictSame(await exec.ended(), { code: 33, signal: null });
      c.t.equal(exec.log().stdout.toString(), 'ready\ngot\n');
      c.t.ok(isRunning(container.containerPid), 'the container goes on');
      await endContainer(container);
    },
  );
}

promise('SIGKILL to a conmon that waits for its go leaves nothing', {}, async (c) => {
  const exec = c.exec(noContainer(c), { holdStart: true, fake: (self) => [`touch ${self.path('ran')}`] });
  await waitFor('conmon to be there', () => exec.conmon.child.pid !== undefined);
  exec.conmon.child.kill('SIGKILL');
  c.t.strictSame(await exec.ended(), { code: null, signal: 'SIGKILL' });
  c.t.equal(await exec.everything(), '');
  c.t.notOk(existsSync(exec.path('ran')));
});

promise('SIGKILL to an ExecSync’s conmon takes the runtime that is still at work with it', {}, async (c) => {
  const exec = c.exec(noContainer(c), { fake: (self) => [`touch ${self.path('runs')}`, 'hang'] });
  await waitFor('the runtime', () => existsSync(exec.path('runs')));
  exec.conmon.child.kill('SIGKILL');
  c.t.equal(await exec.everything(), '', 'nobody is left to say anything');
});
