/** Output that nobody wants: read to the last byte, and no longer looked at once its stream has ended. */
import t from 'tap';
import { PAUSE_MS, PLENTY_BYTES, ROOMY_BYTES } from '../../../src/log/pace.ts';
import { EAGAIN } from '../../../src/native/constants.ts';
import { sys, type Watch } from '../../../src/native/sys.ts';
import { Discard } from '../../../src/threads/discard.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const FLOOD_BYTES = 3_000_000;
const LINE_BYTES = 100;
/** Turns before it is known how quickly they come (src/log/pace.ts). */
const KNOWN = 32;

/** Streams whose pipes have `pipeBytes`, and a clock: `turn(ms, bytes)` is one that comes that long after the one before. */
function paced(pipeBytes: number, fds: readonly number[] = [5]) {
  const ready: (() => void)[] = [];
  const pauses: number[] = [];
  let at = 1e6;
  let waiting = 0;
  const discard = new Discard(
    fakeSys({
      fcntl: () => pipeBytes,
      watch: (_fd, onReady) => {
        ready.push(() => onReady(0));
        return {} as Watch;
      },
      read: (_fd, _bytes, _offset, length) => {
        const bytes = Math.min(waiting, length);
        waiting -= bytes;
        return bytes === 0 ? EAGAIN : bytes;
      },
      poll: (_set, count, timeoutMs) => {
        pauses.push(count === 0 ? timeoutMs : Number.NaN);
        return 0;
      },
    }),
    new Complaints().diag,
    fds,
    () => at,
  );
  const turn = (ms: number, bytes = LINE_BYTES, stream = 0) => {
    at += ms;
    waiting = bytes;
    ready[stream]?.();
  };
  return { discard, pauses, turn, turns: (count: number, ms: number) => Array.from({ length: count }, () => turn(ms)) };
}

t.test('all that comes on both streams is read and counted', async (t) => {
  const streams = new Streams(t);
  const discard = new Discard(sys, streams.complaints.diag, [streams.out.readFd, streams.err.readFd]);
  t.teardown(() => discard.close());
  await streams.print('x'.repeat(FLOOD_BYTES));
  await streams.print('y'.repeat(FLOOD_BYTES), streams.err);
  await waitFor('all of it', () => discard.bytes === 2 * FLOOD_BYTES);
  t.same(streams.complaints.lines, []);
});

t.test('a stream that has ended is not asked again, the other one is still read', async (t) => {
  const streams = new Streams(t);
  let reads = 0;
  const counting = {
    ...sys,
    read: (fd: number, bytes: Uint8Array, offset: number, length: number) => {
      reads++;
      return sys.read(fd, bytes, offset, length);
    },
  };
  const discard = new Discard(counting, streams.complaints.diag, [streams.out.readFd, streams.err.readFd]);
  t.teardown(() => discard.close());
  streams.hangUp(streams.out);
  await streams.print('still here', streams.err);
  await waitFor('the other stream', () => discard.bytes === 10);
  await waitFor('the end of the first', () => reads >= 2);
  const before = reads;
  // A stream that is watched on after its end is ready in each turn of the event loop.
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(reads, before);
});

t.test('after close nothing is read, and the fds are still open', async (t) => {
  const streams = new Streams(t);
  const discard = new Discard(sys, streams.complaints.diag, [streams.out.readFd]);
  discard.close();
  discard.close();
  await streams.print('kept');
  await new Promise((resolve) => setImmediate(resolve));
  const bytes = new Uint8Array(8);
  t.equal(sys.read(streams.out.readFd, bytes, 0, 8), 4);
  t.equal(discard.bytes, 0);
});

t.test('an fd that cannot be watched is told', (t) => {
  const complaints = new Complaints();
  const discard = new Discard({ ...sys, watch: () => -1 }, complaints.diag, [0]);
  discard.close();
  t.match(complaints.lines, [/^\[conmon:e\]: Failed to watch the container's output: Operation not permitted/]);
  t.end();
});

t.test('a line now and then is read at once, and nothing is waited for', async (t) => {
  const { discard, pauses, turns } = paced(ROOMY_BYTES);
  turns(1000, 1);
  t.strictSame(pauses, []);
  t.equal(discard.bytes, 1000 * LINE_BYTES);
});

t.test('lines that follow each other quickly are let come together, on either stream', async (t) => {
  const { pauses, turn, turns } = paced(ROOMY_BYTES, [5, 6]);
  turns(KNOWN - 1, 0.01);
  t.strictSame(pauses, []);
  turns(1, 0.01);
  t.strictSame(pauses, [PAUSE_MS]);
  for (let i = 0; i < 10; i++) turn(PAUSE_MS, LINE_BYTES, i % 2);
  t.equal(pauses.length, 11);
});

t.test('what comes in plenty is not waited for, and what comes after it must be quick anew', async (t) => {
  const { pauses, turn, turns } = paced(ROOMY_BYTES);
  turns(KNOWN, 0.01);
  t.equal(pauses.length, 1);
  turn(PAUSE_MS, PLENTY_BYTES);
  turns(KNOWN - 1, 0.01);
  t.equal(pauses.length, 1);
  turns(1, 0.01);
  t.equal(pauses.length, 2);
});

t.test('a pipe that would be full before a pause is over, or a terminal, is read at once', async (t) => {
  for (const pipeBytes of [ROOMY_BYTES / 2, -9]) {
    const { pauses, turns } = paced(pipeBytes);
    turns(1000, 0.01);
    t.strictSame(pauses, [], String(pipeBytes));
  }
});
