/** The log worker in the real pool: a whole little session, and its deaths. */
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import t, { type Test } from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { F_GETFD } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { ATTACH_CONSUMER, RING_OFFSET } from '../../../src/ring/layout.ts';
import { LogWorker, type LogWorkerPlan } from '../../../src/threads/log-worker.ts';
import { type Pool, WorkerPool } from '../../../src/threads/pool.ts';
import { readLog } from '../../helpers/k8s-log.ts';
import { seededRandom } from '../../helpers/random.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';
import { MortalWorker, NO_FD, Streams } from './rig.ts';

const EMFILE = -24;

function aWorker(test: Test, plan?: (streams: Streams) => LogWorkerPlan): { streams: Streams; worker: LogWorker } {
  const streams = new Streams(test);
  const wanted = plan ? plan(streams) : streams.plan();
  const worker = new LogWorker(sys, streams.complaints.diag, new WorkerPool(), wanted, streams.onEnded);
  test.teardown(async () => {
    if (streams.endings.length === 0) worker.end(false);
    await streams.ended();
  });
  return { streams, worker };
}

t.test('begin, write, end: everything is in the file, and the counters say so', async (t) => {
  const { streams, worker } = aWorker(t);
  worker.begin(streams.sources);
  await streams.print('one\ntwo\n');
  await streams.print('bad\n', streams.err);
  await waitFor('three records', () => streams.records.length === 3);
  await streams.print('three\nla');
  await waitFor('the part', () => streams.records.length === 5);
  await streams.print('st');
  worker.end(true);
  const counters = await streams.ended();
  const stdout = streams.records.filter((record) => record.startsWith('stdout'));
  t.same(stdout, ['stdout F one', 'stdout F two', 'stdout F three', 'stdout P la', 'stdout P st']);
  t.same(
    streams.records.filter((record) => record.startsWith('stderr')),
    ['stderr F bad'],
  );
  t.match(counters, {
    readBytes: 'one\ntwo\nbad\nthree\nlast'.length,
    writtenBytes: streams.log.length,
    records: 6,
    droppedBytes: 0,
    droppedRecords: 0,
    beyondLimitBytes: 0,
  });
  t.same(streams.complaints.lines, []);
});

t.test('a prompt without a newline is in the file at once', async (t) => {
  const { streams, worker } = aWorker(t);
  worker.begin(streams.sources);
  await streams.print('prompt$ ');
  await waitFor('the prompt', () => streams.records[0] === 'stdout P prompt$ ');
});

t.test('nothing is read before begin', async (t) => {
  const { streams, worker } = aWorker(t);
  await streams.print('early\n');
  // A new file is the proof that the thread is up and takes messages.
  const inode = () => statSync(streams.path).ino;
  const before = inode();
  worker.reopen();
  await waitFor('the new file', () => inode() !== before);
  t.equal(sys.fionread(streams.out.readFd), 6);
  worker.begin(streams.sources);
  await waitFor('the line', () => streams.records[0] === 'stdout F early');
});

t.test('end before begin ends with an empty log', async (t) => {
  for (const drain of [true, false]) {
    const { streams, worker } = aWorker(t);
    await streams.print('never mind\n');
    worker.end(drain);
    t.match(await streams.ended(), { readBytes: 0, writtenBytes: 0, records: 0 });
    t.equal(streams.log, '');
  }
});

t.test('begin and end before the thread is up lose nothing', async (t) => {
  const { streams, worker } = aWorker(t);
  await streams.print('all\n');
  worker.begin(streams.sources);
  worker.end(true);
  await streams.ended();
  t.same(streams.records, ['stdout F all']);
});

t.test('reopen starts a new file', async (t) => {
  const { streams, worker } = aWorker(t);
  worker.begin(streams.sources);
  await streams.print('old\n');
  await waitFor('the line', () => streams.records.length === 1);
  const old = openSync(streams.path, 'r');
  t.teardown(() => closeSync(old));
  worker.reopen();
  await waitFor('the new file', () => streams.log === '');
  await streams.print('new\n');
  await waitFor('the line in the new file', () => streams.records[0] === 'stdout F new');
  t.match(readFileSync(old, 'latin1'), /F old\n$/);
});

t.test('clients that come to nothing, and those that leave, take a thread’s doorbells from nobody', async (t) => {
  const { streams, worker } = aWorker(t);
  worker.begin(streams.sources);
  const consumer = new RingConsumer(worker.memory, worker.geometry.capacityBytes, ATTACH_CONSUMER, undefined);
  for (const served of [false, true]) {
    worker.keepForClients();
    const { own, attach } = worker.doorbells;
    own.ring();
    await waitFor('the ring to keep what comes', () => consumer.active);
    if (served) worker.clientsLeft();
    else worker.forgetClients();
    for (const { fd } of [own, attach]) t.ok(sys.fcntl(fd, F_GETFD, 0) >= 0);
    t.equal(worker.doorbells.own, own);
    if (!served) t.equal(consumer.active, false, 'nothing is kept for them');
    consumer.leave();
  }
  await streams.print('line\n');
  await waitFor('the line', () => streams.records.length === 1);
});

t.test('the pipes it was given stay open for its owner', async (t) => {
  const { streams, worker } = aWorker(t);
  const before = [streams.out.readFd, streams.err.readFd];
  worker.begin(streams.sources);
  worker.end(true);
  await streams.ended();
  for (const fd of before) t.ok(sys.fcntl(fd, F_GETFD, 0) >= 0);
  t.equal(sys.fcntl(streams.out.writeFd, F_GETFD, 0) >= 0, true);
});

t.test(`a flood of both streams arrives byte for byte, seed ${SEED}`, async (t) => {
  const { streams, worker } = aWorker(t);
  const random = seededRandom(SEED);
  worker.begin(streams.sources);
  const sent = { out: [] as Buffer[], err: [] as Buffer[] };
  for (let i = 0; i < 40; i++) {
    const bytes = Buffer.alloc(random.below(random.pick([100, 20_000, 200_000])));
    const longest = random.pick([3, 100, 30_000]);
    for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(longest) === 0 ? 0x0a : random.below(256);
    const to = random.pick(['out', 'err'] as const);
    sent[to].push(bytes);
    await streams.print(bytes, streams[to]);
  }
  worker.end(true);
  const counters = await streams.ended();
  const log = readLog(streams.path);
  // A stream that ends amid a line has no newline at its end in the log either: its last record is P.
  t.ok(log.stdout.equals(Buffer.concat(sent.out)), 'stdout');
  t.ok(log.stderr.equals(Buffer.concat(sent.err)), 'stderr');
  t.match(counters, { records: log.records.length, readBytes: log.stdout.length + log.stderr.length });
});

t.test('a worker that cannot start is told each time, three times, and then no more', async (t) => {
  const { streams, worker } = aWorker(t, (streams) => streams.plan(NO_FD));
  t.equal(await streams.ended(), undefined);
  t.equal(streams.complaints.lines.length, 4);
  t.match(streams.complaints.lines[0], /^\[conmon:e\]: log worker died \(1 of 3\): .*Bad file descriptor/);
  t.match(streams.complaints.lines[2], /^\[conmon:e\]: log worker died \(3 of 3\): /);
  t.match(streams.complaints.lines[3], /^\[conmon:e\]: log .* ends here: its worker is lost/);
  worker.begin(streams.sources);
  worker.end(true);
  t.equal(streams.endings.length, 1, 'what is told afterwards changes nothing');
});

t.test('when a worker dies another goes on, and nothing is lost', async (t) => {
  const streams = new Streams(t);
  const mortal = new MortalWorker(t, streams);
  mortal.worker.begin(streams.sources);
  for (let i = 0; i < 2; i++) {
    await streams.print(`before ${i}\n`);
    await waitFor('the line', () => streams.records.includes(`stdout F before ${i}`));
    await mortal.kill();
  }
  await streams.print('after\n');
  mortal.worker.end(true);
  await streams.ended();
  t.same(streams.records, ['stdout F before 0', 'stdout F before 1', 'stdout F after']);
  t.match(mortal.deaths, [/\(1 of 3\)/, /\(2 of 3\)/]);
});

t.test('once it is quiet after a flood the ring is given back, and the log goes on', async (t) => {
  const { streams, worker } = aWorker(t);
  worker.begin(streams.sources);
  const flood = 'a line of thirty bytes or so\n'.repeat(100_000);
  await streams.print(flood);
  await streams.print('bad\n', streams.err);
  await waitFor('all of it', () => streams.log.includes('stderr F bad'));
  const ring = new Uint8Array(worker.memory.buffer, RING_OFFSET, worker.geometry.capacityBytes);
  t.ok(
    ring.some((byte) => byte !== 0),
    'it holds what was read',
  );
  await waitFor('its pages', () => ring.every((byte) => byte === 0));
  await streams.print('after\n');
  await waitFor('the next line', () => streams.log.endsWith('stdout F after\n'));
  worker.end(true);
  t.match(await streams.ended(), { readBytes: flood.length + 'bad\nafter\n'.length, droppedBytes: 0 });
  t.equal(readLog(streams.path).stdout.toString(), `${flood}after\n`);
});

t.test('a worker that cannot be made keeps neither fds nor memory', async (t) => {
  const streams = new Streams(t);
  const made: number[] = [];
  const closed: number[] = [];
  const few = realSysBut({
    eventfd: (initial, flags) => {
      if (made.length > 0) return EMFILE;
      const fd = sys.eventfd(initial, flags);
      made.push(fd);
      return fd;
    },
    close: (fd) => {
      closed.push(fd);
      return sys.close(fd);
    },
  });
  const memory = createMemory(1 << 20);
  const back: [WebAssembly.Memory, boolean][] = [];
  const memories = { take: () => memory, put: (...put: [WebAssembly.Memory, boolean]) => void back.push(put) };
  const pool = { memories, run: () => t.fail('no thread is started') } as unknown as Pool;
  const plan = streams.plan();
  t.throws(() => new LogWorker(few, streams.complaints.diag, pool, plan, streams.onEnded), /Failed to create eventfd/);
  t.same(closed, made);
  t.same(back, [[memory, false]]);
});
