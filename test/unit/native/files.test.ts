/** Files and descriptors: each call once for real, and its failures as negative errnos. */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  F_DUPFD_CLOEXEC,
  F_GETFD,
  F_GETFL,
  F_GETPIPE_SZ,
  F_SETFD,
  F_SETFL,
  F_SETPIPE_SZ,
  FD_CLOEXEC,
  O_CLOEXEC,
} from '../../../src/native/constants.ts';
import { failureText, sys } from '../../../src/native/sys.ts';
import { pipe } from './fake-sys.ts';

const { EAGAIN, EBADF, EEXIST, EINVAL, EISDIR, ENOENT, EPIPE } = constants.errno;
const O_NONBLOCK = 0o4000;
/** Above all that the test runner has open. */
const HIGH_FD = 700;

const dir = mkdtempSync(join(tmpdir(), 'conmon-native-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

function aPipe(test: Tap, flags = O_CLOEXEC) {
  const ends = pipe(flags);
  test.teardown(() => {
    sys.close(ends.readFd);
    sys.close(ends.writeFd);
  });
  return ends;
}

t.test('what is written to a pipe is read from it, at the offsets asked for', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  t.equal(sys.write(writeFd, Buffer.from('--hello--'), 2, 5), 5);
  t.equal(sys.fionread(readFd), 5);
  const into = Buffer.alloc(10, '.');
  t.equal(sys.read(readFd, into, 3, 4), 4);
  t.equal(into.toString(), '...hell...');
  t.equal(sys.read(readFd, into, 0, 10), 1);
  t.equal(sys.fionread(readFd), 0);
});

t.test('shared memory and views into it are read into and written from', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const shared = new SharedArrayBuffer(64);
  const view = new Uint8Array(shared, 16, 16);
  view.set(Buffer.from('abcdef'), 4);
  t.equal(sys.write(writeFd, view, 4, 6), 6);
  t.equal(sys.read(readFd, view, 10, 6), 6);
  t.equal(Buffer.from(new Uint8Array(shared)).toString('latin1', 16 + 10, 16 + 16), 'abcdef');
});

t.test('nothing of length 0 is done quickly', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  t.equal(sys.write(writeFd, Buffer.alloc(0), 0, 0), 0);
  t.equal(sys.read(readFd, Buffer.alloc(4), 4, 0), 0, 'at the very end of the buffer');
});

t.test('the end of a pipe reads as 0, its other end as EPIPE', async (t) => {
  const first = pipe();
  sys.close(first.writeFd);
  t.equal(sys.read(first.readFd, Buffer.alloc(1), 0, 1), 0);
  sys.close(first.readFd);
  const second = pipe();
  sys.close(second.readFd);
  t.equal(sys.write(second.writeFd, Buffer.from('x'), 0, 1), -EPIPE);
  sys.close(second.writeFd);
});

t.test('an empty and a full non-blocking pipe say EAGAIN; a write may be short', async (t) => {
  const { readFd, writeFd } = aPipe(t, O_CLOEXEC | O_NONBLOCK);
  t.equal(sys.read(readFd, Buffer.alloc(1), 0, 1), -EAGAIN);
  const size = sys.fcntl(writeFd, F_GETPIPE_SZ, 0);
  t.equal(sys.write(writeFd, Buffer.alloc(size + 1), 0, size + 1), size);
  t.equal(sys.write(writeFd, Buffer.from('x'), 0, 1), -EAGAIN);
});

t.test('a closed fd is EBADF everywhere', async (t) => {
  const fd = HIGH_FD;
  const bytes = Buffer.alloc(1);
  t.equal(sys.close(fd), -EBADF);
  t.equal(sys.read(fd, bytes, 0, 1), -EBADF);
  t.equal(sys.write(fd, bytes, 0, 1), -EBADF);
  t.equal(sys.fionread(fd), -EBADF);
  t.equal(sys.fcntl(fd, F_GETFD, 0), -EBADF);
  t.equal(sys.dup3(fd, HIGH_FD + 1, 0), -EBADF);
  t.equal(sys.close(-1), -EBADF);
});

t.test('a directory cannot be read', async (t) => {
  const fd = openSync(dir, 'r');
  t.equal(sys.read(fd, Buffer.alloc(1), 0, 1), -EISDIR);
  closeSync(fd);
});

t.test('dup3 makes a copy at the number asked for, close-on-exec or not', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  t.equal(sys.dup3(writeFd, HIGH_FD, O_CLOEXEC), HIGH_FD);
  t.equal(sys.fcntl(HIGH_FD, F_GETFD, 0), FD_CLOEXEC);
  t.equal(sys.dup3(writeFd, HIGH_FD, 0), HIGH_FD, 'over an open one');
  t.equal(sys.fcntl(HIGH_FD, F_GETFD, 0), 0);
  t.equal(sys.write(HIGH_FD, Buffer.from('x'), 0, 1), 1);
  t.equal(sys.fionread(readFd), 1);
  t.equal(sys.dup3(HIGH_FD, HIGH_FD, 0), -EINVAL, 'the same number');
  t.equal(sys.close(HIGH_FD), 0);
});

t.test('pipe2 takes flags for both ends', async (t) => {
  const { readFd, writeFd } = aPipe(t, O_CLOEXEC | O_NONBLOCK);
  for (const fd of [readFd, writeFd]) {
    t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
    t.ok(sys.fcntl(fd, F_GETFL, 0) & O_NONBLOCK);
  }
  t.equal(sys.pipe2(new Int32Array(2), 0x40), -EINVAL, 'an unknown flag');
});

t.test('fcntl reads and sets flags, copies, and sizes pipes', async (t) => {
  const { readFd, writeFd } = aPipe(t, 0);
  t.equal(sys.fcntl(readFd, F_SETFD, FD_CLOEXEC), 0);
  t.equal(sys.fcntl(readFd, F_GETFD, 0), FD_CLOEXEC);
  t.equal(sys.fcntl(readFd, F_SETFL, O_NONBLOCK), 0);
  t.equal(sys.fcntl(readFd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
  t.equal(sys.fcntl(writeFd, F_GETFL, 0) & O_NONBLOCK, 0, 'the other end is as it was');
  const copy = sys.fcntl(readFd, F_DUPFD_CLOEXEC, HIGH_FD);
  t.ok(copy >= HIGH_FD);
  t.equal(sys.fcntl(copy, F_GETFD, 0), FD_CLOEXEC);
  sys.close(copy);
  t.equal(sys.fcntl(writeFd, F_SETPIPE_SZ, 8192), 8192);
  t.equal(sys.fcntl(writeFd, F_GETPIPE_SZ, 0), 8192);
  t.equal(sys.fcntl(writeFd, 12345, 0), -EINVAL, 'an unknown command');
});

t.test('closeRange closes what is in the range, or marks it, and nothing else', async (t) => {
  const { readFd } = aPipe(t);
  for (const fd of [HIGH_FD, HIGH_FD + 2, HIGH_FD + 3]) sys.dup3(readFd, fd, 0);
  t.equal(sys.closeRange(HIGH_FD, HIGH_FD + 2, 4), 0, 'CLOSE_RANGE_CLOEXEC');
  t.same(
    [HIGH_FD, HIGH_FD + 2, HIGH_FD + 3].map((fd) => sys.fcntl(fd, F_GETFD, 0)),
    [FD_CLOEXEC, FD_CLOEXEC, 0],
  );
  t.equal(sys.closeRange(HIGH_FD, HIGH_FD + 2, 0), 0);
  t.same(
    [HIGH_FD, HIGH_FD + 2, HIGH_FD + 3].map((fd) => sys.fcntl(fd, F_GETFD, 0)),
    [-EBADF, -EBADF, 0],
  );
  t.equal(sys.closeRange(HIGH_FD, 0xffffffff, 0), 0, 'to the last fd there can be');
  t.equal(sys.fcntl(HIGH_FD + 3, F_GETFD, 0), -EBADF);
  t.equal(sys.closeRange(HIGH_FD, HIGH_FD - 1, 0), -EINVAL);
  t.equal(sys.closeRange(HIGH_FD, 0x1_0000_0000, 0), -EINVAL);
  t.equal(sys.closeRange(-1, HIGH_FD, 0), -EINVAL);
});

t.test('mkfifo makes a FIFO once, with the mode asked for', async (t) => {
  const before = process.umask(0o022);
  t.teardown(() => process.umask(before));
  const path = join(dir, 'ünï fifo');
  t.equal(sys.mkfifo(path, 0o660), 0);
  t.ok(statSync(path).isFIFO());
  t.equal(statSync(path).mode & 0o777, 0o640, 'less the umask');
  t.equal(sys.mkfifo(path, 0o660), -EEXIST);
  t.equal(sys.mkfifo(join(dir, 'no/such/dir'), 0o660), -ENOENT);
  t.equal(sys.mkfifo('', 0o660), -ENOENT);
});

t.test('a path with a NUL or beyond PATH_MAX is refused, not cut', async (t) => {
  t.equal(sys.mkfifo(`${dir}/a\0b`, 0o600), -EINVAL);
  t.equal(sys.mkfifo(`${dir}/${'x'.repeat(4096)}`, 0o600), -EINVAL);
  t.equal(sys.mkfifo(`${dir}/${'€'.repeat(1400)}`, 0o600), -EINVAL, 'bytes count, not characters');
});

t.test('strerror speaks as libc does, for either sign', async (t) => {
  t.equal(sys.strerror(ENOENT), 'No such file or directory');
  t.equal(sys.strerror(-ENOENT), 'No such file or directory');
  t.equal(sys.strerror(0), 'Success');
  t.equal(sys.strerror(99999), 'Unknown error 99999');
});

t.test('failureText names the reason alone, whatever was thrown', async (t) => {
  const failure = (task: () => unknown) => {
    try {
      task();
    } catch (error) {
      return failureText(error);
    }
    return 'nothing was thrown';
  };
  t.equal(
    failure(() => openSync(join(dir, 'missing'), 'r')),
    'No such file or directory',
  );
  t.equal(
    failure(() => writeFileSync(dir, '')),
    'Is a directory',
  );
  t.equal(failureText(new Error('a message')), 'a message');
  t.equal(failureText('text'), 'text');
  t.equal(failureText(undefined), 'undefined');
});

type Tap = { teardown(task: () => void): void };
