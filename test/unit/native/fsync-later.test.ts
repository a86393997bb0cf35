/** fsync(2) on a thread of its own. */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { O_CLOEXEC } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { pipe } from './fake-sys.ts';

const { EBADF, EINVAL } = constants.errno;

/** What it says, later. Throws when there is no thread. */
function fsync(fd: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = sys.fsyncLater(fd, resolve);
    if (started !== 0) reject(new Error(sys.strerror(started)));
  });
}

t.test('what fsync says is told, never before the call has returned', async (t) => {
  const fd = openSync(join(t.testdir({}), 'file'), 'w');
  let told: number | undefined;
  t.equal(
    sys.fsyncLater(fd, (result) => {
      told = result;
    }),
    0,
  );
  t.equal(told, undefined);
  await waitFor('the answer', () => told !== undefined);
  t.equal(told, 0);
  closeSync(fd);
});

t.test('failures are told as errnos', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  t.equal(await fsync(writeFd), -EINVAL);
  for (const fd of [readFd, writeFd]) sys.close(fd);
  t.equal(await fsync(-1), -EBADF);
});

t.test('many at once are told each, and leave no thread and no fd', async (t) => {
  const fd = openSync(join(t.testdir({}), 'file'), 'w');
  const threads = () => readdirSync('/proc/self/task').length;
  const fds = () => readdirSync('/proc/self/fd').length;
  t.equal(await fsync(fd), 0);
  const [threadsBefore, fdsBefore] = [threads(), fds()];
  const results = await Promise.all(Array.from({ length: 50 }, () => fsync(fd)));
  t.same(results, new Array(50).fill(0));
  await waitFor('the threads to be gone', () => threads() <= threadsBefore);
  t.equal(fds(), fdsBefore);
  closeSync(fd);
});

t.test('one after the other they share a thread, which is gone a second after the last', async (t) => {
  const fd = openSync(join(t.testdir({}), 'file'), 'w');
  const threads = () => readdirSync('/proc/self/task');
  /** Between its answer and its next wait the thread is not there for the next file yet. */
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(await fsync(fd), 0);
  await pause();
  const there = threads();
  for (let i = 0; i < 10; i++) {
    t.equal(await fsync(i % 2 === 0 ? fd : -1), i % 2 === 0 ? 0 : -EBADF, 'each is told what is said of its own file');
    await pause();
    t.same(threads(), there);
  }
  await waitFor('the thread to be gone', () => threads().length < there.length);
  const others = new Set(threads());
  t.equal(await fsync(fd), 0, 'then there is another one');
  await pause();
  const [shared] = threads().filter((thread) => !others.has(thread));
  /** How often it has been given a CPU (/proc/PID/task/TID/schedstat). */
  const turns = () => Number(readFileSync(`/proc/self/task/${shared}/schedstat`, 'latin1').split(' ')[2]);
  const before = turns();
  for (let i = 0; i < 5; i++) {
    t.equal(await fsync(fd), 0);
    await pause();
  }
  t.ok(turns() >= before + 5, 'which does each of them itself');
  closeSync(fd);
});

t.test('wrong arguments are refused', async (t) => {
  const call = sys.fsyncLater as (...values: unknown[]) => number;
  t.equal(call(), -EINVAL);
  t.equal(call(1), -EINVAL);
  t.equal(
    call('1', () => {}),
    -EINVAL,
  );
  t.equal(call(1, 1), -EINVAL);
});
