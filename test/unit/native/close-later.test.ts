/** close(2) on a thread of its own, one at a time in the process. */
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { EAGAIN, ETIMEDOUT, F_GETFD, POLLHUP } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { pipe } from './fake-sys.ts';

const { EBADF, EINVAL } = constants.errno;
const LONG_MS = 60_000;
const MIB = 1 << 20;

/** Whether an fd is open. Only while nobody else opens any. */
const isOpen = (fd: number): boolean => sys.fcntl(fd, F_GETFD, 0) >= 0;

/** A file of so many MiB in memory, whose close takes a tenth of a millisecond for each. */
function memoryFile(mib: number): number {
  const fd = sys.memfdCreate('close-later', 1);
  if (fd < 0 || (mib > 0 && sys.fallocate(fd, 0, 0, mib * MIB) < 0)) throw new Error('no memory for a file');
  return fd;
}

t.test('the fd is closed, and who waits for that hears of it', async (t) => {
  const { readFd, writeFd } = pipe();
  t.equal(sys.closeLater(writeFd), 0);
  t.equal(sys.awaitClose(LONG_MS), 0);
  t.notOk(isOpen(writeFd));
  const set = Int32Array.of(readFd, 0);
  t.equal(sys.poll(set, 1, 0), 1);
  t.ok((set[1] ?? 0) >>> 16 === POLLHUP, 'it was the last one');
  sys.close(readFd);
});

t.test('with none under way nobody waits', async (t) => {
  t.equal(sys.awaitClose(LONG_MS), 0);
  t.equal(sys.awaitClose(0), 0);
});

t.test(
  'while one is under way the next is refused and stays the caller’s, and a wait ends with its time',
  async (t) => {
    // The thread may always be the quicker one: then once more.
    for (let mib = 4; ; mib = Math.min(2 * mib, 256)) {
      const [first, second] = [memoryFile(mib), memoryFile(0)];
      t.equal(sys.closeLater(first), 0);
      const refused = sys.closeLater(second);
      const waited = sys.awaitClose(0);
      t.equal(sys.awaitClose(LONG_MS), 0);
      t.notOk(isOpen(first));
      if (refused === 0) continue;
      t.equal(refused, EAGAIN);
      t.ok(isOpen(second));
      sys.close(second);
      if (waited === 0) continue;
      t.equal(waited, ETIMEDOUT);
      return;
    }
  },
);

t.test('after one another they leave no thread and no fd', async (t) => {
  const threads = () => readdirSync('/proc/self/task').length;
  const fds = () => readdirSync('/proc/self/fd').length;
  const [threadsBefore, fdsBefore] = [threads(), fds()];
  for (let i = 0; i < 200; i++) {
    t.equal(sys.closeLater(memoryFile(0)), 0);
    t.equal(sys.awaitClose(LONG_MS), 0);
  }
  t.equal(fds(), fdsBefore);
  await waitFor('the threads to be gone', () => threads() <= threadsBefore);
});

t.test('what is no fd is refused', async (t) => {
  t.equal(sys.closeLater(-1), -EBADF);
  t.equal(sys.awaitClose(-1), -EINVAL);
  t.equal(sys.awaitClose(0), 0, 'and nothing is under way');
});
