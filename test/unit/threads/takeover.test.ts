/** For test/unit/threads: a log worker that dies, and the one that takes over. */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { Baton } from '../../../src/ring/baton.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { Output } from '../../../src/threads/output.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import { readLog } from '../../helpers/k8s-log.ts';
import { seededRandom } from '../../helpers/random.ts';
import { waitFor } from '../../helpers/wait.ts';
import { SEED } from '../native/fake-sys.ts';
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
  await waitFor('three deaths', () => streams.complaints.lines.some((line) => line.includes('(3 of 3)')));
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

t.test(`two deaths amid a flood of both streams cost nothing and double nothing, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const streams = new Streams(t);
  const mortal = new MortalWorker(t, streams);
  mortal.worker.begin(streams.sources);
  const sent = { out: '', err: '' };
  const flood = async (chunks: number) => {
    for (let i = 0; i < chunks; i++) {
      const to = random.pick(['out', 'err'] as const);
      // Some end amid a line, which is then in the hands of the worker that dies.
      const text = `${i}${'x'.repeat(random.below(200))}\n`.repeat(random.below(300)) + random.pick(['', 'part']);
      sent[to] += text;
      await streams.print(text, streams[to]);
    }
  };
  for (let death = 0; death < 2; death++) {
    const dead = mortal.kill();
    await flood(20);
    await dead;
  }
  await flood(5);
  mortal.worker.end(true);
  await streams.ended();
  const log = readLog(streams.path);
  t.ok(log.stdout.equals(Buffer.from(sent.out)), `stdout, ${sent.out.length} bytes`);
  t.ok(log.stderr.equals(Buffer.from(sent.err)), `stderr, ${sent.err.length} bytes`);
  t.equal(mortal.deaths.length, 2);
});

t.test(
  'a log worker that is lost for good is told, with what its log lacks, and new files are still made',
  async (t) => {
    const streams = new Streams(t);
    const plan = streams.plan(NO_FD);
    const output = new Output(sys, streams.complaints.diag, plan, streams.onEnded);
    await waitFor('three deaths', () => streams.complaints.lines.some((line) => line.includes('(3 of 3)')));
    await waitFor('the end of the log to be told', () =>
      streams.complaints.lines.some((line) => /\[conmon:e\]: log .*\/log ends here: its worker is lost/.test(line)),
    );
    output.begin(streams.sources, -1);
    await streams.print('x'.repeat(300_000));
    t.notOk(existsSync(streams.path));
    output.reopen();
    t.ok(existsSync(streams.path), 'who waits for it is not kept waiting');
    await waitFor('everything to be read', () => sys.fionread(streams.out.readFd) === 0);
    output.end(true);
    t.equal(await streams.ended(), undefined);
    t.match(streams.complaints.lines.at(-1), /at least \d+ bytes of output were thrown away: the log worker was lost$/);
  },
);

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
    worker.close(true);
  }
  await waitFor('threads to leave', () => eventfds() <= before, { timeoutMs: 3000 }).catch(() => undefined);
  t.equal(eventfds(), before);
});

t.test('a log worker that dies with the baton: it is the attach worker’s again, which is woken', async (t) => {
  const streams = new Streams(t);
  const mortal = new MortalWorker(t, streams);
  const { worker } = mortal;
  worker.begin(streams.sources);
  const baton = new Baton(worker.memory);
  baton.offer([NO_FD]);
  t.equal(baton.tryTake(), true);
  baton.begin(baton.position, 0);
  worker.doorbells.attach.take();
  await mortal.kill();
  await waitFor('main to have seen to it', () => worker.doorbells.attach.take());
  t.equal(baton.tryWithdraw(), true);
  t.equal(baton.underWay, true, 'it is told to whom something was being sent');
  t.equal(baton.tryTake(), false);
});
