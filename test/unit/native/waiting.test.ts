/** poll, eventfd and the clocks. */
import { constants } from 'node:os';
import t from 'tap';
import {
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  F_GETFD,
  FD_CLOEXEC,
  O_CLOEXEC,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { pipe } from './fake-sys.ts';
import { ended, start } from './report.ts';

const { EAGAIN, EINVAL } = constants.errno;
const NO_FD = 700;

const revents = (set: Int32Array, slot: number) => (set[2 * slot + 1] ?? 0) >>> 16;

t.test('poll says which fds are ready for what', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  const set = Int32Array.of(readFd, POLLIN, writeFd, POLLOUT, -1, POLLIN, NO_FD, POLLIN);
  t.equal(sys.poll(set, 4, 0), 2);
  t.same(
    [0, 1, 2, 3].map((slot) => revents(set, slot)),
    [0, POLLOUT, 0, POLLNVAL],
  );
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  set[1] = POLLIN;
  t.equal(sys.poll(set, 1, -1), 1, 'no wait when something is there');
  t.equal(revents(set, 0), POLLIN);
  sys.close(writeFd);
  set[1] = POLLIN;
  t.equal(sys.poll(set, 1, -1), 1);
  t.equal(revents(set, 0), POLLIN | POLLHUP);
  sys.close(readFd);
});

t.test('poll tells how long it has waited, whoever wants to know', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  const set = Int32Array.of(readFd, POLLIN);
  const lasted = new Float64Array(1);
  const beforeMs = performance.now();
  t.equal(sys.poll(set, 1, 20, lasted), 0);
  const tookMs = performance.now() - beforeMs;
  t.ok((lasted[0] ?? 0) >= 20 && (lasted[0] ?? 0) <= tookMs, `${lasted[0]} of ${tookMs} ms`);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  lasted[0] = -1;
  t.equal(sys.poll(set, 1, -1, lasted), 1);
  t.ok((lasted[0] ?? -1) >= 0, 'also when there was nothing to wait for');
  t.equal(sys.poll(Int32Array.of(readFd, POLLIN), 1, 0, new Float64Array(0)), -EINVAL, 'no room for an answer');
  for (const fd of [readFd, writeFd]) sys.close(fd);
});

t.test('poll waits as long as it was told', async (t) => {
  const from = performance.now();
  t.equal(sys.poll(new Int32Array(0), 0, 30), 0);
  t.ok(performance.now() - from >= 29);
});

t.test('poll waits for less than a millisecond, too', async (t) => {
  const nothing = new Int32Array(0);
  const from = performance.now();
  for (let i = 0; i < 20; i++) t.equal(sys.poll(nothing, 0, 0.25), 0);
  const tookMs = performance.now() - from;
  t.ok(tookMs >= 20 * 0.24, `${tookMs} ms`);
  const before = performance.now();
  t.equal(sys.poll(nothing, 0, 1.5), 0);
  t.ok(performance.now() - before >= 1.49);
  for (const timeoutMs of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])
    t.equal(sys.poll(nothing, 0, timeoutMs), -EINVAL);
});

t.test('poll takes no more entries than there are', async (t) => {
  t.equal(sys.poll(Int32Array.of(0, 0), 2, 0), -EINVAL);
  t.equal(sys.poll(new Int32Array(3), 2, 0), -EINVAL);
  t.equal(sys.poll(new Int32Array(2), -1, 0), -EINVAL);
});

t.test('a signal ends a poll early, as if nothing had happened', async (t) => {
  const listener = () => {};
  process.on('SIGUSR2', listener);
  t.teardown(() => process.off('SIGUSR2', listener));
  const quiet = pipe(O_CLOEXEC);
  const pid = start(['nap=100', `kill-parent=${constants.signals.SIGUSR2}`]);
  const from = performance.now();
  t.equal(sys.poll(Int32Array.of(quiet.readFd, POLLIN), 1, 20_000), 0);
  t.ok(performance.now() - from < 19_000);
  await ended(pid);
  for (const fd of [quiet.readFd, quiet.writeFd]) sys.close(fd);
});

t.test('an eventfd counts, and starts with what it was given', async (t) => {
  const fd = sys.eventfd(3, EFD_CLOEXEC | EFD_NONBLOCK);
  t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
  const count = new BigUint64Array(1);
  const bytes = new Uint8Array(count.buffer);
  count[0] = 4n;
  t.equal(sys.write(fd, bytes, 0, 8), 8);
  t.equal(sys.read(fd, bytes, 0, 8), 8);
  t.equal(count[0], 7n);
  t.equal(sys.read(fd, bytes, 0, 8), -EAGAIN);
  sys.close(fd);
  t.equal(sys.eventfd(-1, 0), -EINVAL);
  t.equal(sys.eventfd(0, 0x40), -EINVAL);
});

t.test('the clocks give seconds and nanoseconds', async (t) => {
  const now = new Float64Array(2);
  const before = Date.now();
  t.equal(sys.clockGettime(CLOCK_REALTIME, now), 0);
  const ms = (now[0] ?? 0) * 1000 + (now[1] ?? 0) / 1e6;
  t.ok(ms >= before && ms <= Date.now() + 1, `${ms}`);
  t.ok((now[1] ?? -1) >= 0 && (now[1] ?? -1) < 1e9);
  const first = new Float64Array(2);
  sys.clockGettime(CLOCK_MONOTONIC, first);
  sys.clockGettime(CLOCK_MONOTONIC, now);
  t.ok((now[0] ?? 0) * 1e9 + (now[1] ?? 0) >= (first[0] ?? 0) * 1e9 + (first[1] ?? 0));
  t.equal(sys.clockGettime(99, now), -EINVAL);
  t.equal(sys.clockGettime(CLOCK_REALTIME, new Float64Array(1)), -EINVAL);
});
