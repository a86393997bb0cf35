/** The event loop as who waits in its place sees it: watchWaits, arm and disarm, loopFd, loopTimeout. */
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { POLLIN } from '../../../src/native/constants.ts';
import { type SysResult, sys, type Watch } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { aPipe } from './fake-sys.ts';

const { EINVAL } = constants.errno;

function opened(test: Test, handle: Watch | SysResult): Watch {
  if (typeof handle === 'number') throw new Error(sys.strerror(handle));
  test.teardown(() => sys.unwatch(handle));
  return handle;
}

const oneTurn = () => new Promise((resolve) => setImmediate(resolve));

function isReady(fd: number): boolean {
  return sys.poll(Int32Array.of(fd, POLLIN), 1, 0) === 1;
}

t.test('the callback is called before each wait while it is armed, and not otherwise', async (t) => {
  let calls = 0;
  const handle = opened(
    t,
    sys.watchWaits(() => calls++),
  );
  await oneTurn();
  t.equal(calls, 0, 'not armed yet');
  t.equal(sys.arm(handle), 0);
  for (let i = 0; i < 5; i++) await oneTurn();
  t.ok(calls >= 4, `${calls} calls in five turns`);
  t.equal(sys.disarm(handle), 0);
  const before = calls;
  await oneTurn();
  await oneTurn();
  t.equal(calls, before);
});

t.test('microtasks that the callback leaves are done before the event loop goes on', async (t) => {
  const order: string[] = [];
  const handle = opened(
    t,
    sys.watchWaits(() => {
      sys.disarm(handle);
      order.push('callback');
      queueMicrotask(() => order.push('microtask'));
      setImmediate(() => order.push('immediate'));
    }),
  );
  sys.arm(handle);
  await waitFor('all three', () => order.length === 3);
  t.same(order, ['callback', 'microtask', 'immediate']);
});

t.test('a watch that is disarmed is silent, and armed again tells of what has come meanwhile', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  let calls = 0;
  const bytes = Buffer.alloc(10);
  const handle = opened(
    t,
    sys.watch(readFd, () => {
      calls++;
      sys.read(readFd, bytes, 0, 10);
    }),
  );
  await oneTurn();
  t.equal(sys.disarm(handle), 0);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  for (let i = 0; i < 3; i++) await oneTurn();
  t.equal(calls, 0);
  // What else the event loop has to do, as a write of this test's output, is over by and by.
  await waitFor('the event loop to have nothing to do', () => !isReady(sys.loopFd()));
  t.equal(sys.arm(handle), 0);
  await waitFor('the call', () => calls === 1);
});

t.test('the event loop’s fd is readable while a watched one is', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  opened(
    t,
    sys.watch(readFd, () => {}),
  );
  await oneTurn();
  await waitFor('nothing to do', () => !isReady(sys.loopFd()));
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  t.ok(isReady(sys.loopFd()));
  sys.read(readFd, Buffer.alloc(1), 0, 1);
  await waitFor('nothing to do again', () => !isReady(sys.loopFd()));
});

t.test('the event loop’s timeout is its next timer’s by the clock, and none when it has something to do', async (t) => {
  const { readFd } = aPipe(t);
  const timer = setTimeout(() => {}, 500);
  t.teardown(() => clearTimeout(timer));
  let first = -2;
  let second = -2;
  const handle = opened(
    t,
    sys.watchWaits(() => {
      sys.disarm(handle);
      first = sys.loopTimeout();
      sys.poll(new Int32Array(0), 0, 100);
      second = sys.loopTimeout();
    }),
  );
  await oneTurn();
  sys.arm(handle);
  await waitFor('the call', () => second !== -2);
  t.ok(first > 0 && first <= 500, `${first} ms`);
  t.ok(second <= Math.max(first - 99, 0), `${second} ms, 100 ms after ${first}`);
  const immediate = setImmediate(() => {});
  t.equal(sys.loopTimeout(), 0, 'an immediate');
  clearImmediate(immediate);
  await oneTurn();
  opened(
    t,
    sys.watch(readFd, () => {}),
  );
  t.equal(sys.loopTimeout(), 0, 'an fd that epoll does not know yet');
});

t.test('what is no handle, and one that is closed, is refused', (t) => {
  const closed = sys.watchWaits(() => {}) as Watch;
  sys.unwatch(closed);
  for (const wrong of [closed, undefined, 1, {}]) {
    t.equal(sys.arm(wrong as Watch), -EINVAL);
    t.equal(sys.disarm(wrong as Watch), -EINVAL);
  }
  t.end();
});
