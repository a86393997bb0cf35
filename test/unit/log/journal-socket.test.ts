/** The connection to journald when a system call fails: the reason is told, and no fd is left. */
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { JournalSocket } from '../../../src/log/journal-socket.ts';
import { F_ADD_SEALS } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { JournaldRig } from './journald-rig.ts';

const { EIO, EMFILE, EMSGSIZE, ENOBUFS } = constants.errno;
const fds = (): number => readdirSync('/proc/self/fd').length;
/** One message of two parts. */
const MEMORY = Buffer.from('MESSAGE=a\nPRIORITY=6\n');
const TABLE = Uint32Array.of(0, 10, 10, 11);

function socketTo(t: Test, calls: Partial<Sys>): { socket: JournalSocket; rig: JournaldRig } {
  const rig = new JournaldRig(t);
  const socket = new JournalSocket(realSysBut(calls), rig.journal.path, false);
  t.teardown(() => socket.close());
  return { socket, rig };
}

t.test('a connection that cannot be made says why and leaves no fd', async (t) => {
  for (const [calls, errno] of [
    [{ socket: () => -EMFILE }, -EMFILE],
    [{ setSendTimeout: () => -EIO }, -EIO],
    [{ connect: () => -EIO }, -EIO],
  ] as const) {
    const { socket } = socketTo(t, calls);
    const before = fds();
    t.equal(socket.connect(), errno);
    t.equal(socket.fd, -1);
    t.equal(fds(), before);
    socket.close();
  }
});

t.test('a connection is made once, and can be made again after it was closed', async (t) => {
  const { socket } = socketTo(t, {});
  const before = fds();
  for (let i = 0; i < 2; i++) {
    t.equal(socket.connect(), 0);
    t.equal(socket.connect(), 0);
    t.equal(fds(), before + 1);
    socket.close();
    socket.close();
    t.equal(fds(), before);
  }
});

t.test('what no datagram holds goes as a file, whichever way the kernel says that', async (t) => {
  for (const errno of [EMSGSIZE, ENOBUFS]) {
    const { socket, rig } = socketTo(t, { sendmmsg: () => -errno });
    socket.connect();
    const before = fds();
    t.equal(socket.send(MEMORY, TABLE, 2, 1), 1);
    t.equal(fds(), before);
    t.same(rig.lines, ['6|a']);
    t.equal(rig.journal.files, 1);
  }
});

t.test('a file that cannot be made, filled, sealed or sent says why, and is left nowhere', async (t) => {
  const { fcntl, write } = sys;
  let writes = 0;
  for (const calls of [
    { memfdCreate: () => -EIO },
    { write: () => -EIO },
    { write: (...args: Parameters<Sys['write']>) => (writes++ === 0 ? -EIO : write(...args)) },
    { fcntl: (...args: Parameters<Sys['fcntl']>) => (args[1] === F_ADD_SEALS ? -EIO : fcntl(...args)) },
    { sendmsg: () => -EIO },
  ]) {
    const { socket, rig } = socketTo(t, { sendmmsg: () => -EMSGSIZE, ...calls });
    socket.connect();
    const before = fds();
    t.equal(socket.send(MEMORY, TABLE, 2, 1), -EIO);
    t.equal(fds(), before);
    t.same(rig.lines, [], 'nothing is sent by halves');
  }
});

t.test('a file is filled however little a write takes', async (t) => {
  const { write } = sys;
  const { socket, rig } = socketTo(t, {
    sendmmsg: () => -EMSGSIZE,
    write: (fd, bytes, offset, length) => write(fd, bytes, offset, Math.min(length, 3)),
  });
  socket.connect();
  t.equal(socket.send(MEMORY, TABLE, 2, 1), 1);
  t.same(rig.lines, ['6|a']);
});
