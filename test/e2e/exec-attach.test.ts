/**
 * Execs that somebody attaches to (--exec-attach), as Podman runs them: two goes on the start pipe, a word on the attach
 * pipe between them, so that the client misses nothing.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachClient } from '../helpers/attach-client.ts';
import { type Case, promise } from '../helpers/case.ts';
import { type Exec, endContainer, idleContainer, noContainer } from '../helpers/exec.ts';
import { fdsOf } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

/** Waits for the word on the attach pipe, attaches, then gives the second go. */
async function attachTo(c: Case, exec: Exec): Promise<AttachClient> {
  await waitFor('the word on the attach pipe', () => exec.conmon.attachPipe.includes('\n'));
  c.t.equal(exec.conmon.attachPipe, '{"data": 0}\n', 'the word on the attach pipe');
  const client = await AttachClient.connect(`${exec.bundle}/attach`);
  c.workspace.defer(() => client.close());
  exec.conmon.go();
  return client;
}

promise('the runtime is not executed before the second go', {}, async (c) => {
  const exec = c.exec(noContainer(c), {
    style: 'podman',
    attach: true,
    holdStart: true,
    fake: (self) => [`touch ${self.path('ran')}`, 'container-exit 5'],
  });
  await sleep(100);
  c.t.equal(exec.conmon.attachPipe, '', 'nothing before the first go');
  c.t.notOk(existsSync(`${exec.bundle}/attach`), 'no socket before the first go');
  exec.conmon.go();
  await waitFor('the word on the attach pipe', () => exec.conmon.attachPipe.includes('\n'));
  c.t.ok(existsSync(`${exec.bundle}/attach`), 'the socket is there');
  await sleep(200);
  c.t.notOk(existsSync(exec.path('ran')), 'the runtime does not run');
  c.t.equal(exec.conmon.unread, '', 'nothing on the sync pipe');
  exec.conmon.go();
  c.t.match(await exec.everything(), /^\{"data": \d+\}\n\{"data": 5\}\n$/);
  await exec.daemonGone();
});

promise('the end of the start pipe counts as the second go', {}, async (c) => {
  const exec = c.exec(noContainer(c), { style: 'podman', attach: true, fake: ['container-exit 6'] });
  await waitFor('the word on the attach pipe', () => exec.conmon.attachPipe.includes('\n'));
  exec.conmon.closeStartPipe();
  c.t.match(await exec.everything(), /^\{"data": \d+\}\n\{"data": 6\}\n$/);
  await exec.daemonGone();
});

promise(
  'a client that attached between the goes gets everything, however fast the command is',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = await idleContainer(c);
    for (let round = 0; round < 20; round++) {
      const exec = c.exec(container, {
        style: 'podman',
        attach: true,
        command: `echo out ${round}; echo err >&2; exit 3`,
      });
      const client = await attachTo(c, exec);
      await client.waitForEnd();
      c.t.equal(client.output(2).toString(), `out ${round}\n`, 'stdout');
      c.t.equal(client.output(3).toString(), 'err\n', 'stderr');
      c.t.match(await exec.everything(), /^\{"data": \d+\}\n\{"data": 3\}\n$/);
      await exec.daemonGone();
    }
    await endContainer(container);
  },
);

promise('an attached exec with -i gets the client’s input and its end', { runtimes: ['runc', 'crun'] }, async (c) => {
  const container = await idleContainer(c);
  const exec = c.exec(container, { style: 'podman', attach: true, args: ['-i'], command: 'tr a-z A-Z; echo over' });
  const client = await attachTo(c, exec);
  await client.send('hello\nthere');
  client.endInput();
  await client.waitForEnd();
  c.t.equal(client.output(2).toString(), 'HELLO\nTHEREover\n');
  await exec.everything();
  await exec.daemonGone();
  await endContainer(container);
});

promise(
  'an attached exec with -t is on a terminal that echoes and obeys',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = await idleContainer(c);
    const exec = c.exec(container, {
      style: 'podman',
      attach: true,
      terminal: true,
      args: ['-i'],
      command: 'echo ready; read x; echo "got $x"; sleep 1000',
    });
    const client = await attachTo(c, exec);
    await client.waitForText('ready\r\n');
    await client.send('word\n');
    await client.waitForText('word\r\ngot word\r\n');
    await client.send('\x03');
    await client.waitForEnd();
    c.t.match(await exec.everything(), /^\{"data": \d+\}\n\{"data": 130\}\n$/, 'Ctrl-C');
    await exec.daemonGone();
    await endContainer(container);
  },
);

promise(
  'a runtime that fails is told to an attached caller too',
  { excludes: { c: 'C 2.1.6 says nothing when the runtime left nothing on stderr; 2.2.1 does' } },
  async (c) => {
    const exec = c.exec(noContainer(c), { style: 'podman', attach: true, fake: ['exit 1'] });
    const client = await attachTo(c, exec);
    await exec.everything();
    c.t.match(exec.conmon.packets.map(String).join(''), /^\{"data": -1, "message": "[^"]+"\}\n$/);
    await client.waitForEnd();
    await exec.daemonGone();
  },
);

promise('a caller that closes all its pipes between the goes leaves nothing behind', {}, async (c) => {
  const exec = c.exec(noContainer(c), { style: 'podman', attach: true, fake: ['container-exit 0'] });
  await waitFor('the word on the attach pipe', () => exec.conmon.attachPipe.includes('\n'));
  exec.conmon.release();
  await exec.daemonGone();
  c.t.pass('conmon has ended');
});

promise('neither attach, start nor sync pipe reaches the exec’s process', { runtimes: ['runc', 'crun'] }, async (c) => {
  const container = await idleContainer(c);
  const exec = c.exec(container, {
    style: 'podman',
    attach: true,
    command: ['/bin/sh', '-c', 'echo go; exec sleep 1000'],
  });
  const client = await attachTo(c, exec);
  await client.waitForText('go\n');
  const pid = await exec.number();
  c.t.strictSame([...fdsOf(pid).keys()].sort(), [0, 1, 2], 'its fds');
  process.kill(pid, 'SIGKILL');
  c.t.equal(await exec.number(), 137);
  await exec.daemonGone();
  await endContainer(container);
});
