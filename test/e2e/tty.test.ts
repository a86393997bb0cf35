/**
 * Terminals, from the client's keyboard to the container and back: echo, sizes, hang-ups, and runtimes that send no
 * terminal.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { isatty } from 'node:tty';
import {
  attach,
  attachEarly,
  clientsAccepted,
  go,
  settled,
  shellContainer,
  waitingBytes,
} from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { fdsOf, processInfo } from '../helpers/proc.ts';
import type { RuntimeName } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const REAL: readonly RuntimeName[] = ['runc', 'crun'];

function terminalContainer(script: string) {
  return { process: { args: ['/bin/sh', '-c', script], terminal: true }, ownTmpDir: true };
}

/** `ROWS COLUMNS` of the terminal that a process has as its stdin, as the kernel says it. */
function windowSize(pid: number): string {
  const fd = openSync(`/proc/${pid}/fd/0`, constants.O_RDWR | constants.O_NOCTTY);
  try {
    // Between fork and dup2 a fake container has no terminal yet.
    if (!isatty(fd)) return '';
    return execFileSync('stty', ['size'], { stdio: [fd, 'pipe', 'pipe'], encoding: 'utf8', timeout: 10_000 }).trim();
  } finally {
    closeSync(fd);
  }
}

/** Writes lines to one of the container's fifos, in one write. */
function tell(container: Container, fifo: 'ctl' | 'winsz', lines: string): void {
  writeFileSync(`${container.bundle}/${fifo}`, lines);
}

promise(
  'a client of a terminal gets everything as type 2, with CR LF and its input echoed',
  { runtimes: REAL },
  async (c) => {
    for (const style of ['crio', 'podman'] as const) {
      const script = 'echo one; echo two >&2; read -r line; echo "got $line"; exit 8';
      const container = c.container({ style, ...terminalContainer(script) });
      await container.created();
      const client = await attachEarly(c, container);
      await container.start();
      await client.waitForText('two\r\n');
      await client.send('hello\n');
      c.t.equal(await container.finished(), 8);
      await client.waitForEnd();
      c.t.equal(client.text, 'one\r\ntwo\r\nhello\r\ngot hello\r\n', style);
      c.t.strictSame([...client.types], [2], style);
      c.t.equal(container.log().stdout.toString(), client.text, `${style}: the log has the same`);
    }
  },
);

promise('keys that mean signals and the end of input do so', { runtimes: REAL }, async (c) => {
  const script = 'trap "echo interrupted" INT; echo ready; cat; echo "cat: $?"; cat; echo done; exit 7';
  const container = c.container(terminalContainer(script));
  await container.created();
  const client = await attachEarly(c, container);
  await container.start();
  await client.waitForText('ready');
  await client.send('a\n');
  await client.waitForText('a\r\na\r\n');
  await client.send('\x03');
  await client.waitForText('cat: 130');
  await client.send('b\n\x04');
  c.t.equal(await container.finished(), 7);
  await client.waitForEnd();
  c.t.match(client.text, /interrupted\r\n/);
  c.t.match(client.text, /b\r\nb\r\ndone\r\n$/);
});

promise('every client of a terminal gets the output, and any may type', { runtimes: ['runc'] }, async (c) => {
  const container = c.container(terminalContainer('stty -echo; echo ready; read -r a; read -r b; echo "$a$b"'));
  await container.created();
  const clients = [await attach(c, container), await attach(c, container)] as const;
  await clientsAccepted(container, 2);
  await container.start();
  await clients[0].waitForText('ready');
  await clients[0].send('left ');
  clients[0].endInput();
  await clients[1].send('and right\n');
  await clients[1].send('!\n');
  c.t.equal(await container.finished(), 0);
  await Promise.all(clients.map((client) => client.waitForEnd()));
  c.t.match(clients[1].text, /left ?and right!|and rightleft/);
  c.t.equal(clients[0].text, clients[1].text, 'also for the one whose input has ended');
});

promise('the terminal is resized through ctl and through winsz', { runtimes: REAL }, async (c) => {
  const container = c.container(terminalContainer('while read -r line; do stty size; done; exit 0'));
  await container.run();
  const client = await attach(c, container);
  c.t.equal(windowSize(container.containerPid), '0 0', 'nobody has said anything yet');
  for (const [fifo, line, size] of [
    ['ctl', '1 43 117', '43 117'],
    ['winsz', '55 133', '55 133'],
    ['ctl', '1 1000 1000', '1000 1000'],
    ['winsz', '12 34', '12 34'],
  ] as const) {
    tell(container, fifo, `${line}\n`);
    await waitFor(`the size ${size}`, () => windowSize(container.containerPid) === size);
    await client.send('\n');
    await client.waitForText(`${size}\r\n`);
  }
  tell(container, 'ctl', '1 0 0\n');
  await waitFor('no size', () => windowSize(container.containerPid) === '0 0');
  await client.send('\x04');
  c.t.equal(await container.finished(), 0);
});

promise(
  'of several sizes in one write the last counts',
  { differs: { c: 'C 2.1.6 takes the first line and drops the rest' } },
  async (c) => {
    const container = shellContainer(c, 'exit 0', [], { console: true });
    await container.created();
    for (const [fifo, lines] of [
      ['ctl', '1 10 20\n1 30 40\n'],
      ['winsz', '10 20\n30 40\n'],
    ] as const) {
      tell(container, fifo, '1 2 3\n'.slice(fifo === 'ctl' ? 0 : 2));
      await waitFor('the first size', () => windowSize(container.containerPid) === '2 3');
      tell(container, fifo, lines);
      const last = c.differs === undefined ? '30 40' : '10 20';
      await waitFor('the last size', () => windowSize(container.containerPid) === last);
    }
    go(container);
    c.t.equal(await container.finished(), 0);
  },
);

promise('sizes beyond 0 to 1000 are not taken', { differs: { c: 'C 2.1.6 takes any' } }, async (c) => {
  const container = shellContainer(c, 'exit 0', [], { console: true });
  await container.created();
  for (const [fifo, line] of [
    ['ctl', '1 1001 80'],
    ['ctl', '1 80 1001'],
    ['ctl', '1 -1 80'],
    ['winsz', '1001 80'],
    ['winsz', '80 -1'],
  ] as const) {
    tell(container, fifo, `${line}\n`);
    await waitFor('the line to be read', () => waitingBytes(`${container.bundle}/${fifo}`) === 0);
    tell(container, fifo, fifo === 'ctl' ? '1 2 3\n' : '2 3\n');
    // It may have had that size before. C drops what it reads behind a line's end.
    await waitFor('the next line to be read', () => waitingBytes(`${container.bundle}/${fifo}`) === 0);
    await waitFor('the next size', () => windowSize(container.containerPid) === '2 3');
  }
  go(container);
  c.t.equal(await container.finished(), 0);
});

promise('a size that comes before the terminal does is its size', {}, async (c) => {
  for (const [fifo, line] of [
    ['ctl', '1 43 117\n'],
    ['winsz', '43 117\n'],
  ] as const) {
    const container = c.container({
      args: ['-t'],
      ownTmpDir: true,
      fake: (self) => [
        `touch ${self.path('at work')}`,
        `wait-file ${self.path('go')}`,
        'console pty',
        'container while [ "$(stty size)" != "43 117" ]; do sleep 0.01; done; stty size',
      ],
    });
    await waitFor('the runtime', () => existsSync(container.path('at work')));
    tell(container, fifo, line);
    go(container);
    await container.created();
    c.t.equal(await container.finished(), 0, fifo);
    c.t.equal(container.log().stdout.toString(), '43 117\r\n', fifo);
  }
});

promise(
  'a terminal is resized while a client does not read and the container waits for it',
  { excludes: { c: 'C blocks in its write to a client that does not read, and everything waits for it' } },
  async (c) => {
    const container = shellContainer(c, 'exec yes 0123456789', [], { console: true });
    await container.created();
    const client = await attach(c, container, { paused: true });
    go(container);
    await settled('the log', () => statSync(container.logPath).size);
    tell(container, 'ctl', '1 43 117\n');
    await waitFor('the new size', () => windowSize(container.containerPid) === '43 117');
    process.kill(container.containerPid, 'SIGKILL');
    c.t.equal(await container.exited(), 137);
    client.close();
    await container.ended();
  },
);

promise(
  'a terminal that everybody has closed is read again when somebody opens it, and costs next to nothing meanwhile',
  { runtimes: REAL },
  async (c) => {
    const script = [
      'echo first; exec 0</dev/null 1>/dev/null 2>/dev/null',
      `while [ ! -e ${c.workspace.path('second')} ]; do sleep 0.02; done; echo second >/dev/console`,
      `while [ ! -e ${c.workspace.path('third')} ]; do sleep 0.02; done; exec >/dev/console 2>&1; echo third; exit 6`,
    ];
    const container = c.container(terminalContainer(script.join('; ')));
    await container.created();
    const client = await attachEarly(c, container);
    await container.start();
    await client.waitForText('first');
    await waitFor('the shell to close its terminal', () => {
      const fds = fdsOf(container.containerPid);
      return [0, 1, 2].every((fd) => fds.get(fd) === '/dev/null');
    });
    const [before, fromMs] = [switches(container.daemonPid), performance.now()];
    await waitFor('a second to pass', () => performance.now() - fromMs > 1000, { intervalMs: 100 });
    const wakeUps = switches(container.daemonPid) - before;
    c.t.ok(wakeUps < 100, `${wakeUps} wake-ups in a second`);
    writeFileSync(c.workspace.path('second'), '');
    await client.waitForText('second\r\n');
    writeFileSync(c.workspace.path('third'), '');
    c.t.equal(await container.finished(), 6);
    await client.waitForEnd();
    c.t.equal(client.text, 'first\r\nsecond\r\nthird\r\n');
    c.t.equal(container.log().stdout.toString(), client.text);
  },
);

/** Voluntary context switches of all threads so far. */
function switches(pid: number): number {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    sum += Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)?.[1]);
  }
  return sum;
}

promise('1 MB printed just before the end is in the log whole, and a client gets it', { runtimes: REAL }, async (c) => {
  const expected = '0123456789\r\n'.repeat(100_000);
  for (let i = 0; i < 3; i++) {
    const container = c.container(terminalContainer('yes 0123456789 | head -n 100000; exit 5'));
    await container.created();
    const client = i === 0 ? undefined : await attachEarly(c, container);
    await container.start();
    c.t.equal(await container.finished(), 5);
    c.t.equal(container.log().stdout.toString() === expected, true, `round ${i}: the log`);
    await client?.waitForEnd();
    if (client) c.t.equal(client.text === expected, true, `round ${i}: the client`);
  }
});

promise('without a log a terminal is read all the same, with and without a client', { runtimes: REAL }, async (c) => {
  for (const attached of [false, true]) {
    const container = c.container({
      ...terminalContainer('yes 0123456789 | head -n 100000; exit 5'),
      logPaths: ['none'],
    });
    await container.created();
    const client = attached ? await attachEarly(c, container) : undefined;
    await container.start();
    c.t.equal(await container.finished(), 5);
    await client?.waitForEnd();
    if (client) c.t.equal(client.text === '0123456789\r\n'.repeat(100_000), true);
  }
});

promise('without a log a terminal is read again after it was closed by everybody', {}, async (c) => {
  const script = 't=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.5; yes 0123456789 | head -n 20000 >$t; exit 5';
  const container = shellContainer(c, script, [], { console: true, logPaths: ['none'] });
  await container.created();
  go(container);
  c.t.equal(await container.finished(10_000), 5);
});

for (const what of ['null', 'two', 'nothing', 'hang-up'])
  promise(
    `a runtime that sends something else than one terminal (${what}): the sync pipe says so, status 1, no socket file`,
    { differs: { c: 'C takes what it gets for a terminal, or does without, and tells the pid' } },
    async (c) => {
      const container = c.container({
        fake: [`console ${what}`, 'container sleep 0.3'],
        args: ['-t'],
        sync: true,
        ownTmpDir: true,
      });
      const { code } = await within('conmon to end', container.conmon.started);
      const { json } = await container.conmon.nextMessage();
      c.t.strictSame(readdirSync(container.tmpDir), [], 'no socket file');
      if (c.differs === undefined) {
        c.t.equal(code, 1);
        c.t.equal(json['pid'], -1);
        c.t.match(json['message'], /^Runtime did not set up terminal/);
      } else {
        c.t.equal(code, 0);
        c.t.ok(Number(json['pid']) > 0);
      }
    },
  );

promise('a runtime that fails after it has sent the terminal: its words come back, no socket file', {}, async (c) => {
  const container = c.container({
    fake: (self) => {
      writeFileSync(self.path('words'), 'cannot do that\n');
      return ['console pty', `stderr ${self.path('words')}`, 'exit 3'];
    },
    args: ['-t'],
    sync: true,
    ownTmpDir: true,
  });
  c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
  await container.conmon.syncClosed();
  c.t.equal(container.conmon.unread, '{"pid": -1, "message": "cannot do that\\n"}\n');
  c.t.strictSame(readdirSync(container.tmpDir), []);
  c.t.equal(processInfo(container.conmon.child.pid ?? -1)?.state ?? 'gone', 'gone');
});
