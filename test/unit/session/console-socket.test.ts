/** The console socket against a runtime's end of it: real sockets, real terminals, and what must not come through. */
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  EADDRINUSE,
  EAGAIN,
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { ConsoleSocket } from '../../../src/session/console-socket.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const EMFILE = -24;
const ENOMEM = -12;
const ONLCR = 0x4;

interface Place {
  readonly directory: string;
  readonly complaints: Complaints;
  readonly ready: () => number;
  readonly open: (with_?: Sys) => ConsoleSocket;
}

/** A directory for sockets; whatever was opened is closed when the test ends. */
function place(t: Test): Place {
  const directory = mkdtempSync(join(tmpdir(), 'conmon-console-'));
  const complaints = new Complaints();
  const sockets: ConsoleSocket[] = [];
  let calls = 0;
  t.teardown(() => {
    for (const socket of sockets) socket.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    directory,
    complaints,
    ready: () => calls,
    open: (with_ = sys) => {
      const socket = ConsoleSocket.open(with_, complaints.diag, directory, () => calls++);
      sockets.push(socket);
      return socket;
    },
  };
}

/** The runtime's end. */
function connect(t: Test, path: string): number {
  const fd = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  t.teardown(() => sys.close(fd));
  const result = sys.connect(fd, path);
  if (result < 0) throw new Error(sys.strerror(result));
  return fd;
}

function send(fd: number, ...fds: number[]): void {
  const name = Buffer.from('/dev/pts/0');
  const result = sys.sendmsg(fd, name, 0, name.length, Int32Array.from(fds), 0);
  if (result < 0) throw new Error(sys.strerror(result));
}

function openMaster(t: Test): number {
  const fd = openSync('/dev/ptmx', 'r+');
  t.teardown(() => closeSync(fd));
  return fd;
}

function outputFlags(fd: number): number {
  const attributes = new Uint8Array(64);
  sys.tcgetattr(fd, attributes);
  return new Uint32Array(attributes.buffer)[1] ?? 0;
}

const openFds = () => readdirSync('/proc/self/fd').length;

t.test('the socket is fresh, this user’s alone whatever the umask, and close leaves nothing', async (t) => {
  const { directory, open } = place(t);
  const before = openFds();
  const umask = process.umask(0);
  t.teardown(() => process.umask(umask));
  const [one, two] = [open(), open()];
  t.not(one.path, two.path);
  t.equal((statSync(one.path).mode & 0o7777).toString(8), '700');
  t.equal(statSync(one.path).isSocket(), true);
  one.close();
  two.close();
  one.close();
  t.same(readdirSync(directory), []);
  t.equal(openFds(), before);
});

t.test('the terminal arrives non-blocking, close-on-exec, with ONLCR; the file has gone by then', async (t) => {
  const { directory, open, ready, complaints } = place(t);
  const socket = open();
  t.equal(socket.receive(), undefined, 'nobody has connected');
  const master = openMaster(t);
  const runtime = connect(t, socket.path);
  await waitFor('the connection', () => ready() > 0);
  t.equal(socket.receive(), undefined, 'nothing was sent');
  t.equal(existsSync(socket.path), false);
  const calls = ready();
  send(runtime, master);
  await waitFor('the message', () => ready() > calls);
  const fd = socket.receive() ?? -1;
  t.teardown(() => sys.close(fd));
  t.ok(fd >= 0);
  t.equal(sys.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
  t.equal(sys.fcntl(fd, F_GETFD, 0) & FD_CLOEXEC, FD_CLOEXEC);
  t.equal(outputFlags(fd) & ONLCR, ONLCR);
  t.equal(socket.receive(), undefined, 'there is no second');
  t.same(readdirSync(directory), []);
  t.same(complaints.lines, []);
});

t.test('ONLCR is set where it was off', async (t) => {
  const { open } = place(t);
  const master = openMaster(t);
  const attributes = new Uint8Array(64);
  sys.tcgetattr(master, attributes);
  const words = new Uint32Array(attributes.buffer);
  words[1] = (words[1] ?? 0) & ~ONLCR;
  sys.tcsetattr(master, attributes);
  t.equal(outputFlags(master) & ONLCR, 0);
  const socket = open();
  send(connect(t, socket.path), master);
  sys.close(socket.receive() ?? -1);
  t.equal(outputFlags(master) & ONLCR, ONLCR);
});

t.test('nothing else of the terminal changes, and one that cannot be changed is told and used', async (t) => {
  const { open, complaints } = place(t);
  for (const refuses of [false, true]) {
    const master = openMaster(t);
    const attributes = new Uint8Array(64);
    sys.tcgetattr(master, attributes);
    const words = new Uint32Array(attributes.buffer);
    words[1] = 0; // OPOST too
    sys.tcsetattr(master, attributes);
    const socket = open(refuses ? realSysBut({ tcsetattr: () => ENOMEM }) : sys);
    send(connect(t, socket.path), master);
    const fd = socket.receive() ?? -1;
    t.ok(fd >= 0);
    t.equal(outputFlags(fd), refuses ? 0 : ONLCR);
    t.equal(sys.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
    sys.close(fd);
    t.same(complaints.lines, refuses ? ['[conmon:w]: Failed to set console terminal settings'] : []);
  }
});

t.test('its sockets wait for nobody, and what is started meanwhile inherits neither', async (t) => {
  const { open } = place(t);
  const flags: number[] = [];
  const socket = open(
    realSysBut({
      socket: (type) => {
        flags.push(type);
        return sys.socket(type);
      },
      accept4: (fd, each) => {
        flags.push(each);
        return sys.accept4(fd, each);
      },
    }),
  );
  connect(t, socket.path);
  t.equal(socket.receive(), undefined);
  t.same(flags, [SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK]);
});

t.test('closed twice, or without its file, it leaves nothing, and the file that is missing is told', async (t) => {
  const { open, complaints } = place(t);
  const socket = open();
  socket.close();
  socket.close();
  t.same(complaints.lines, []);
  const other = open();
  rmSync(other.path);
  other.close();
  t.match(complaints.lines, [/^\[conmon:w\]: failed to unlink .*conmon-term\..*ENOENT|No such file/]);
});

t.test('what was sent before the runtime ended is received at once', async (t) => {
  const { open } = place(t);
  const socket = open();
  const runtime = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  sys.connect(runtime, socket.path);
  send(runtime, openMaster(t));
  sys.close(runtime);
  const fd = socket.receive() ?? -1;
  t.ok(fd >= 0);
  sys.close(fd);
});

t.test('anything else than one terminal is an error, and no fd of it is kept', async (t) => {
  const master = openMaster(t);
  const nothing = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(nothing));
  const ways: [string, (runtime: number) => void][] = [
    ['no fd', (runtime) => send(runtime)],
    ['no terminal', (runtime) => send(runtime, nothing)],
    ['two terminals', (runtime) => send(runtime, master, master)],
    ['five', (runtime) => send(runtime, master, master, master, master, master)],
    ['a hang-up', (runtime) => sys.shutdown(runtime, 2)],
  ];
  for (const [name, misbehave] of ways) {
    const { directory, open } = place(t);
    const before = openFds();
    const socket = open();
    const runtime = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
    sys.connect(runtime, socket.path);
    misbehave(runtime);
    t.throws(() => socket.receive(), { code: 'CONSOLE', message: /^Runtime did not set up terminal/ }, name);
    t.equal(socket.receive(), undefined, `${name}: and that was it`);
    sys.close(runtime);
    t.equal(openFds(), before, `${name}: fds`);
    t.same(readdirSync(directory), [], `${name}: files`);
  }
});

t.test('only the first connection counts', async (t) => {
  const { open } = place(t);
  const socket = open();
  const [first, second] = [connect(t, socket.path), connect(t, socket.path)];
  send(second, openMaster(t));
  t.equal(socket.receive(), undefined);
  send(first, openMaster(t));
  const fd = socket.receive() ?? -1;
  t.ok(fd >= 0);
  sys.close(fd);
});

t.test('a connection that cannot be accepted is told once, with its reason, and leaves nothing', async (t) => {
  const { directory, open } = place(t);
  const socket = open(realSysBut({ accept4: () => EMFILE }));
  connect(t, socket.path);
  t.throws(() => socket.receive(), {
    code: 'CONSOLE',
    message: 'Failed to accept console-socket connection: Too many open files',
  });
  t.equal(socket.receive(), undefined);
  t.same(readdirSync(directory), []);
});

t.test('a runtime that has connected and gone before the accept is no connection yet', async (t) => {
  const { open } = place(t);
  const socket = open(realSysBut({ accept4: () => EAGAIN }));
  t.equal(socket.receive(), undefined);
  t.equal(existsSync(socket.path), true);
});

t.test('a name that is taken is passed over, 16 times', async (t) => {
  const { open } = place(t);
  const tried: string[] = [];
  let taken = 15;
  const busy = realSysBut({
    bind: (fd, path) => {
      tried.push(path);
      return taken-- > 0 ? EADDRINUSE : sys.bind(fd, path);
    },
  });
  t.equal(open(busy).path, tried[15]);
  t.equal(new Set(tried).size, 16);
  const before = openFds();
  let binds = 0;
  const full = realSysBut({
    bind: () => {
      binds++;
      return EADDRINUSE;
    },
  });
  t.throws(() => open(full), { code: 'CONSOLE', message: /Address already in use$/ });
  t.equal(binds, 16);
  t.equal(openFds(), before);
});

t.test('a directory that is missing, or whose path is too long, is named', async (t) => {
  const { directory, complaints } = place(t);
  const before = openFds();
  for (const [where, reason] of [
    [`${directory}/missing`, 'No such file or directory'],
    [`${directory}/${'x'.repeat(100)}`, sys.strerror(36)],
  ] as const) {
    const message = new RegExp(
      `^Failed to bind to console-socket ${where}/conmon-term.*: (${reason}|Invalid argument)$`,
    );
    t.throws(() => ConsoleSocket.open(sys, complaints.diag, where, () => {}), { code: 'CONSOLE', message });
  }
  t.equal(openFds(), before);
});

t.test('without fds, or without a watch, there is an error and nothing is left', async (t) => {
  const { directory, open } = place(t);
  const before = openFds();
  const watchFails = { watch: () => ENOMEM } as Partial<Sys>;
  t.throws(() => open(realSysBut({ socket: () => EMFILE })), { code: 'CONSOLE', message: /Too many open files/ });
  t.throws(() => open(realSysBut({ listen: () => EADDRINUSE })), {
    code: 'CONSOLE',
    message: /Address already in use/,
  });
  t.throws(() => open(realSysBut(watchFails)), { code: 'CONSOLE', message: /Cannot allocate memory/ });
  t.equal(openFds(), before);
  t.same(readdirSync(directory), []);
});
