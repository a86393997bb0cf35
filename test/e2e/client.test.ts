/**
 * conmon-attach, the client of our own, as a person uses it: in a real terminal, or between pipes, with no engine; under
 * the real runtimes, and at the socket of conmon C too.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import * as pty from 'node-pty';
import { clientsAccepted, go, shellContainer } from '../helpers/attach-case.ts';
import { type Case, promise } from '../helpers/case.ts';
import { REPOSITORY } from '../helpers/native.ts';
import { seededRandom } from '../helpers/random.ts';
import type { RuntimeName } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const CLIENT = `${REPOSITORY}/bin/conmon-attach`;
const REAL: readonly RuntimeName[] = ['runc', 'crun'];
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what terminals are controlled with
const CURSOR = /\x1b\[[0-9;]*[A-Za-z]/g;
const ENV = { PATH: '/usr/bin:/bin' };

/** The client on a terminal of 100 columns and 30 rows. */
class Terminal {
  readonly #pty: pty.IPty;
  #seen = '';
  #status: number | undefined;

  constructor(c: Case, args: readonly string[]) {
    this.#pty = pty.spawn(CLIENT, [...args], { cols: 100, rows: 30, env: ENV });
    this.#pty.onData((text) => {
      // busybox moves the cursor and asks where it is.
      this.#seen = `${this.#seen}${text}`.replaceAll(CURSOR, '');
    });
    this.#pty.onExit(({ exitCode }) => {
      this.#status = exitCode;
    });
    c.workspace.defer(async () => {
      if (this.#status === undefined) process.kill(this.#pty.pid, 'SIGKILL');
      await waitFor('the client to end', () => this.#status !== undefined);
    });
  }

  async expect(expected: RegExp): Promise<void> {
    await waitFor(String(expected), () => expected.test(this.#seen)).catch((error: unknown) => {
      throw new Error(`${error}; the terminal shows ${JSON.stringify(this.#seen.slice(-500))}`);
    });
  }

  /** Types, then waits for what that brings about. */
  async type(keys: string, expected: RegExp): Promise<void> {
    this.#seen = '';
    this.#pty.write(keys);
    await this.expect(expected);
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows);
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.#pty.pid, name);
  }

  async end(): Promise<number> {
    return await waitFor('the client to end', () =>
      this.#status === undefined ? undefined : { status: this.#status },
    ).then(({ status }) => status);
  }
}

/** The settings of a terminal that a process has as its stdin. */
function sttyOf(pid: number): string {
  return execFileSync('stty', ['-a', '-F', `/proc/${pid}/fd/0`], { encoding: 'utf8', timeout: 10_000 });
}

interface Run {
  readonly child: ChildProcess;
  readonly output: () => Buffer;
  readonly errors: () => string;
  readonly ended: Promise<number | null>;
}

/** The client between pipes. */
function client(c: Case, args: readonly string[], stdin: 'pipe' | 'ignore' | number = 'pipe'): Run {
  const child = spawn(CLIENT, [...args], { stdio: [stdin, 'pipe', 'pipe'], env: ENV });
  c.workspace.defer(() => void child.kill('SIGKILL'));
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr?.on('data', (bytes: Buffer) => err.push(bytes));
  return {
    child,
    output: () => Buffer.concat(out),
    errors: () => Buffer.concat(err).toString(),
    ended: new Promise((resolve) => child.on('close', (code) => resolve(code))),
  };
}

promise(
  'a real terminal: prompt, echo, the window’s size, Ctrl-C, Ctrl-P Ctrl-Q, and attached again',
  { runtimes: REAL },
  async (c) => {
    const container = c.container({
      process: { args: ['/bin/sh', '-i'], terminal: true, env: ['PS1=prompt> '] },
      ownTmpDir: true,
    });
    await container.run();
    const where = [container.cid, '--socket-dir-path', container.socketDir, '--exit-dir', container.exitDir];
    const first = new Terminal(c, where);
    await first.type('\r', /prompt> $/);
    await first.type('echo $((6*7))\r', /echo \$\(\(6\*7\)\)\r\n42\r\n\r*prompt> $/);
    await first.type('until [ "$(stty size)" = "30 100" ]; do sleep 0.02; done; echo ours\r', /\r\nours\r\n/);
    first.resize(90, 20);
    await first.type('until [ "$(stty size)" = "20 90" ]; do sleep 0.02; done; echo resized\r', /\r\nresized\r\n/);
    await first.type("sh -c 'echo asleep; exec sleep 1000'\r", /\r\nasleep\r\n/);
    await first.type('\x03', /\^C[\r\n]+prompt> $/);
    await first.type('echo "status $?"\r', /status 130\r\n/);
    await first.type('half a line\x10', /half a line$/);
    await first.type('\x11', /detached: the container goes on/);
    c.t.equal(await first.end(), 0);

    const second = new Terminal(c, where);
    await second.type('\r', /half: not found[\s\S]*prompt> $/); // what the first one left on the line
    await second.type('stty size\r', /\r\n30 100\r\n\r*prompt> $/);
    await second.type('\x10\r', /\r\n30 100\r\n\r*prompt> $/); // no Ctrl-Q: the shell’s own key, its last command again
    second.resize(70, 10);
    await second.type('until [ "$(stty size)" = "10 70" ]; do sleep 0.02; done; exit 7\r', /exit/);
    c.t.equal(await second.end(), 7, 'the container’s status');
    c.t.equal(await container.finished(), 7);
  },
);

promise('our terminal is as it was, however the client ends', {}, async (c) => {
  const container = shellContainer(c, 'echo begun; cat', ['-i'], { console: true });
  mkdirSync(container.path('x'));
  await container.created();
  go(container);
  const socket = `${container.socketDir}/${container.cid}/attach`;
  // A shell that looks at its terminal before and after.
  for (const [name, act] of [
    ['SIGTERM', '128'],
    ['SIGINT', '128'],
    ['keys', '0'],
  ] as const) {
    const file = (what: string) => container.path(`${name}-${what}`);
    const script = `stty -a >${file('before')}; ${CLIENT} --tty ${socket} & echo $! >${file('pid')}; fg >/dev/null 2>&1; echo $? >${file('status')}; stty -a >${file('after')}`;
    const shell = pty.spawn('/bin/bash', ['-m', '-c', script], { cols: 80, rows: 24, env: ENV });
    c.workspace.defer(() => {
      try {
        process.kill(shell.pid, 'SIGKILL');
      } catch {
        // It has ended, as it should.
      }
    });
    const isRaw = () => existsSync(file('pid')) && !/ icanon/.test(sttyOf(shell.pid));
    await waitFor('the client to have the terminal', isRaw);
    if (name === 'keys') shell.write('\x10\x11');
    else process.kill(Number(readFileSync(file('pid'), 'latin1')), name);
    await waitFor('the shell to be done', () => existsSync(file('after')) && readFileSync(file('after')).length > 0);
    c.t.equal(readFileSync(file('after'), 'utf8'), readFileSync(file('before'), 'utf8'), name);
    const status = Number(readFileSync(file('status'), 'latin1'));
    c.t.equal(status, act === '0' ? 0 : 128 + (name === 'SIGTERM' ? 15 : 2), `${name}: status`);
  }
  process.kill(container.containerPid, 'SIGKILL');
  await container.finished();
});

promise(
  'between pipes: stdout and stderr apart, input to its end, status 0 or the container’s',
  { runtimes: REAL },
  async (c) => {
    const container = c.container({ script: 'echo out; echo err >&2; cat; echo end; exit 3', args: ['-i'] });
    await container.created();
    const where = ['--cid', container.cid, '--socket-dir-path', container.socketDir];
    const [main, watcher] = [
      client(c, [...where, '--exit-dir', container.exitDir]),
      client(c, [...where, '--no-stdin'], 'ignore'),
    ];
    await clientsAccepted(container, 2);
    await container.start();
    main.child.stdin?.write('one\n');
    await waitFor('the echo', () => main.output().includes('one'));
    main.child.stdin?.end('two\n');
    c.t.equal(await within('the client to end', main.ended), 3);
    c.t.equal(await within('the watcher to end', watcher.ended), 0);
    for (const run of [main, watcher]) {
      c.t.equal(run.output().toString(), 'out\none\ntwo\nend\n');
      c.t.equal(run.errors(), 'err\n');
    }
    await container.finished();
  },
);

promise(
  `a container that answers everything: 20 MB in and out with the same hash, no deadlock, seed ${SEED}`,
  { excludes: { c: 'C blocks in its write to a client whose reader is slow, and everything waits for it' } },
  async (c) => {
    const container = shellContainer(c, 'cat', ['-i']);
    await container.created();
    go(container);
    const random = seededRandom(SEED);
    const bytes = Buffer.alloc(20_000_000);
    for (let i = 0; i + 4 <= bytes.length; i += 4) bytes.writeUInt32LE(random.below(2 ** 32), i);
    const file = container.path('input');
    writeFileSync(file, bytes);
    const sha = (data: Buffer) => createHash('sha256').update(data).digest('hex');
    const socket = `${container.socketDir}/${container.cid}/attach`;
    const run = client(c, [socket], openSync(file, 'r'));
    c.t.equal(await within('the client to end', run.ended, 60_000), 0);
    c.t.equal(run.output().length, bytes.length);
    c.t.equal(sha(run.output()), sha(bytes));
    c.t.equal(await container.finished(), 0);
  },
);

promise('what is wrong is said, with a status of its own', {}, async (c) => {
  const container = shellContainer(c, 'cat', ['-i']);
  await container.created();
  const bad: [string[], number, RegExp][] = [
    [[], 2, /no container was named/],
    [['--nonsense', 'x'], 2, /--nonsense/],
    [['--detach-keys', 'ctrl-1', 'x'], 2, /"ctrl-1" is no key/],
    [['nosuch', '--socket-dir-path', container.socketDir], 1, /nosuch\/attach: No such file or directory/],
    [[`${container.bundle}/config.json`], 1, /cannot connect to the attach socket .*config\.json/],
    [[`${container.bundle}/ctl`], 1, /Connection refused/],
  ];
  for (const [args, status, message] of bad) {
    const run = client(c, args, 'ignore');
    c.t.equal(await within('the client to end', run.ended), status, args.join(' '));
    c.t.match(run.errors(), message);
    c.t.equal(run.output().length, 0);
  }
  go(container);
  process.kill(container.containerPid, 'SIGKILL');
  await container.finished();
});

promise('a container that is gone without an exit file is said, and the client does not hang', {}, async (c) => {
  const container = shellContainer(c, 'echo begun; exec cat', ['-i']);
  await container.created();
  const run = client(c, [
    container.cid,
    '--socket-dir-path',
    container.socketDir,
    '--exit-dir',
    container.path('elsewhere'),
  ]);
  await clientsAccepted(container, 1);
  go(container);
  await waitFor('output', () => run.output().length > 0);
  process.kill(container.containerPid, 'SIGKILL');
  c.t.equal(await within('the client to end', run.ended), 1);
  c.t.match(run.errors(), /disconnected, and there is no exit status in .*elsewhere/);
  await container.finished();
});
