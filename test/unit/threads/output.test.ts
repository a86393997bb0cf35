/** A session's output without clients: with a log worker, or read and thrown away. */
import t, { type Test } from 'tap';
import { sys } from '../../../src/native/sys.ts';
import type { LogWorkerPlan } from '../../../src/threads/log-worker.ts';
import type { MainLogs } from '../../../src/threads/main-logs.ts';
import { Output } from '../../../src/threads/output.ts';
import type { Pool } from '../../../src/threads/pool.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { NO_FD, Streams } from './rig.ts';

const EMFILE = -24;
/** More than a pipe holds. */
const FLOOD = 'x'.repeat(300_000);

function anOutput(test: Test, plan: (streams: Streams) => LogWorkerPlan): { streams: Streams; output: Output } {
  const streams = new Streams(test);
  const output = new Output(sys, streams.complaints.diag, plan(streams), streams.onEnded);
  test.teardown(async () => {
    if (streams.endings.length === 0) output.end(false);
    await streams.ended();
  });
  return { streams, output };
}

t.test('with a log file everything is written before the end is told, once', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.plan());
  output.begin(streams.sources, -1);
  await streams.print('one\n');
  output.end(true);
  t.match(await streams.ended(), { readBytes: 4, records: 1 });
  t.same(streams.records, ['stdout F one']);
  let closed = 0;
  output.whenClosed(() => closed++);
  t.equal(closed, 1, 'nobody was attached');
  t.equal(streams.endings.length, 1);
});

t.test('without a log the container never blocks, and no thread is started', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.nowhere);
  output.begin(streams.sources, -1);
  await streams.print(FLOOD);
  await streams.print(FLOOD, streams.err);
  output.end(true);
  t.same(streams.endings, [undefined], 'told at once');
});

t.test('without a log an end before begin is an end', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.nowhere);
  output.end(false);
  t.same(streams.endings, [undefined]);
});

t.test('a stream that hangs up early is no error when nothing is logged', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.nowhere);
  output.begin(streams.sources, -1);
  streams.hangUp(streams.out);
  await streams.print(FLOOD, streams.err);
  output.end(true);
  t.same(streams.complaints.lines, []);
});

t.test('reopen without a log is nothing', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.nowhere);
  output.reopen();
  output.end(true);
  t.same(streams.endings, [undefined]);
});

t.test('a container whose log worker is lost goes on, and its end is told', async (t) => {
  const { streams, output } = anOutput(t, (streams) => streams.plan(NO_FD));
  output.begin(streams.sources, -1);
  await waitFor('three deaths', () => streams.complaints.lines.some((line) => line.includes('(3 of 3)')));
  await streams.print(FLOOD);
  await streams.print(FLOOD, streams.err);
  t.equal(streams.endings.length, 0, 'the end is not told before the container has ended');
  output.end(true);
  t.equal(await streams.ended(), undefined);
});

const CLIENTS = {
  listenFd: NO_FD,
  closeStdin: false,
  stallTimeoutMs: 1000,
  unusedMs: 100,
  diag: { level: 'error', syslogName: undefined },
} as const;

t.test('a client for whom there is no fd left does not keep the end from being told', async (t) => {
  const streams = new Streams(t);
  let few = true;
  const calls = realSysBut({ eventfd: (initial, flags) => (few ? EMFILE : sys.eventfd(initial, flags)) });
  const output = new Output(calls, streams.complaints.diag, streams.nowhere, streams.onEnded);
  output.begin(streams.sources, -1);
  t.throws(() => output.startAttach(CLIENTS, () => {}), /eventfd/);
  few = false;
  await streams.print(FLOOD);
  output.end(true);
  await streams.ended();
});

t.test(
  'a loop that is lost for good while a client comes: the client is refused, the container does not block',
  async (t) => {
    const streams = new Streams(t);
    let loops = 0;
    const mainLogs = {
      pacing: { busyMs: 0, calmBytes: 0, calmMs: 0 },
      run: () => {
        if (loops++ > 0) throw new Error('no loop');
        return { tell: () => {}, stop: () => {} };
      },
    } as unknown as MainLogs;
    const pool = {
      run: () => {
        throw new Error('no thread');
      },
    } as unknown as Pool;
    const plan = { ...streams.nowhere, mainLogs: () => mainLogs };
    const output = new Output(sys, streams.complaints.diag, plan, streams.onEnded, pool);
    output.begin(streams.sources, -1);
    t.equal(
      output.startAttach(CLIENTS, () => {}),
      false,
    );
    await streams.print(FLOOD);
    await streams.print(FLOOD, streams.err);
    output.end(true);
    t.same(streams.endings, [undefined]);
  },
);

t.test('a terminal without a log and without fds is read all the same', async (t) => {
  const streams = new Streams(t);
  const output = new Output(
    realSysBut({ eventfd: () => EMFILE }),
    streams.complaints.diag,
    streams.nowhere,
    streams.onEnded,
  );
  output.begin(
    streams.sources.map((source) => ({ ...source, terminal: true })),
    -1,
  );
  await streams.print(FLOOD);
  output.end(true);
  await streams.ended();
  t.match(streams.complaints.lines[0], /the container's terminal is read until it hangs up, and no longer: .*eventfd/);
});
