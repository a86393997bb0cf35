/** Unix sockets: binding, connecting, and fds that travel in messages. */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  O_CLOEXEC,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { pipe } from './fake-sys.ts';
import { ended, start } from './report.ts';

const { EADDRINUSE, EAGAIN, EBADF, ECONNREFUSED, EINVAL, ENAMETOOLONG, ENOENT, ENOTSOCK, EPIPE, EPROTOTYPE } =
  constants.errno;
const NO_FDS = new Int32Array(0);
/** sun_path's limit, with the NUL. */
const ADDRESS_MAX = 108;

const dir = mkdtempSync(join(tmpdir(), 'conmon-socket-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

const openFds = () => readdirSync('/proc/self/fd').length;

function pair(type: number): readonly [number, number] {
  const fds = new Int32Array(2);
  const result = sys.socketpair(type | SOCK_CLOEXEC, fds);
  if (result < 0) throw new Error(`socketpair: ${sys.strerror(result)}`);
  return [fds[0] ?? -1, fds[1] ?? -1];
}

for (const [name, type] of Object.entries({ SOCK_STREAM, SOCK_SEQPACKET }))
  t.test(`${name}: bind, listen, connect, accept, talk, shut down`, async (t) => {
    const path = join(dir, name);
    const listener = sys.socket(type | SOCK_CLOEXEC | SOCK_NONBLOCK);
    t.equal(sys.bind(listener, path), 0);
    chmodSync(path, 0o700);
    t.equal(sys.accept4(listener, 0), -EINVAL, 'not yet listening');
    const client = sys.socket(type | SOCK_CLOEXEC);
    t.equal(sys.connect(client, path), -ECONNREFUSED);
    t.equal(sys.listen(listener, 5), 0);
    t.equal(sys.accept4(listener, SOCK_CLOEXEC), -EAGAIN);
    t.equal(sys.connect(client, path), 0);
    const server = sys.accept4(listener, SOCK_CLOEXEC | SOCK_NONBLOCK);
    t.equal(sys.fcntl(server, F_GETFD, 0), FD_CLOEXEC);
    t.ok(sys.fcntl(server, F_GETFL, 0) & SOCK_NONBLOCK);
    t.equal(sys.write(client, Buffer.from('hello'), 0, 5), 5);
    const bytes = Buffer.alloc(5);
    t.equal(sys.read(server, bytes, 0, 5), 5);
    t.equal(bytes.toString(), 'hello');
    t.equal(sys.read(server, bytes, 0, 5), -EAGAIN);
    t.equal(sys.shutdown(client, SHUT_WR), 0);
    t.equal(sys.read(server, bytes, 0, 5), 0);
    t.equal(sys.write(client, bytes, 0, 1), -EPIPE);
    t.equal(sys.write(server, bytes, 0, 5), 5, 'the other direction is still open');
    for (const fd of [listener, client, server]) sys.close(fd);
    t.equal(sys.bind(sys.socket(type), path), -EADDRINUSE);
  });

t.test('a datagram socket takes whole messages', async (t) => {
  const path = join(dir, 'dgram');
  const receiver = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC);
  t.equal(sys.bind(receiver, path), 0);
  const sender = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC);
  t.equal(sys.connect(sender, path), 0);
  t.equal(sys.sendmsg(sender, Buffer.from('READY=1'), 0, 7, NO_FDS, 0), 7);
  const bytes = Buffer.alloc(100);
  t.equal(sys.recvmsg(receiver, bytes, 0, 100, new Int32Array(1), MSG_DONTWAIT), 7);
  t.equal(bytes.toString('latin1', 0, 7), 'READY=1');
  t.equal(sys.recvmsg(receiver, bytes, 0, 100, new Int32Array(1), MSG_DONTWAIT), -EAGAIN);
  sys.close(sender);
  sys.close(receiver);
});

t.test('an address is a path that fits, never an abstract name', async (t) => {
  const fd = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  const longest = join(dir, 'x'.repeat(ADDRESS_MAX - 1 - dir.length - 1));
  t.equal(longest.length, ADDRESS_MAX - 1);
  t.equal(sys.bind(fd, ''), -ENAMETOOLONG);
  t.equal(sys.bind(fd, '\0abstract'), -EINVAL);
  t.equal(sys.bind(fd, `${longest}x`), -ENAMETOOLONG);
  t.equal(sys.connect(fd, `${longest}x`), -ENAMETOOLONG);
  t.equal(sys.bind(fd, longest), 0);
  sys.close(fd);
  const client = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  t.equal(sys.connect(client, longest), -ECONNREFUSED);
  t.equal(sys.connect(client, join(dir, 'missing')), -ENOENT);
  sys.close(client);
});

t.test('sockets say what is wrong', async (t) => {
  t.equal(sys.socket(99), -EINVAL);
  t.equal(sys.socketpair(99, new Int32Array(2)), -EINVAL);
  t.equal(sys.socketpair(SOCK_STREAM, new Int32Array(1)), -EINVAL, 'no room for two');
  const path = join(dir, 'stream');
  const listener = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  sys.bind(listener, path);
  sys.listen(listener, 1);
  const client = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
  t.equal(sys.connect(client, path), -EPROTOTYPE);
  sys.close(client);
  sys.close(listener);
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  t.equal(sys.listen(readFd, 1), -ENOTSOCK);
  t.equal(sys.shutdown(readFd, SHUT_WR), -ENOTSOCK);
  t.equal(sys.recvmsg(readFd, Buffer.alloc(1), 0, 1, new Int32Array(1), 0), -ENOTSOCK);
  sys.close(readFd);
  sys.close(writeFd);
});

t.test('packets keep their bounds, and a packet longer than the buffer is cut', async (t) => {
  const [a, b] = pair(SOCK_SEQPACKET);
  sys.write(a, Buffer.from('one'), 0, 3);
  sys.write(a, Buffer.from('three'), 0, 5);
  const bytes = Buffer.alloc(4);
  t.equal(sys.recvmsg(b, bytes, 0, 4, new Int32Array(1), 0), 3);
  t.equal(sys.recvmsg(b, bytes, 0, 4, new Int32Array(1), 0), 4);
  t.equal(bytes.toString(), 'thre');
  sys.close(a);
  t.equal(sys.recvmsg(b, bytes, 0, 4, new Int32Array(1), 0), 0, 'the end');
  sys.close(b);
});

t.test('attach packets: a type byte from one place and the bytes from another, several with one call', async (t) => {
  const [a, b] = pair(SOCK_SEQPACKET);
  const parts = Uint32Array.of(0, 1, 2, 4, 1, 1, 0, 0);
  t.equal(sys.sendmmsg(a, Buffer.from('\x03\x02text'), parts, 2, 2, MSG_NOSIGNAL), 2);
  const bytes = Buffer.alloc(10);
  t.equal(sys.read(b, bytes, 0, 10), 5);
  t.equal(bytes.toString('latin1', 0, 5), '\x03text');
  t.equal(sys.read(b, bytes, 0, 10), 1);
  t.equal(bytes[0], 2);
  sys.close(b);
  t.equal(sys.sendmmsg(a, Buffer.from('x'), Uint32Array.of(0, 1), 1, 1, MSG_NOSIGNAL), -EPIPE);
  sys.close(a);
});

t.test('fds travel with a message and arrive close-on-exec', async (t) => {
  const [a, b] = pair(SOCK_STREAM);
  const { readFd, writeFd } = pipe();
  t.equal(sys.sendmsg(a, Buffer.from('-x-'), 1, 1, Int32Array.of(writeFd, writeFd), MSG_NOSIGNAL), 1);
  sys.close(writeFd);
  const fds = new Int32Array(5).fill(-7);
  const bytes = Buffer.alloc(3, '.');
  t.equal(sys.recvmsg(b, bytes, 2, 1, fds, 0), 1);
  t.equal(bytes.toString(), '..x');
  t.same([...fds.subarray(3)], [-7, -7], 'the rest of the array is left alone');
  t.equal(fds[0], 2);
  for (const fd of fds.subarray(1, 3)) {
    t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
    t.equal(sys.write(fd, Buffer.from('!'), 0, 1), 1);
    sys.close(fd);
  }
  t.equal(sys.read(readFd, Buffer.alloc(3), 0, 3), 2);
  for (const fd of [a, b, readFd]) sys.close(fd);
});

t.test('a message without fds, and one that is not there, have none', async (t) => {
  const [a, b] = pair(SOCK_STREAM);
  const fds = Int32Array.of(9, 9);
  sys.write(a, Buffer.from('x'), 0, 1);
  t.equal(sys.recvmsg(b, Buffer.alloc(1), 0, 1, fds, 0), 1);
  t.equal(fds[0], 0);
  fds[0] = 9;
  t.equal(sys.recvmsg(b, Buffer.alloc(1), 0, 1, fds, MSG_DONTWAIT), -EAGAIN);
  t.equal(fds[0], 0);
  sys.close(a);
  sys.close(b);
});

t.test('fds without room are closed, whoever has to do it', async (t) => {
  const [a, b] = pair(SOCK_STREAM);
  const before = openFds();
  for (const [sent, room] of [
    [3, 0],
    [3, 1],
    [16, 4],
    [16, 16],
    [40, 3],
    [40, 30],
    [253, 253],
    [253, 100],
  ] as const) {
    const map = Int32Array.of(0, 0, 1, 1, 2, 2, 3, a);
    const pid = start([`send-fds=3,${sent}`], { fdMap: map, keepFds: Int32Array.of(3) });
    t.equal(await ended(pid), 0, `${sent} fds were sent`);
    const fds = new Int32Array(1 + room);
    t.equal(sys.recvmsg(b, Buffer.alloc(1), 0, 1, fds, 0), 1);
    t.equal(fds[0], Math.min(sent, room));
    for (const fd of fds.subarray(1, 1 + (fds[0] ?? 0))) t.equal(sys.close(fd), 0);
    t.equal(openFds(), before, 'nothing else was left open');
  }
  sys.close(a);
  sys.close(b);
});

t.test('no more than 253 fds are sent, and only open ones', async (t) => {
  const [a, b] = pair(SOCK_STREAM);
  t.equal(sys.sendmsg(a, Buffer.from('x'), 0, 1, new Int32Array(254).fill(2), 0), -EINVAL);
  t.equal(sys.sendmsg(a, Buffer.from('x'), 0, 1, Int32Array.of(2, 700), 0), -EBADF);
  t.equal(sys.sendmsg(a, Buffer.from('x'), 0, 1, new Int32Array(253).fill(2), 0), 1);
  const fds = new Int32Array(254);
  t.equal(sys.recvmsg(b, Buffer.alloc(1), 0, 1, fds, 0), 1);
  t.equal(fds[0], 253);
  for (const fd of fds.subarray(1)) sys.close(fd);
  sys.close(a);
  sys.close(b);
});
