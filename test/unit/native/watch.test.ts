/** Readiness of an fd in the event loop: watch and unwatch. */
import { openSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import t, { type Test } from 'tap';
import { O_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { type SysResult, sys, type Watch } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { aPipe, pipe } from './fake-sys.ts';
import { inChild } from './in-child.ts';

const { EBADF, EEXIST, EINVAL, EPERM } = constants.errno;

/** Watches `fd` until the test ends; tells every readiness to `onReady`. Throws when it cannot be watched. */
function watch(test: Test, fd: number, onReady: (status: number) => void): Watch {
  const handle = sys.watch(fd, onReady);
  if (isFailure(handle)) throw new Error(`watch: ${sys.strerror(handle)}`);
  test.teardown(() => sys.unwatch(handle));
  return handle;
}

function isFailure(result: Watch | SysResult): result is SysResult {
  return typeof result === 'number';
}

const oneTurn = () => new Promise((resolve) => setImmediate(resolve));

t.test('the callback is called when there is something to read, and again until it was read', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const statuses: number[] = [];
  const bytes = Buffer.alloc(1);
  watch(t, readFd, (status) => {
    statuses.push(status);
    if (statuses.length >= 3) sys.read(readFd, bytes, 0, 1);
  });
  await oneTurn();
  t.same(statuses, []);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  await waitFor('three calls', () => statuses.length >= 3);
  for (let i = 0; i < 5; i++) await oneTurn();
  t.same(statuses, [0, 0, 0]);
});

t.test('the callback is called when the other end is closed', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC | O_NONBLOCK);
  let calls = 0;
  const handle = watch(t, readFd, () => calls++);
  sys.close(writeFd);
  await waitFor('a call', () => calls > 0);
  sys.unwatch(handle);
  sys.close(readFd);
});

t.test('an fd that is watched for writing is told of when there is room', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const full = new Uint8Array(1 << 16);
  while (sys.write(writeFd, full, 0, full.length) > 0);
  let calls = 0;
  const handle = sys.watch(writeFd, () => calls++, true);
  if (isFailure(handle)) throw new Error('watch');
  t.teardown(() => sys.unwatch(handle));
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.equal(calls, 0);
  while (sys.read(readFd, full, 0, full.length) > 0);
  await waitFor('the room', () => calls > 0);
});

t.test('after unwatch nothing is called, also when it is said in the callback, or twice', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  let calls = 0;
  const handle = watch(t, readFd, () => {
    calls++;
    t.equal(sys.unwatch(handle), 0);
  });
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  await waitFor('a call', () => calls > 0);
  for (let i = 0; i < 5; i++) await oneTurn();
  t.equal(calls, 1);
  t.equal(sys.unwatch(handle), 0);
});

t.test('an fd can be watched again once it is no longer watched', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  const first = sys.watch(readFd, () => {});
  t.type(first, 'object');
  t.equal(
    sys.watch(readFd, () => {}),
    -EEXIST,
  );
  if (!isFailure(first)) sys.unwatch(first);
  let calls = 0;
  watch(t, readFd, () => calls++);
  await waitFor('a call', () => calls > 0);
});

t.test('what cannot be watched is an errno', async (t) => {
  t.equal(
    sys.watch(700, () => {}),
    -EBADF,
  );
  t.equal(
    sys.watch(-1, () => {}),
    -EBADF,
  );
  const directory = openSync(tmpdir(), 'r');
  t.equal(
    sys.watch(directory, () => {}),
    -EPERM,
  );
  sys.close(directory);
});

t.test('arguments of the wrong type are refused', async (t) => {
  const raw = sys as unknown as Record<'watch' | 'unwatch', (...values: unknown[]) => unknown>;
  const { readFd } = aPipe(t);
  for (const fd of [undefined, null, 'x', {}, 1n])
    t.equal(
      raw.watch(fd, () => {}),
      -EINVAL,
    );
  for (const callback of [undefined, null, 1, 'x', 1n]) t.equal(raw.watch(readFd, callback), -EINVAL);
  t.equal(raw.watch(readFd), -EINVAL);
  for (const handle of [undefined, null, 1, 'x', {}, () => {}]) t.equal(raw.unwatch(handle), -EINVAL);
  t.equal(raw.unwatch(), -EINVAL);
});

t.test('a watch keeps the process alive, and its end lets it go', async (t) => {
  const code = `
    const fds = new Int32Array(2);
    sys.pipe2(fds, 0);
    const handle = sys.watch(fds[0], () => { sys.unwatch(handle); process.exitCode = 5; });
    setTimeout(() => sys.write(fds[1], Buffer.from('x'), 0, 1), 20).unref();`;
  t.equal((await inChild(code)).status, 5);
});

t.test('a process may end with a watch open, and without its handle', async (t) => {
  const code = `
    const fds = new Int32Array(2);
    sys.pipe2(fds, 0);
    sys.watch(fds[0], () => process.exit(6));
    globalThis.gc();
    setTimeout(() => { globalThis.gc(); sys.write(fds[1], Buffer.from('x'), 0, 1); }, 20);`;
  t.equal((await inChild(code, ['--expose-gc'])).status, 6);
});
