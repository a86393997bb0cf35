/**
 * Attach clients in numbers: much output to many, clients that come, go and die in every way, packets of any content. Nobody
 * loses a byte, and conmon keeps neither fds nor memory of them.
 */
import { createHash, randomInt } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { acceptedClients, attach, clientsAccepted, go, settled, shellContainer } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { fdsOf } from '../helpers/proc.ts';
import { seededRandom } from '../helpers/random.ts';
import { waitFor } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const MIB = 1 << 20;
const STDOUT = 2;
const STDERR = 3;

/** Without files' pages: those of Node's are private or not as other daemons come and go beside this test, and dirty when just installed. */
function privateKiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  return Number(/^Anonymous: +(\d+)/m.exec(text)?.[1]);
}

function threadsOf(container: Container): number {
  return readdirSync(`/proc/${container.daemonPid}/task`).length;
}

for (const clients of [1, 20]) {
  promise(
    `100 MB of output have the same hash for ${clients === 1 ? 'one client' : `each of ${clients} clients`}, seed ${SEED}`,
    { runtimes: ['runc'], timeoutMs: 200_000 },
    async (c) => {
      const random = seededRandom(SEED);
      const block = Buffer.alloc(MIB);
      for (let at = 0; at + 4 <= MIB; at += 4) block.writeUInt32LE(random.below(2 ** 32), at);
      const path = c.workspace.path('block');
      writeFileSync(path, block);
      const container = c.container({
        script: `i=0; while [ $i -lt 100 ]; do cat ${path} || exit 9; echo $i >&2; i=$((i+1)); done`,
        logPaths: ['none'],
      });
      await container.created();
      const hashes = await Promise.all(
        Array.from({ length: clients }, async () => {
          const hash = { [STDOUT]: createHash('sha256'), [STDERR]: createHash('sha256') };
          const client = await attach(c, container, {
            onPayload: (type, payload) => hash[type as typeof STDOUT].update(payload),
          });
          return { client, hash };
        }),
      );
      await clientsAccepted(container, clients);
      await container.start();
      c.t.equal(await container.exited(150_000), 0);
      const wanted = createHash('sha256');
      for (let i = 0; i < 100; i++) wanted.update(block);
      const out = wanted.digest('hex');
      const err = createHash('sha256')
        .update(Array.from({ length: 100 }, (_, i) => `${i}\n`).join(''))
        .digest('hex');
      for (const { client, hash } of hashes) {
        await client.waitForEnd(60_000);
        c.t.equal(hash[STDOUT].digest('hex'), out);
        c.t.equal(hash[STDERR].digest('hex'), err);
        c.t.strictSame([...client.types].sort(), [STDOUT, STDERR]);
      }
      await container.ended();
    },
  );
}

promise(
  `500 clients that leave in every way leave no fd and no memory; later the worker leaves too, and comes again, seed ${SEED}`,
  {
    excludes: { c: 'C keeps the socket of a client that has left until its next write to it fails' },
    timeoutMs: 120_000,
  },
  async (c) => {
    const script = 'exec 3<&0; cat >input <&3 & while :; do sleep 0.01; [ -e quiet ] || echo x; done';
    const container = shellContainer(c, script, ['-i', '--leave-stdin-open']);
    await container.created();
    // A thread that has just been started opens its event loop's fds a little later.
    const fdsBefore = await settled('the fds', () => fdsOf(container.daemonPid).size);
    const threads = threadsOf(container);
    go(container);
    const random = seededRandom(SEED);
    const visit = async (): Promise<void> => {
      const client = await attach(c, container, { paused: random.below(2) === 0 });
      if (random.below(3) === 0) await client.send('hello');
      if (random.below(4) === 0) client.sendWithFd('fd');
      if (random.below(4) === 0) client.refuseOutput();
      if (random.below(4) === 0) client.endInput();
      if (random.below(5) === 0) await client.send(Buffer.alloc(20_000, 'x'));
      if (random.below(5) === 0)
        await waitFor('output', () => client.packets > 0 || client.readable, { timeoutMs: 300 }).catch(() => {});
      client.close(); // with output unread it is a reset
    };
    // Compiled code and V8's young generation grow for the first thousand, and then no more (33.5 MiB after 1500 as after 3000).
    for (let i = 0; i < 1000; i++) await visit();
    await waitFor('them to be gone', () => acceptedClients(container) === 0);
    const [before, memoryKiB] = [fdsOf(container.daemonPid).size, privateKiB(container.daemonPid)];
    for (let i = 0; i < 500; i++) await visit();
    await waitFor('the 500 to be gone', () => acceptedClients(container) === 0);
    await waitFor('the fds to be closed', () => fdsOf(container.daemonPid).size <= before);
    const grownKiB = privateKiB(container.daemonPid) - memoryKiB;
    c.t.ok(grownKiB < 2048, `${grownKiB} KiB more after 500 clients`);

    writeFileSync(container.path('quiet'), '');
    await waitFor('the worker to leave', () => threadsOf(container) === threads, { timeoutMs: 60_000 });
    await waitFor('its fds to be closed', () => fdsOf(container.daemonPid).size <= fdsBefore);
    c.t.pass('the worker has left');
    const late = await attach(c, container);
    await late.send('late');
    await waitFor(
      'the input',
      () => existsSync(container.path('input')) && readFileSync(container.path('input')).includes('late'),
    );
    process.kill(container.containerPid, 'SIGTERM');
    await container.exited();
    await late.waitForEnd();
    await container.ended();
  },
);

promise(
  `10000 random packets do no harm: stdin gets them in order, conmon is as it was, seed ${SEED}`,
  {
    excludes: { c: 'C holds what the container does not take for each client, and its order is another' },
    timeoutMs: 120_000,
  },
  async (c) => {
    const container = shellContainer(c, 'cat >input; exit 5', ['-i']);
    await container.created();
    go(container);
    const random = seededRandom(SEED);
    const client = await attach(c, container);
    await clientsAccepted(container, 1);
    const hash = createHash('sha256');
    let total = 0;
    const send = async (): Promise<void> => {
      const bytes = Buffer.alloc(1 + random.below(random.pick([1, 10, 100, 1000, 10_000, 32_767])));
      for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256);
      hash.update(bytes);
      total += bytes.length;
      await client.send(bytes);
    };
    for (let i = 0; i < 1000; i++) await send();
    const memoryKiB = privateKiB(container.daemonPid);
    const fds = fdsOf(container.daemonPid).size;
    for (let i = 0; i < 9000; i++) await send();
    const grownKiB = privateKiB(container.daemonPid) - memoryKiB;
    c.t.ok(grownKiB < 1024, `${grownKiB} KiB more`);
    c.t.equal(fdsOf(container.daemonPid).size, fds);
    client.endInput();
    c.t.equal(await container.finished(), 5);
    const input = readFileSync(container.path('input'));
    c.t.equal(input.length, total);
    c.t.equal(createHash('sha256').update(input).digest('hex'), hash.digest('hex'));
  },
);

promise(
  'while a client does not read: another still talks, ctl and reopen work, the timeout ends it all',
  { excludes: { c: 'C blocks in its write to a client that does not read, and everything waits for it' } },
  async (c) => {
    const container = shellContainer(c, 'exec 3<&0; cat >input <&3 & exec yes 0123456789', [
      '-i',
      '--leave-stdin-open',
      '--timeout',
      '8',
    ]);
    await container.created();
    const stuck = await attach(c, container, { paused: true });
    const other = await attach(c, container);
    await clientsAccepted(container, 2);
    go(container);
    await settled('the log', () => readFileSync(container.logPath).length);
    await other.send('still here');
    await waitFor(
      'the other’s input',
      () => existsSync(container.path('input')) && readFileSync(container.path('input'), 'latin1') === 'still here',
    );
    const third = await attach(c, container);
    await clientsAccepted(container, 3);
    third.close();
    await clientsAccepted(container, 2);
    writeFileSync(`${container.bundle}/ctl`, '2 0 0\n');
    await waitFor('the new log', () => readFileSync(container.logPath).length < 1000);
    c.t.equal(await container.exited(), -1, 'the timeout');
    stuck.close();
    await container.ended();
  },
);
