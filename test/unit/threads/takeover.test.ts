/** For test/unit/threads: a log worker that dies, and the one that takes over. */
import { readdirSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { Output } from '../../../src/threads/output.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import { waitFor } from '../../helpers/wait.ts';
import { MortalWorker, NO_FD, Streams } from './rig.ts';

t.test('a worker that takes over after a reopen writes on into the new file and does not replace it', async (t) => {
  const streams = new Streams(t);
  const mortal = new MortalWorker(t, streams);
  const { worker, deaths } = mortal;
  worker.begin(streams.sources);
  await streams.print('old\n');
  await waitFor('old', () => streams.records.length === 1);
  worker.reopen();
  await waitFor('the new file', () => streams.log === '');
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  await mortal.kill();
  await streams.print('two\n');
  await waitFor('two', () => streams.records.includes('stdout F two'), { timeoutMs: 5000 }).catch(() => undefined);
  t.same(streams.records, ['stdout F one', 'stdout F two']);
  t.equal(deaths.length, 1);
});

t.test(
  'the fd of a stream that has ended stays its own, so that a worker that takes over finds nothing else there',
  async (t) => {
    const streams = new Streams(t);
    const mortal = new MortalWorker(t, streams);
    const { worker } = mortal;
    worker.begin(streams.sources);
    await streams.print('last\n');
    streams.hangUp(streams.out);
    await waitFor('last', () => streams.records.length === 1);
    await mortal.kill();
    t.ok(sys.fcntl(streams.out.readFd, 1, 0) >= 0);
    await streams.print('err\n', streams.err);
    await waitFor('err', () => streams.records.includes('stderr F err'));
    worker.end(true);
    await streams.ended();
    t.same(streams.records, ['stdout F last', 'stderr F err']);
  },
);

t.test('a container whose log worker is lost before it was created does not block', async (t) => {
  const streams = new Streams(t);
  const output = new Output(sys, streams.complaints.diag, streams.plan(NO_FD), streams.onEnded);
  t.teardown(async () => {
    if (streams.endings.length === 0) output.end(false);
    await streams.ended();
  });
  await waitFor('three deaths', () => streams.complaints.lines.length === 3);
  output.begin(streams.sources, -1);
  const bytes = Buffer.alloc(1 << 20);
  let written = 0;
  await waitFor(
    'somebody to read',
    () => {
      const result = sys.write(streams.out.writeFd, bytes, 0, bytes.length);
      if (result > 0) written += result;
      return written >= 300_000;
    },
    { timeoutMs: 3000 },
  ).catch(() => undefined);
  t.ok(written >= 300_000, `${written} bytes were taken`);
});

t.test('a session leaves no fd behind', async (t) => {
  const eventfds = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).includes('eventfd');
      } catch {
        return false;
      }
    }).length;
  const pool = new WorkerPool();
  const before = eventfds();
  for (let i = 0; i < 3; i++) {
    const streams = new Streams(t);
    const worker = new LogWorker(sys, streams.complaints.diag, pool, streams.plan(), streams.onEnded);
    worker.begin(streams.sources);
    worker.end(true);
    await streams.ended();
    worker.close();
  }
  await waitFor('threads to leave', () => eventfds() <= before, { timeoutMs: 3000 }).catch(() => undefined);
  t.equal(eventfds(), before);
});
