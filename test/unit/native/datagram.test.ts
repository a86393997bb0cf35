/** Several datagrams with one call, and files in memory that travel with one. */
import { constants } from 'node:os';
import t from 'tap';
import {
  EAGAIN,
  F_ADD_SEALS,
  F_GET_SEALS,
  F_GETFD,
  F_SEAL_ALL,
  FD_CLOEXEC,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';

const { EBADF, EINVAL, ENOTSOCK, EPERM } = constants.errno;
const FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL;

function pair(): [number, number] {
  const fds = new Int32Array(2);
  const result = sys.socketpair(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, fds);
  if (result < 0) throw new Error(sys.strerror(result));
  t.teardown(() => {
    for (const fd of fds) sys.close(fd);
  });
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/** The datagrams that wait, as text. */
function received(fd: number): string[] {
  const texts: string[] = [];
  const bytes = Buffer.alloc(1 << 16);
  for (;;) {
    const length = sys.recvmsg(fd, bytes, 0, bytes.length, new Int32Array(1), MSG_DONTWAIT);
    if (length < 0) return texts;
    texts.push(bytes.toString('latin1', 0, length));
  }
}

t.test('each message is its parts, in order', async (t) => {
  const [a, b] = pair();
  const bytes = Buffer.from('-head-one-two-tail');
  const parts = Uint32Array.of(1, 4, 6, 3, 14, 4, 1, 4, 10, 3, 14, 4);
  t.equal(sys.sendmmsg(a, bytes, parts, 3, 2, FLAGS), 2);
  t.same(received(b), ['headonetail', 'headtwotail']);
});

t.test('empty parts and empty messages are allowed', async (t) => {
  const [a, b] = pair();
  t.equal(sys.sendmmsg(a, Buffer.from('x'), Uint32Array.of(0, 0, 0, 1, 1, 0, 1, 0), 2, 2, FLAGS), 2);
  t.same(received(b), ['x', '']);
});

t.test('shared memory is sent as it is', async (t) => {
  const [a, b] = pair();
  const shared = new Uint8Array(new SharedArrayBuffer(8));
  shared.set(Buffer.from('ringring'));
  t.equal(sys.sendmmsg(a, shared, Uint32Array.of(4, 4), 1, 1, FLAGS), 1);
  t.same(received(b), ['ring']);
});

t.test('a full socket takes some, then none', async (t) => {
  const [a, b] = pair();
  const bytes = Buffer.alloc(1000, 'x');
  const parts = new Uint32Array(2 * 128).map((_, i) => (i % 2 === 0 ? 0 : bytes.length));
  let sent = 0;
  let last: number;
  do {
    last = sys.sendmmsg(a, bytes, parts, 1, 128, FLAGS);
    if (last > 0) sent += last;
  } while (last > 0);
  t.equal(last, EAGAIN);
  t.ok(sent > 0 && sent % 128 !== 0, `${sent} messages, the last call took a part of its own`);
  t.equal(received(b).length, sent);
});

t.test('a send that may wait does so for as long as it was told', async (t) => {
  const fds = new Int32Array(2);
  sys.socketpair(SOCK_DGRAM | SOCK_CLOEXEC, fds);
  const [a = -1, b = -1] = fds;
  t.equal(sys.setSendTimeout(a, 30), 0);
  const bytes = Buffer.alloc(1000);
  const parts = new Uint32Array(2 * 128).map((_, i) => (i % 2 === 0 ? 0 : bytes.length));
  let last: number;
  do last = sys.sendmmsg(a, bytes, parts, 1, 128, MSG_NOSIGNAL);
  while (last > 0);
  t.equal(last, EAGAIN);
  const before = performance.now();
  t.equal(sys.sendmmsg(a, bytes, parts, 1, 1, MSG_NOSIGNAL), EAGAIN);
  t.ok(performance.now() - before > 20, 'it has waited');
  t.equal(sys.setSendTimeout(a, -1), -EINVAL);
  t.equal(sys.setSendTimeout(700, 1), -EBADF);
  sys.close(a);
  sys.close(b);
});

t.test('counts and places outside of the buffers are refused', async (t) => {
  const [a, b] = pair();
  const bytes = Buffer.alloc(16);
  const send = (parts: readonly number[], perMessage: number, messages: number) =>
    sys.sendmmsg(a, bytes, Uint32Array.from(parts), perMessage, messages, FLAGS);
  t.equal(send([0, 17], 1, 1), -EINVAL);
  t.equal(send([16, 1], 1, 1), -EINVAL);
  t.equal(send([0xffffffff, 0xffffffff], 1, 1), -EINVAL);
  t.equal(send([0, 1, 0], 1, 2), -EINVAL, 'a table that is too short');
  t.equal(send([0, 1], 0, 1), -EINVAL);
  t.equal(send([0, 1], 1, 0), -EINVAL);
  t.equal(send([0, 1], -1, -1), -EINVAL);
  t.equal(send(new Array(18).fill(0), 9, 1), -EINVAL, 'more than 8 parts');
  t.equal(send(new Array(2 * 129).fill(0), 1, 129), -EINVAL, 'more than 128 messages');
  t.equal(send(new Array(2 * 8 * 128).fill(0), 8, 128), 128, 'the most');
  t.equal(received(b).length, 128);
  const odd = new Uint8Array(17).subarray(1);
  t.equal(sys.sendmmsg(a, bytes, odd as unknown as Uint32Array, 1, 2, FLAGS), 2, 'a table at an odd address');
  t.equal(sys.sendmmsg(700, bytes, Uint32Array.of(0, 1), 1, 1, FLAGS), -EBADF);
});

t.test('a file in memory can be sealed and travels with a message', async (t) => {
  const fd = sys.memfdCreate('test', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  t.ok(fd > 2);
  t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
  t.equal(sys.write(fd, Buffer.from('content'), 0, 7), 7);
  t.equal(sys.fcntl(fd, F_ADD_SEALS, F_SEAL_ALL), 0);
  t.equal(sys.fcntl(fd, F_GET_SEALS, 0), F_SEAL_ALL);
  t.equal(sys.write(fd, Buffer.from('more'), 0, 4), -EPERM);
  const [a, b] = pair();
  t.equal(sys.sendmsg(a, Buffer.alloc(0), 0, 0, Int32Array.of(fd), FLAGS), 0);
  sys.close(fd);
  const fds = new Int32Array(2);
  t.equal(sys.recvmsg(b, Buffer.alloc(1), 0, 1, fds, MSG_DONTWAIT), 0);
  t.equal(fds[0], 1);
  t.equal(sys.fcntl(fds[1] ?? -1, F_GET_SEALS, 0), F_SEAL_ALL);
  sys.close(fds[1] ?? -1);
  t.equal(sys.memfdCreate('x'.repeat(300), 0), -EINVAL, 'a name that is too long');
  const plain = sys.memfdCreate('', MFD_CLOEXEC);
  t.equal(sys.sendmmsg(plain, Buffer.alloc(1), Uint32Array.of(0, 1), 1, 1, FLAGS), -ENOTSOCK);
  sys.close(plain);
});

t.test('a socket can be given room for a whole read of attach packets, and no room that is no number', async (t) => {
  const fds = new Int32Array(2);
  sys.socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, fds);
  const [a = -1, b = -1] = fds;
  const bytes = Buffer.alloc(PACKET_PAYLOAD_MAX + 1);
  const parts = new Uint32Array(2 * 128).map((_, i) => (i % 2 === 0 ? 0 : bytes.length));
  t.equal(sys.setSendBuffer(a, 1 << 16), 0);
  const few = sys.sendmmsg(a, bytes, parts, 1, 128, FLAGS);
  t.equal(sys.setSendBuffer(a, 212_992), 0);
  const more = sys.sendmmsg(a, bytes, parts, 1, 128, FLAGS);
  t.ok(few > 0 && few < 34 && few + more >= 34, `${few} packets, then ${more}`);
  t.equal(sys.setSendBuffer(a, -1), -EINVAL);
  t.equal(sys.setSendBuffer(700, 1), -EBADF);
  sys.close(a);
  sys.close(b);
});

/** Two connected sockets that keep packets apart. */
function packetPair(test: { teardown(end: () => void): void }): readonly [number, number] {
  const fds = new Int32Array(2);
  sys.socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, fds);
  const [a = -1, b = -1] = fds;
  test.teardown(() => {
    sys.close(a);
    sys.close(b);
  });
  return [a, b];
}

function packets(fd: number): readonly string[] {
  const found: string[] = [];
  const bytes = Buffer.alloc(100);
  for (;;) {
    const length = sys.recvmsg(fd, bytes, 0, bytes.length, new Int32Array(1), MSG_DONTWAIT);
    if (length < 0) return found;
    found.push(bytes.toString('latin1', 0, length));
  }
}

t.test('a record goes out as packets: a type byte and a part of it each, the last one shorter', async (t) => {
  const [a, b] = packetPair(t);
  const bytes = Buffer.from('T.0123456789');
  t.equal(sys.sendPackets(a, bytes, 0, 2, 10, 4, FLAGS), 3);
  t.same(packets(b), ['T0123', 'T4567', 'T89']);
  t.equal(sys.sendPackets(a, bytes, 1, 4, 4, 4, FLAGS), 1);
  t.same(packets(b), ['.2345']);
  t.equal(sys.sendPackets(a, Buffer.alloc(129), 0, 1, 128, 1, FLAGS), 128, 'the most');
  t.equal(packets(b).length, 128);
});

t.test('a record that lies outside of the buffer, or would be too many packets, is refused', async (t) => {
  const [a, b] = packetPair(t);
  const context = new Uint8Array(8);
  t.equal(sys.ioSetup(4, context), 0);
  t.teardown(() => sys.ioDestroy(context));
  const bytes = Buffer.alloc(16);
  for (const send of [
    (type: number, offset: number, length: number, each: number, from = bytes) =>
      sys.sendPackets(a, from, type, offset, length, each, FLAGS),
    (type: number, offset: number, length: number, each: number, from = bytes) =>
      sys.ioSubmitPackets(context, a, from, type, offset, length, each),
  ]) {
    t.equal(send(16, 0, 1, 1), -EINVAL, 'the type');
    t.equal(send(0, 1, 16, 4), -EINVAL, 'the end');
    t.equal(send(0, 17, 1, 4), -EINVAL, 'the beginning');
    t.equal(send(0, 1, 0, 4), -EINVAL, 'nothing');
    t.equal(send(0, 1, 4, 0), -EINVAL, 'packets without a byte');
    t.equal(send(0, 1, 4, -1), -EINVAL);
    t.equal(send(-1, 1, 4, 4), -EINVAL);
    t.equal(send(0, 1, 129, 1, Buffer.alloc(200)), -EINVAL, 'more than 128 packets');
  }
  t.same(packets(b), []);
});

t.test(
  'packets as writes that the kernel is given at once: each has its result, also when one does not fit',
  async (t) => {
    const [a, b] = packetPair(t);
    const context = new Uint8Array(8);
    t.equal(sys.ioSetup(4, context), 0);
    const bytes = Buffer.from('T.0123456789');
    const results = new Int32Array(4).fill(7);
    t.equal(sys.ioSubmitPackets(context, a, bytes, 0, 2, 10, 4), 3);
    t.equal(sys.ioGetevents(context, results), 3);
    t.same([...results], [5, 5, 3, 7]);
    t.same(packets(b), ['T0123', 'T4567', 'T89']);
    t.equal(sys.ioGetevents(context, results), 0, 'each is told once');

    const large = new Uint8Array(1 + 128 * PACKET_PAYLOAD_MAX);
    const all = new Int32Array(128);
    t.equal(sys.ioDestroy(context), 0);
    t.equal(sys.ioSetup(128, context), 0);
    t.equal(sys.ioSubmitPackets(context, a, large, 0, 1, large.length - 1, PACKET_PAYLOAD_MAX), 128);
    t.equal(sys.ioGetevents(context, all.subarray(0, 100)), 128, 'results that have no place are left out');
    const sent = all.indexOf(EAGAIN);
    t.ok(sent > 10 && sent < 100 && all[sent - 1] === PACKET_PAYLOAD_MAX + 1 && all[99] === EAGAIN, `${sent}`);
    t.equal(all[100], 0);
    t.equal(sys.ioDestroy(context), 0);
  },
);

t.test('a context that is none is refused, and so is a place for its number that is too small', async (t) => {
  const [a] = packetPair(t);
  const bytes = Buffer.alloc(2);
  for (const context of [new Uint8Array(8), new Uint8Array(8).fill(0xff)]) {
    t.equal(sys.ioSubmitPackets(context, a, bytes, 0, 1, 1, 1), -EINVAL);
    t.equal(sys.ioGetevents(context, new Int32Array(1)), -EINVAL);
    t.equal(sys.ioDestroy(context), -EINVAL);
  }
  t.equal(sys.ioSetup(4, new Uint8Array(4)), -EINVAL);
  t.equal(sys.ioSetup(0, new Uint8Array(8)), -EINVAL);
});

t.test('a socket tells what its unread packets are charged', async (t) => {
  const [a, b] = packetPair(t);
  t.equal(sys.siocoutq(a), 0);
  t.equal(
    sys.sendPackets(a, new Uint8Array(1 + PACKET_PAYLOAD_MAX), 0, 1, PACKET_PAYLOAD_MAX, PACKET_PAYLOAD_MAX, FLAGS),
    1,
  );
  const charge = sys.siocoutq(a);
  t.ok(charge > PACKET_PAYLOAD_MAX && charge < 4 * PACKET_PAYLOAD_MAX, `${charge}`);
  sys.recvmsg(b, Buffer.alloc(9000), 0, 9000, new Int32Array(1), 0);
  t.equal(sys.siocoutq(a), 0);
  t.equal(sys.siocoutq(700), -EBADF);
});
