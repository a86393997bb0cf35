/** For test/unit/native/arguments.test.ts: numbers that are no integers, and arrays that the addon does not know. */
import { constants } from 'node:os';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';

const { EINVAL, EBADF } = constants.errno;
const NO_FD = 700;

t.test('an offset or a length that is NaN is refused', async (t) => {
  const bytes = new Uint8Array(16);
  for (const [offset, length] of [
    [NaN, 1],
    [0, NaN],
    [NaN, NaN],
  ] as const) {
    t.equal(sys.read(NO_FD, bytes, offset, length), -EINVAL);
    t.equal(sys.write(NO_FD, bytes, offset, length), -EINVAL);
    t.equal(sys.sendmsg(NO_FD, bytes, offset, length, new Int32Array(0), 0), -EINVAL);
    t.equal(sys.recvmsg(NO_FD, bytes, offset, length, new Int32Array(1), 0), -EINVAL);
  }
});

t.test('closeRange of NaN closes nothing', async (t) => {
  t.equal(sys.closeRange(NO_FD, NaN, 0), -EINVAL);
  t.equal(sys.closeRange(NaN, NaN, 0x40), -EINVAL, 'an unknown flag, so that nothing is closed today');
  t.not(sys.fcntl(0, 1, 0), -EBADF);
});

t.test('a number that is no 32-bit integer is refused, not bent into another process or fd', async (t) => {
  for (const value of [NaN, Infinity, -Infinity, 2 ** 32, 2 ** 32 - 1, -(2 ** 32), 0.5, 1e300]) {
    t.equal(sys.kill(value, 0), -EINVAL, `pid ${value}`);
    t.equal(sys.getpgid(value), -EINVAL, `pid ${value}`);
    t.equal(sys.fcntl(value, 1, 0), -EINVAL, `fd ${value}`);
  }
});

t.test('a Float16Array is not taken for eight bytes an element', async (t) => {
  const fds = new Int32Array(2);
  sys.pipe2(fds, 0o4000);
  const [readFd = -1, writeFd = -1] = fds;
  const view = new Float16Array(8) as unknown as Uint8Array;
  t.equal(sys.write(writeFd, view, 0, 17), -EINVAL, 'memory behind the array would be written out');
  sys.write(writeFd, new Uint8Array(64), 0, 64);
  t.equal(sys.read(readFd, view, 0, 64), -EINVAL, 'memory behind the array would be overwritten');
  sys.close(readFd);
  sys.close(writeFd);
});
