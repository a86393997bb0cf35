/** The session socket: its name, its directory that must be its user's alone, and what happens to one that was left. */
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { SessionSocket, socketName } from '../../../src/session/session-socket.ts';

const root = process.getuid?.() === 0;
/** root of the machine uses /run and asks no variable: as somebody else the directory can be a test's own. */
const USER = 65534;

function asUser<T>(action: () => T): T {
  if (!root) return action();
  process.setegid?.(USER);
  process.seteuid?.(USER);
  try {
    return action();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
  }
}

function runtimeDir(t: Test): string {
  const outer = mkdtempSync(join(tmpdir(), 'conmon-sessions-'));
  chmodSync(outer, 0o777);
  t.teardown(() => rmSync(outer, { recursive: true, force: true }));
  return asUser(() => {
    mkdirSync(join(outer, 'run'), { mode: 0o700 });
    return join(outer, 'run');
  });
}

const openFds = () => readdirSync('/proc/self/fd').length;
const connect = (path: string): number => {
  const fd = sys.socket(SOCK_SEQPACKET);
  const result = sys.connect(fd, path);
  sys.close(fd);
  return result;
};

t.test('an id names its socket, a long or odd one by a hash', async (t) => {
  const hex = 'ab'.repeat(32);
  t.equal(socketName(hex), hex);
  t.equal(socketName('a'.repeat(80)), 'a'.repeat(80));
  // FNV-1a, 64 bits: published test vectors.
  t.equal(socketName(''), 'hash-cbf29ce484222325');
  t.equal(socketName('/a').length, 21);
  for (const odd of ['', '.', '..', '.x', 'a/b', 'a b', 'a'.repeat(81), 'ä', 'x'.repeat(5000), 'a\nb'])
    t.match(socketName(odd), /^hash-[0-9a-f]{16}$/, JSON.stringify(odd.slice(0, 10)));
  t.not(socketName('a'.repeat(81)), socketName('a'.repeat(82)));
});

t.test("a socket is its user's alone, and is gone when it is closed", async (t) => {
  const dir = runtimeDir(t);
  const before = openFds();
  const socket = asUser(() => new SessionSocket(sys, 'cid', dir));
  const path = join(dir, 'conmon/cid');
  t.equal(lstatSync(join(dir, 'conmon')).mode & 0o777, 0o700);
  t.equal(lstatSync(path).mode & 0o777, 0o700);
  t.ok(lstatSync(path).isSocket());
  t.equal(connect(path), 0);
  asUser(() => socket.close());
  asUser(() => socket.close());
  t.notOk(existsSync(path));
  t.equal(openFds(), before);
});

t.test('a socket that a killed daemon has left is replaced, a live one is not', async (t) => {
  const dir = runtimeDir(t);
  const path = join(dir, 'conmon/cid');
  asUser(() => {
    mkdirSync(join(dir, 'conmon'), { mode: 0o700 });
    const left = sys.socket(SOCK_SEQPACKET);
    t.equal(sys.bind(left, path), 0);
    sys.close(left);
  });
  t.ok(lstatSync(path).isSocket());
  const socket = asUser(() => new SessionSocket(sys, 'cid', dir));
  t.equal(connect(path), 0);
  const before = openFds();
  t.throws(() => asUser(() => new SessionSocket(sys, 'cid', dir)), /in use/);
  t.equal(openFds(), before, 'and leaves nothing');
  t.equal(connect(path), 0, 'the first one goes on');
  asUser(() => socket.close());
});

t.test('only its own socket is removed', async (t) => {
  const dir = runtimeDir(t);
  const path = join(dir, 'conmon/cid');
  const first = asUser(() => new SessionSocket(sys, 'cid', dir));
  rmSync(path);
  const second = asUser(() => new SessionSocket(sys, 'cid', dir));
  asUser(() => first.close());
  t.equal(connect(path), 0);
  asUser(() => second.close());
  t.notOk(existsSync(path));
});

t.test('a directory that is a symlink, or open to others, or not ours is refused', async (t) => {
  const before = openFds();
  for (const spoil of [
    (dir: string) => chmodSync(dir, 0o770),
    (dir: string) => chmodSync(dir, 0o707),
    (dir: string) => {
      mkdirSync(join(dir, 'conmon'));
      chmodSync(join(dir, 'conmon'), 0o750);
    },
    (dir: string) => {
      mkdirSync(join(dir, 'elsewhere'), { mode: 0o700 });
      symlinkSync('elsewhere', join(dir, 'conmon'));
    },
    (dir: string) => rmSync(dir, { recursive: true }),
  ]) {
    const dir = runtimeDir(t);
    asUser(() => spoil(dir));
    t.throws(() => asUser(() => new SessionSocket(sys, 'cid', dir)), String(spoil));
  }
  if (root) {
    const dir = runtimeDir(t);
    mkdirSync(join(dir, 'conmon'), { mode: 0o700 });
    t.throws(() => asUser(() => new SessionSocket(sys, 'cid', dir)), /belongs to another user/);
  }
  asUser(() => {
    for (const dir of [undefined, '', 'relative']) t.throws(() => new SessionSocket(sys, 'cid', dir), String(dir));
  });
  t.equal(openFds(), before);
});

if (root)
  t.test('no variable tells root where to go', async (t) => {
    const dir = runtimeDir(t);
    const cid = `conmon-test-${process.pid}`;
    const socket = new SessionSocket(sys, cid, dir);
    t.notOk(existsSync(join(dir, 'conmon')));
    t.ok(existsSync(`/run/conmon/${cid}`));
    socket.close();
    t.notOk(existsSync(`/run/conmon/${cid}`));
  });
