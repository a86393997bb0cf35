/** The launcher's side of a session socket, against a daemon that this test plays: taken once, or not at all. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import type { Test } from 'tap';
import { MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK } from '../../../src/native/constants.ts';
import { sys, type Watch } from '../../../src/native/sys.ts';
import { parseHandOver, readBlock } from '../../../src/session/hand-over.ts';
import { SessionSocket } from '../../../src/session/session-socket.ts';
import { waitFor } from '../../helpers/wait.ts';
import { BUILD_ID, type Installation, promise, type StartOptions, strings } from './harness.ts';

const { EAGAIN, EPIPE } = { EAGAIN: -11, EPIPE: -32 };
const NO_FDS = new Int32Array(0);
let ids = 0;

/** One connection, as a daemon sees it. */
class Caller {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  say(text: string | Uint8Array): number {
    const bytes = Buffer.from(text as string);
    return sys.sendmsg(this.fd, bytes, 0, bytes.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  /** The next message; undefined at a hang-up. */
  async hear(): Promise<{ bytes: Buffer; fds: number[] } | undefined> {
    const bytes = Buffer.alloc(8192);
    const fds = new Int32Array(1 + 253);
    const length = await waitFor('a message of the launcher', () => {
      const result = sys.recvmsg(this.fd, bytes, 0, bytes.length, fds, MSG_DONTWAIT);
      return result === EAGAIN ? undefined : { result };
    });
    if (length.result <= 0) return undefined;
    return { bytes: bytes.subarray(0, length.result), fds: [...fds.subarray(1, 1 + (fds[0] ?? 0))] };
  }

  hangUp(): void {
    sys.close(this.fd);
  }
}

/** A daemon's socket for a container id of this test's own. */
class Daemon {
  readonly cid = `conmon-join-${process.pid}-${ids++}`;
  readonly #socket: SessionSocket;
  readonly #callers: number[] = [];
  readonly #watch: Watch | number;

  constructor(t: Test) {
    this.#socket = new SessionSocket(sys, this.cid, process.env['XDG_RUNTIME_DIR']);
    this.#watch = sys.watch(this.#socket.listenFd, () => {
      const fd = sys.accept4(this.#socket.listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd >= 0) this.#callers.push(fd);
    });
    t.teardown(() => {
      if (typeof this.#watch !== 'number') sys.unwatch(this.#watch);
      this.#socket.close();
      for (const fd of this.#callers) sys.close(fd);
    });
  }

  async accept(): Promise<Caller> {
    return new Caller(await waitFor('a launcher', () => this.#callers.shift()));
  }

  get called(): boolean {
    return this.#callers.length > 0;
  }
}

const ENV = ['CONMON_SESSIONS=on', 'CASE=a b'];

/** Starts an exec of the daemon's container; a Node of its own would write `dump`. */
function start(it: Installation, daemon: Daemon, options: StartOptions = {}) {
  const dump = it.file('dump');
  const { args = ['-e', '--cid', daemon.cid], env = ENV, ...rest } = options;
  return { dump, started: it.start({ env, args: [...args, `do:dump=${dump}`, 'do:exit=7'], ...rest }) };
}

promise('an exec that is taken is handed over whole, and no Node is started', async (t, it) => {
  const daemon = new Daemon(t);
  const { dump, started } = start(it, daemon, { caller: ['null=5', 'null=9', 'nofile=100:200', 'cd=/usr'] });
  const caller = await daemon.accept();
  caller.say('G');
  const heard = await caller.hear();
  t.match(parseHandOver(heard?.bytes ?? Buffer.alloc(0)), {
    build: BUILD_ID,
    nofileSoft: 100,
    nofileHard: 200,
    oomScoreAdj: readFileSync('/proc/self/oom_score_adj', 'latin1').trim(),
    entryFds: [5, 9],
  });
  const [environment = -1, argv = -1, cwd = -1, ...passed] = heard?.fds ?? [];
  t.equal(readBlock(sys, environment).toString('latin1'), strings(ENV).toString('latin1'));
  const words = readBlock(sys, argv).toString().split('\0');
  t.same(words.slice(0, 4), ['conmon', '-e', '--cid', daemon.cid]);
  t.equal(readlinkSync(`/proc/self/fd/${cwd}`), '/usr');
  t.same(
    passed.map((fd) => readlinkSync(`/proc/self/fd/${fd}`)),
    ['/dev/null', '/dev/null'],
  );
  for (const fd of heard?.fds ?? []) sys.close(fd);
  caller.say('R[conmon:w]: a warning\n');
  t.match(await started.ended(), { status: 0, stdout: '', stderr: '[conmon:w]: a warning\n' });
  t.notOk(existsSync(dump));
});

promise('a launcher that stays sends signals on and ends with the status', async (t, it) => {
  const daemon = new Daemon(t);
  const { started } = start(it, daemon, { caller: ['null=5'] });
  const caller = await daemon.accept();
  caller.say('G');
  for (const fd of (await caller.hear())?.fds ?? []) sys.close(fd);
  caller.say('S');
  await waitFor('the launcher to let go', () => readlinks(started.pid).every((each) => each.startsWith('socket:')));
  t.equal(readlinks(started.pid).length, 1, 'it holds the socket and nothing else');
  for (const signal of [15, 2, 3]) {
    process.kill(started.pid, signal);
    t.same([...((await caller.hear())?.bytes ?? [])], [signal]);
  }
  caller.say(Uint8Array.of(0x45, 43));
  t.equal(await started.exit(), 43);
});

function readlinks(pid: number): string[] {
  const fds: string[] = [];
  for (let fd = 0; fd < 64; fd++) {
    try {
      fds.push(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // not open
    }
  }
  return fds;
}

promise('a daemon that ends without a status was killed: 137', async (t, it) => {
  const daemon = new Daemon(t);
  const { dump, started } = start(it, daemon);
  const caller = await daemon.accept();
  caller.say('G');
  for (const fd of (await caller.hear())?.fds ?? []) sys.close(fd);
  caller.say('S');
  caller.hangUp();
  t.equal(await started.exit(), 137);
  t.notOk(existsSync(dump), 'and nothing is started again');
});

promise('whoever refuses, at whatever moment, leaves the exec to a Node of its own', async (t, it) => {
  for (const until of ['connected', 'awake', 'handed over', 'nonsense']) {
    const daemon = new Daemon(t);
    const { dump, started } = start(it, daemon);
    const caller = await daemon.accept();
    if (until !== 'connected') caller.say(until === 'nonsense' ? 'X' : 'G');
    if (until === 'handed over') for (const fd of (await caller.hear())?.fds ?? []) sys.close(fd);
    if (until !== 'nonsense') caller.hangUp();
    t.match(await started.ended(), { status: 7, stderr: '' }, until);
    t.ok((await it.dump(dump)).all('arg').includes(daemon.cid), until);
  }
});

promise('a daemon that is silent is given up after a second, and cannot take the exec any more', async (t, it) => {
  for (const awake of [false, true]) {
    const daemon = new Daemon(t);
    const { dump, started } = start(it, daemon);
    const caller = await daemon.accept();
    const before = performance.now();
    if (awake) {
      caller.say('G');
      for (const fd of (await caller.hear())?.fds ?? []) sys.close(fd);
    }
    await it.dump(dump);
    t.ok(performance.now() - before > 700, 'not at once');
    t.equal(caller.say('R'), EPIPE);
    t.match(await started.ended(), { status: 7 });
    if (!awake) t.notOk(await caller.hear(), 'the fds were not sent');
  }
});

promise('an answer that was sent counts, however late the launcher looks', async (t, it) => {
  const daemon = new Daemon(t);
  const { dump, started } = start(it, daemon);
  const caller = await daemon.accept();
  caller.say('G');
  for (const fd of (await caller.hear())?.fds ?? []) sys.close(fd);
  process.kill(started.pid, 'SIGSTOP');
  t.equal(caller.say('R'), 1);
  await new Promise((resolve) => setTimeout(resolve, 1300));
  process.kill(started.pid, 'SIGCONT');
  t.match(await started.ended(), { status: 0 });
  t.notOk(existsSync(dump), 'it was not started twice');
});

promise('what looks like no exec, or is not to join, asks nobody', async (t, it) => {
  const daemon = new Daemon(t);
  const { cid } = daemon;
  const tooMany = Array.from({ length: 251 }, (_, i) => `null=${10 + i}`);
  for (const [what, options] of [
    ['no exec', { args: ['--cid', cid] }],
    ['no container', { args: ['--exec'] }],
    ['another container', { args: ['--exec', '--cid', `${cid}x`] }],
    ['sessions are off', { env: ['CONMON_SESSIONS=off'] }],
  ] as const) {
    const { started } = start(it, daemon, options);
    t.match(await started.ended(), { status: 7 }, what);
    t.notOk(daemon.called, what);
  }
  for (const caller of [tooMany, ['nofile=2000', 'null=1024']]) {
    const { started } = start(it, daemon, { caller: ['nofile=2000', ...caller] });
    const connection = await daemon.accept();
    connection.say('G');
    t.equal(await connection.hear(), undefined, 'nothing is handed over');
    t.match(await started.ended(), { status: 7 });
  }
});

promise(
  'GOption’s ways to write an exec are all seen',
  async (t, it) => {
    for (const args of [
      ['-e', '-c', 'ID'],
      ['--exec', '--cid=ID'],
      ['-ie', '--cid', 'ID'],
      ['-iec', 'ID'],
      ['--exec', '-c', 'other', '-c', 'ID'],
    ]) {
      const daemon = new Daemon(t);
      const { started } = start(it, daemon, { args: args.map((each) => each.replace('ID', daemon.cid)) });
      (await daemon.accept()).hangUp();
      t.match(await started.ended(), { status: 7 }, args.join(' '));
    }
  },
  ['static'],
);

if (process.getuid?.() === 0)
  promise(
    'a directory that others may write to is not trusted',
    async (t, it) => {
      for (const [mode, trusted] of [
        [0o700, true],
        [0o770, false],
        [0o702, false],
      ] as const) {
        const daemon = new Daemon(t);
        // One that the launcher alone finds at /run/conmon: other daemons of this machine use theirs meanwhile.
        const directory = mkdtempSync('/run/conmon-join-');
        t.teardown(() => rmSync(directory, { recursive: true, force: true }));
        linkSync(`/run/conmon/${daemon.cid}`, `${directory}/${daemon.cid}`);
        chmodSync(directory, mode);
        const apart = it.file(`apart-${mode}`);
        const inside = `/bin/mount --bind ${directory} /run/conmon && exec ${it.conmon} "$@"`;
        writeFileSync(apart, `#!/bin/sh\nexec /usr/bin/unshare -m /bin/sh -c '${inside}' sh "$@"\n`, { mode: 0o755 });
        const { started } = start(it, daemon, { path: apart });
        if (trusted) (await daemon.accept()).hangUp();
        t.match(await started.ended(), { status: 7 });
        t.notOk(daemon.called);
      }
    },
    ['static'],
  );
