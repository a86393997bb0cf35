/** The status pipe, and what the caller sees of the launcher afterwards: its exit status, its streams, its fds. */
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { fdsOf, isRunning } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { promise } from './harness.ts';

promise('R: the launcher ends with 0 at once and Node lives on', async (t, it) => {
  const path = it.file('dump');
  const started = it.start({ args: [`do:dump=${path}`, 'do:ready', 'do:hang'] });
  t.equal(await started.exit(), 0);
  t.ok(isRunning((await it.dump(path)).number('pid')));
});

promise('S: the launcher stays and ends as Node ends', async (t, it) => {
  for (const status of [0, 1, 77, 255]) {
    t.equal((await it.run({ args: ['do:stay', `do:exit=${status}`] })).status, status);
  }
  for (const signal of [1, 6, 9, 15, 64]) {
    t.match(await it.run({ args: ['do:stay', `do:kill=${signal}`] }), { status: 128 + signal, stderr: '' });
  }
});

promise('no byte: the launcher ends with the status of Node', async (t, it) => {
  for (const status of [0, 1, 77, 255]) {
    t.match(await it.run({ args: [`do:exit=${status}`] }), { status, stderr: '' });
    t.match(await it.run({ args: ['do:shut', `do:exit=${status}`] }), { status, stderr: '' });
  }
});

promise('no byte and killed: status 1 and a message', async (t, it) => {
  for (const signal of [6, 9, 11]) {
    const outcome = await it.run({ args: [`do:kill=${signal}`] });
    t.equal(outcome.status, 1);
    t.equal(outcome.stderr, `[conmon:e]: ${it.node} was ended by signal ${signal} before it was ready\n`);
  }
});

promise('an unknown byte is an error and ends Node', async (t, it) => {
  for (const byte of [0, 10, 83 + 32, 255]) {
    const path = it.file('dump');
    const outcome = await it.run({ args: [`do:dump=${path}`, `do:byte=${byte}`, 'do:hang'] });
    const hex = byte.toString(16).padStart(2, '0');
    t.match(outcome, { status: 1, stderr: `[conmon:e]: Unknown byte 0x${hex} on the status pipe\n` });
    t.notOk(isRunning((await it.dump(path)).number('pid')));
  }
});

promise('the launcher that stays holds nothing open', async (t, it) => {
  for (const more of [[], ['deny=close_range:38']]) {
    const path = it.file('dump');
    const caller = [...[3, 4, 9, 30, 40].map((fd) => `null=${fd}`), 'nofile=64', ...more];
    const started = it.start({ caller, args: ['do:stay', `do:dump=${path}`, 'do:streams', 'do:hang'] });
    await it.dump(path);
    await waitFor('the launcher to close its fds', () => fdsOf(started.pid).size === 0);
    t.ok(isRunning(started.pid), `${more}`);
    started.child.kill('SIGTERM');
    t.equal(await started.exit(), 143);
  }
});

promise('the caller sees EOF on its streams and pipes while the launcher stays', async (t, it) => {
  const started = it.start({ stdio: ['pipe', 'pipe', 'pipe', 'pipe'], args: ['do:stay', 'do:streams', 'do:hang'] });
  const ends = [started.child.stdout, started.child.stderr].map(
    (stream) => new Promise((resolve) => stream?.once('end', resolve)),
  );
  await Promise.all(ends);
  t.ok(isRunning(started.pid));
  started.child.kill('SIGTERM');
  t.equal(await started.exit(), 143);
});

promise('Node missing, not executable or not a program: a message with the path, status 1', async (t, it) => {
  const cases = [
    ['Permission denied', () => chmodSync(it.node, 0o644)],
    ['No such file or directory', () => rmSync(it.node)],
    [
      'Exec format error',
      () => {
        writeFileSync(it.node, '\0');
        chmodSync(it.node, 0o755);
      },
    ],
  ] as const;
  for (const [reason, prepare] of cases) {
    prepare();
    const stderr = `[conmon:e]: Failed to execute ${it.node}: ${reason}\n`;
    t.match(await it.run(), { status: 1, stdout: '', stderr });
  }
});

promise('fork fails: a message, status 1', async (t, it) => {
  const dump = it.file('dump');
  const outcome = await it.run({ caller: ['deny=clone:11', 'deny=fork:11'], args: [`do:dump=${dump}`] });
  t.match(outcome, { status: 1, stderr: '[conmon:e]: Failed to fork: Resource temporarily unavailable\n' });
  t.notOk(existsSync(dump));
});

promise(
  'no fd left: a message, status 1',
  async (t, it) => {
    const outcome = await it.run({ caller: ['null=3', 'nofile=4'] });
    t.equal(outcome.status, 1);
    t.match(outcome.stderr, /^\[conmon:e\]: Failed to create .*: Too many open files\n$/);
  },
  ['static'],
);

promise('a message survives closed streams and a reader that is gone', async (t, it) => {
  rmSync(it.node);
  t.equal((await it.run({ caller: ['close=0', 'close=1', 'close=2'] })).status, 1);
});
