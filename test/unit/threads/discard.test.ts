/** Output that nobody wants: read to the last byte, and no longer looked at once its stream has ended. */
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { Discard } from '../../../src/threads/discard.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const FLOOD_BYTES = 3_000_000;

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
