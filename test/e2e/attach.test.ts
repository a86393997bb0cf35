/**
 * Attach clients of real containers: what they get of the output, and what becomes of their input.
 */
import { createHash, randomInt } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { acceptedClients, attach, attachEarly, go, shellContainer } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import { seededRandom } from '../helpers/random.ts';
import type { RuntimeName } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const MIB = 1 << 20;
const REAL: readonly RuntimeName[] = ['runc', 'crun'];
const STDOUT = 2;
const STDERR = 3;

promise(
  'clients that come before the start get everything: stdout as type 2, stderr as type 3, in packets of at most 8193 bytes',
  { runtimes: REAL },
  async (c) => {
    for (const style of ['crio', 'podman'] as const) {
      const script = 'echo out; sleep 0.1; echo err >&2; sleep 0.1; yes 0123456789 | head -c 300000; exit 3';
      const container = c.container({ style, script });
      await container.created();
      const clients = [await attachEarly(c, container), await attachEarly(c, container)];
      await container.start();
      c.t.equal(await container.finished(), 3, `${style}: status`);
      const flood = '0123456789\n'.repeat(30_000).slice(0, 300_000);
      for (const client of clients) {
        await client.waitForEnd();
        c.t.equal(client.output(STDERR).toString(), 'err\n', `${style}: stderr`);
        c.t.equal(client.output(STDOUT).toString() === `out\n${flood}`, true, `${style}: stdout`);
        c.t.ok(client.longestPacket <= 8193, `${style}: ${client.longestPacket} bytes in the longest packet`);
        c.t.match(client.text.slice(0, 20), /^out\nerr\n/, `${style}: in order`);
      }
      c.t.equal(container.log().stdout.toString() === `out\n${flood}`, true, `${style}: the log has it too`);
    }
  },
);

promise('a client that comes later gets what comes from then on', {}, async (c) => {
  const container = shellContainer(c, 'echo one; while [ ! -e second ]; do sleep 0.01; done; echo two');
  await container.created();
  const first = await attachEarly(c, container);
  go(container);
  await first.waitForText('one\n');
  const second = await attach(c, container);
  // Accepted: what it says reaches the container's side.
  await waitFor('the second client to be accepted', () => acceptedClients(container) === 2);
  writeFileSync(container.path('second'), '');
  await container.finished();
  await Promise.all([first.waitForEnd(), second.waitForEnd()]);
  c.t.equal(first.text, 'one\ntwo\n');
  c.t.equal(second.text, 'two\n');
});

promise('a client that is there before a container which ends at once loses nothing', { runtimes: REAL }, async (c) => {
  for (let i = 0; i < 3; i++) {
    const container = c.container({ script: 'echo out; echo err >&2', style: i % 2 === 0 ? 'crio' : 'podman' });
    await container.created();
    const client = await attachEarly(c, container);
    await container.start();
    await container.exited();
    await client.waitForEnd();
    c.t.equal(client.output(STDOUT).toString(), 'out\n', `round ${i}`);
    c.t.equal(client.output(STDERR).toString(), 'err\n', `round ${i}`);
  }
});

promise(
  'nor does one that comes while the runtime is at work',
  { excludes: { ours: 'main notices it too late while it loads its threads' } },
  async (c) => {
    for (let i = 0; i < 10; i++) {
      const container = c.container({
        fake: (self) => [`touch ${self.path('at work')}`, `wait-file ${self.path('go')}`, 'container echo quick'],
        ...(i % 2 === 0 ? {} : { logPaths: ['none'] }),
      });
      await waitFor('the runtime', () => existsSync(container.path('at work')));
      const client = await attach(c, container);
      go(container);
      await container.created();
      await container.exited();
      await client.waitForEnd();
      c.t.equal(client.text, 'quick\n', `round ${i}`);
    }
  },
);

promise('without a log a client gets the output all the same', { runtimes: REAL }, async (c) => {
  for (const driver of ['none', 'off', 'null']) {
    const container = c.container({
      script: 'echo out; echo err >&2; cat; exit 4',
      args: ['-i'],
      logPaths: [driver],
    });
    await container.run();
    const client = await attach(c, container);
    await client.send('input\n');
    await client.waitForText('input\n');
    client.endInput();
    c.t.equal(await container.finished(), 4, driver);
    await client.waitForEnd();
    // Of the other stream's line nobody can say whether it comes before.
    c.t.match(client.output(STDOUT).toString(), /input\n$/, driver);
  }
});

promise('without a log, a client that leaves and one that comes back', {}, async (c) => {
  const script = 'while read -r line; do echo "got $line"; done; yes x | head -c 3000000; exit 5';
  const container = shellContainer(c, script, ['-i', '--leave-stdin-open'], { logPaths: ['none'] });
  await container.created();
  go(container);
  for (let visit = 0; visit < 5; visit++) {
    const client = await attach(c, container);
    await client.send(`visit ${visit}\n`);
    await client.waitForText(`got visit ${visit}\n`);
    client.close();
  }
  process.kill(container.containerPid, 'SIGKILL');
  c.t.equal(await container.finished(), 137);
});

promise(
  'input reaches the container, a half-closed client ends it with -i and gets the rest of the output',
  { runtimes: REAL },
  async (c) => {
    const container = c.container({ script: 'cat; echo that was all; sleep 0.1; echo bye', args: ['-i'] });
    await container.run();
    const client = await attach(c, container);
    await client.send('hello ');
    await client.send('container\n');
    await client.waitForText('hello container\n');
    client.endInput();
    c.t.equal(await container.finished(), 0);
    await client.waitForEnd();
    c.t.equal(client.text, 'hello container\nthat was all\nbye\n');
  },
);

promise('a client that leaves ends the container’s input with -i', {}, async (c) => {
  const container = shellContainer(c, 'cat >got', ['-i']);
  await container.created();
  const [client, other] = [await attach(c, container), await attach(c, container)];
  go(container);
  await client.send('last words');
  client.close();
  c.t.equal(await container.finished(), 0);
  await other.waitForEnd();
  c.t.equal(readFileSync(container.path('got'), 'utf8'), 'last words');
});

promise('with --leave-stdin-open the input outlives its clients', {}, async (c) => {
  const script = 'head -c 6 >one; head -c 6 >two; echo enough';
  const container = shellContainer(c, script, ['-i', '--leave-stdin-open']);
  await container.created();
  go(container);
  const first = await attach(c, container);
  await first.send('first,');
  first.endInput();
  const second = await attach(c, container);
  await waitFor('the first client’s input', () => existsSync(container.path('two')));
  second.close();
  const third = await attach(c, container);
  await third.send('third,');
  c.t.equal(await container.finished(), 0);
  await Promise.all([first.waitForEnd(), third.waitForEnd()]);
  c.t.equal(third.text, 'enough\n');
  c.t.equal(first.text, 'enough\n', 'whose input has ended');
  c.t.equal(readFileSync(container.path('one'), 'utf8'), 'first,');
  c.t.equal(readFileSync(container.path('two'), 'utf8'), 'third,');
});

promise('without -i there is no input, and a client that sends some harms nobody', {}, async (c) => {
  const container = shellContainer(c, 'cat; echo end of input');
  await container.created();
  const client = await attachEarly(c, container);
  await client.send('nobody reads this');
  go(container);
  c.t.equal(await container.finished(), 0);
  await client.waitForEnd();
  c.t.equal(client.text, 'end of input\n');
});

promise('input that comes before the container exists reaches it', {}, async (c) => {
  const container = c.container({
    fake: (self) => [`wait-file ${self.path('go')}`, `container cat >${self.path('got')}`],
    args: ['-i'],
  });
  const client = await attach(c, container);
  await client.send('early ');
  await client.send('bird');
  client.endInput();
  go(container);
  await container.created();
  c.t.equal(await container.finished(), 0);
  c.t.equal(readFileSync(container.path('got'), 'utf8'), 'early bird');
});

promise('what a client has sent is not lost when it leaves with output unread', {}, async (c) => {
  const container = shellContainer(c, 'yes output | head -c 100000; cat >got', ['-i']);
  await container.created();
  const client = await attach(c, container, { paused: true });
  go(container);
  await waitFor('output', () => client.readable);
  for (const text of ['one ', 'two ', 'three']) await client.send(text);
  client.close();
  c.t.equal(await container.finished(), 0);
  c.t.equal(readFileSync(container.path('got'), 'utf8'), 'one two three');
});

promise(
  'a client that still sends at the container’s end gets the last output, and no reset before it',
  { differs: { c: 'C closes the socket with input unread: a reset, which engines take for the end' } },
  async (c) => {
    const container = shellContainer(c, 'head -c 10 >got; yes last | head -c 100000', ['-i', '--leave-stdin-open']);
    await container.created();
    const client = await attach(c, container, { paused: true });
    go(container);
    const bytes = Buffer.alloc(4 * MIB, 'x');
    const sending = client.send(bytes);
    await container.exited();
    client.read();
    await client.waitForEnd();
    await within('the sender to give up', sending);
    if (c.differs === undefined) c.t.equal(client.reset, false);
    if (!client.reset) c.t.equal(client.output().length, 100_000);
    await container.ended();
  },
);

promise('10 MB of input reach a slow reader whole', { runtimes: ['runc'], timeoutMs: 60_000 }, async (c) => {
  const random = seededRandom(SEED);
  const bytes = Buffer.alloc(10_000_000);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(random.below(2 ** 32), i % (bytes.length - 3));
  const got = c.workspace.path('got');
  const slowly = `i=0; while [ $i -lt 20 ]; do dd bs=100000 count=1 iflag=fullblock >>${got}; sleep 0.01; i=$((i+1)); done; cat >>${got}`;
  const container = c.container({ script: slowly, args: ['-i'] });
  await container.run();
  const client = await attach(c, container);
  c.t.equal(await client.send(bytes), true);
  client.close();
  c.t.equal(await container.finished(), 0);
  const sha = (data: Buffer) => createHash('sha256').update(data).digest('hex');
  c.t.equal(sha(readFileSync(got)), sha(bytes), `seed ${SEED}`);
});
