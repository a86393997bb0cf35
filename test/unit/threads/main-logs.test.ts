/** For src/threads/main-logs.ts and log-worker.ts: quiet logs are written by main, floods by a thread, and nothing is lost between. */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLog } from '../../../src/log/open-log.ts';
import { F_GETFD } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import type { DriverTarget, LogResult } from '../../../src/proto/log-messages.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { ATTACH_CONSUMER } from '../../../src/ring/layout.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { type LogCode, MainLogs, mayBeOnMain, type Pacing } from '../../../src/threads/main-logs.ts';
import { type Pool, WorkerPool } from '../../../src/threads/pool.ts';
import * as code from '../../../workers/log.ts';
import { field } from '../../helpers/journal-entry.ts';
import { readLog } from '../../helpers/k8s-log.ts';
import { seededRandom } from '../../helpers/random.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Journal } from '../log/journald-rig.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const NEVER: Pacing = { busyMs: Number.POSITIVE_INFINITY, calmBytes: 0, calmMs: 1 << 30 };
const EMFILE = -24;
const { EBADF } = constants.errno;

/** Threads as ever; counts them. */
class CountingPool implements Pool {
  started = 0;
  readonly #pool = new WorkerPool();

  run: Pool['run'] = (role, task, owner) => {
    this.started++;
    return this.#pool.run(role, task, owner);
  };
}

interface Options {
  readonly targets?: (streams: Streams) => readonly DriverTarget[];
  readonly pacing?: Partial<Pacing>;
  readonly withSys?: typeof sys;
  readonly withCode?: LogCode;
}

class Rig {
  readonly streams: Streams;
  readonly pool = new CountingPool();
  readonly complaints = new Complaints('debug');
  readonly worker: LogWorker;

  constructor(test: Test, { pacing = {}, withSys = sys, withCode = code, targets }: Options = {}) {
    this.streams = new Streams(test);
    const whole: Pacing =
      'busyMs' in pacing && 'calmMs' in pacing && 'calmBytes' in pacing ? (pacing as Pacing) : { ...NEVER, ...pacing };
    const mainLogs = new MainLogs(withSys, this.complaints.diag, { code: withCode, pacing: whole });
    const wanted = targets ? { ...this.streams.nowhere, targets: targets(this.streams) } : this.streams.plan();
    const plan = { ...wanted, mainLogs: () => mainLogs };
    this.worker = new LogWorker(withSys, this.complaints.diag, this.pool, plan, this.streams.onEnded);
    test.teardown(async () => {
      if (this.streams.endings.length === 0) this.worker.end(false);
      await this.streams.ended();
      this.worker.close(true);
    });
  }

  /** Where the loop is: each move, in order. */
  get moves(): readonly string[] {
    return this.complaints.lines.flatMap((line) => /(a thread|main) goes on/.exec(line)?.[1] ?? []);
  }

  async moved(to: 'a thread' | 'main', times = 1): Promise<void> {
    await waitFor(`${to} to go on`, () => this.moves.filter((move) => move === to).length >= times);
  }
}

t.test('a quiet log is written without a thread and without a doorbell', async (t) => {
  const rig = new Rig(t, { withSys: realSysBut({ eventfd: () => EMFILE }) });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  await streams.print('two\n', streams.err);
  await waitFor('two', () => streams.records.length === 2);
  await streams.print('prompt> ');
  await waitFor('the rest', () => streams.records.length === 3);
  worker.end(true);
  t.match(await streams.ended(), { readBytes: 16, records: 3, droppedBytes: 0 });
  t.same(streams.records, ['stdout F one', 'stderr F two', 'stdout P prompt> ']);
  t.equal(pool.started, 0);
});

t.test('what is told in one turn, begin and end, is an output from start to end', async (t) => {
  const { worker, streams } = new Rig(t);
  await streams.print('all\n');
  worker.begin(streams.sources);
  worker.end(true);
  t.match(await streams.ended(), { records: 1 });
  t.same(streams.records, ['stdout F all']);
});

t.test('the end is told when the log is durable, and main has its turns meanwhile', async (t) => {
  const { worker, streams } = new Rig(t);
  worker.begin(streams.sources);
  await streams.print('x\n');
  await waitFor('x', () => streams.records.length === 1);
  worker.end(true);
  await Promise.resolve();
  await Promise.resolve();
  t.same(streams.endings, [], 'fsync is under way, on another thread');
  t.match(await streams.ended(), { records: 1 });
  t.same(streams.complaints.lines, []);
});

t.test('without a thread, or an fd, for it the log is made durable by main itself', async (t) => {
  const NO_THREAD = -11;
  const F_DUPFD = 1030;
  for (const calls of [
    { fsyncLater: () => NO_THREAD },
    {
      fcntl: (fd: number, command: number, value: number) =>
        command === F_DUPFD ? EMFILE : sys.fcntl(fd, command, value),
    },
  ]) {
    const { worker, streams, complaints } = new Rig(t, { withSys: realSysBut(calls) });
    const fds = readdirSync('/proc/self/fd').length;
    worker.begin(streams.sources);
    await streams.print('x\n');
    await waitFor('x', () => streams.records.length === 1);
    worker.end(true);
    t.match(await streams.ended(), { records: 1 });
    t.same(
      complaints.lines.filter((line) => line.includes('sync')),
      [],
    );
    t.ok(readdirSync('/proc/self/fd').length <= fds, 'the log is closed, and its copy');
  }
});

t.test('a disk that does not come back holds up its own log alone, and what it says then is told', async (t) => {
  const EIO = -5;
  const told: ((result: number) => void)[] = [];
  const hung = new Rig(t, {
    withSys: realSysBut({
      fsyncLater: (_fd, onDone) => {
        told.push(onDone);
        return 0;
      },
    }),
  });
  const other = new Rig(t);
  for (const { worker, streams } of [hung, other]) {
    worker.begin(streams.sources);
    await streams.print('x\n');
    await waitFor('x', () => streams.records.length === 1);
    worker.end(true);
  }
  await other.streams.ended();
  t.same(hung.streams.endings, []);
  told[0]?.(EIO);
  t.match(await hung.streams.ended(), { records: 1 });
  t.ok(hung.complaints.lines.some((line) => /Failed to sync log file .*Input\/output error/.test(line)));
});

t.test('the end waits until all files are durable, and the fds that were made for that are closed', async (t) => {
  const copies: number[] = [];
  const told: ((result: number) => void)[] = [];
  const { worker, streams } = new Rig(t, {
    targets: ({ dir, path }) =>
      [path, join(dir, 'second')].map((each) => ({ driver: 'k8s-file', path: each, fd: openLog(each) })),
    withSys: realSysBut({
      fsyncLater: (fd, onDone) => {
        copies.push(fd);
        told.push(onDone);
        return 0;
      },
    }),
  });
  worker.begin(streams.sources);
  await streams.print('x\n');
  await waitFor('x', () => streams.records.length === 1);
  worker.end(true);
  await waitFor('both', () => told.length === 2);
  told[0]?.(0);
  await new Promise((resolve) => setImmediate(resolve));
  t.same(streams.endings, []);
  told[1]?.(0);
  t.match(await streams.ended(), { records: 2 });
  t.same(
    copies.map((fd) => sys.fcntl(fd, F_GETFD, 0)),
    [-EBADF, -EBADF],
  );
});

t.test('a new file that is asked for while the last log is being made durable is made when that is done', async (t) => {
  let durable: (() => void) | undefined;
  const { worker, streams } = new Rig(t, {
    withSys: realSysBut({
      fsyncLater: (_fd, onDone) => {
        durable = () => onDone(0);
        return 0;
      },
    }),
  });
  worker.begin(streams.sources);
  await streams.print('x\n');
  worker.end(true);
  await waitFor('the last log to be written', () => durable !== undefined);
  const [rotated] = streams.records;
  // As the kubelet and CRI-O do it.
  renameSync(streams.path, `${streams.path}.1`);
  worker.reopen();
  durable?.();
  await streams.ended();
  t.equal(rotated, 'stdout F x');
  t.equal(readFileSync(streams.path, 'latin1'), '');
});

t.test('a flood is a thread’s, from the byte on where main was', async (t) => {
  const rig = new Rig(t, { pacing: { busyMs: 0.2 } });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  let text = 'quiet\n';
  await streams.print(text);
  await waitFor('quiet', () => streams.records.length === 1);
  for (let i = 0; i < 150; i++) {
    const part = `${i} ${'x'.repeat(i)}\n`.repeat(500);
    text += part;
    await streams.print(part);
  }
  worker.end(true);
  const counters = await streams.ended();
  t.same(rig.moves, ['a thread']);
  t.equal(pool.started, 1);
  const log = await readLog(streams.path);
  // A read may end amid a line, which is then two records.
  t.match(counters, { readBytes: text.length, records: streams.records.length }, 'counted through');
  t.ok(log.stdout.toString('latin1') === text, 'every byte, once, in order');
});

/** The log loop, each step of which takes as long as `stepMs` says when it is taken. */
function slowed(stepMs: () => number, works = true): LogCode {
  const never = new Int32Array(new SharedArrayBuffer(4));
  const take = (ms: number): void => {
    if (!works) Atomics.wait(never, 0, 0, ms);
    else {
      // Of the CPU: what others take meanwhile does not count.
      const spent = (): number => process.threadCpuUsage().user + process.threadCpuUsage().system;
      for (const before = spent(); spent() - before < ms * 1000; );
    }
  };
  return {
    ...code,
    *logSteps(task, line, kernel, ways) {
      const steps = code.logSteps(task, line, kernel, ways);
      for (let next = steps.next(); ; next = steps.next()) {
        take(stepMs());
        if (next.done === true) return next.value;
        yield next.value;
      }
    },
  };
}

t.test('logs that take more of a second than they may are a thread’s; in a longer time they are not', async (t) => {
  let stepMs = 0;
  const rig = new Rig(t, { pacing: { busyMs: 80 }, withCode: slowed(() => stepMs) });
  const { worker, streams } = rig;
  let lines = 0;
  const line = async (): Promise<void> => {
    await streams.print('line\n');
    lines++;
    await waitFor('the line', () => streams.records.length === lines);
  };
  worker.begin(streams.sources);
  await line();
  stepMs = 30;
  for (let i = 0; i < 4; i++) {
    await line();
    await new Promise((resolve) => setTimeout(resolve, 1100));
  }
  t.same(rig.moves, []);
  stepMs = 45;
  for (let i = 0; i < 4; i++) await line();
  await rig.moved('a thread');
  await line();
});

t.test('steps that last long because others have the CPU are no reason for one thread more', async (t) => {
  const rig = new Rig(t, { pacing: { busyMs: 100 }, withCode: slowed(() => 25, false) });
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  for (let lines = 1; lines <= 12; lines++) {
    await streams.print('line\n');
    await waitFor('the line', () => streams.records.length === lines);
  }
  t.same(rig.moves, []);
});

t.test('a step that is long because main was ready and got no CPU makes no thread', async (t) => {
  const all = readdirSync('/proc/self/task');
  /** One that has synced a file for a test before this one may leave meanwhile. */
  const taskset = (id: string, ...args: string[]): string => {
    try {
      return execFileSync('taskset', args, { encoding: 'utf8' });
    } catch (error) {
      if (existsSync(`/proc/self/task/${id}`)) throw error;
      return '';
    }
  };
  const allowed = all.map((id) => taskset(id, '-cp', id).trim().split(': ')[1] ?? '');
  const pin = (cpus: (at: number) => string): void => {
    for (const [at, id] of all.entries()) taskset(id, '-cp', cpus(at) || '0', id);
  };
  let stepMs = 0;
  const rig = new Rig(t, { pacing: { busyMs: 100 }, withCode: slowed(() => stepMs) });
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  // So many others want the same CPU that 20 ms of it take longer than all of what steps may take.
  const others = Array.from({ length: 24 }, () =>
    spawn('taskset', ['-c', '0', 'timeout', '60', 'sh', '-c', 'while :; do :; done']),
  );
  t.teardown(() => {
    pin((at) => allowed[at] ?? '0');
    for (const other of others) other.kill('SIGTERM');
  });
  pin(() => '0');
  await new Promise((resolve) => setTimeout(resolve, 300));
  stepMs = 20;
  for (let lines = 2; lines <= 5; lines++) {
    const startMs = performance.now();
    await streams.print('more\n');
    await waitFor('the line', () => streams.records.length === lines);
    t.ok(performance.now() - startMs > 100, 'it was long');
  }
  t.same(rig.moves, []);
});

t.test('one step that takes long makes the log a thread’s', async (t) => {
  let stepMs = 0;
  const rig = new Rig(t, { withCode: slowed(() => stepMs) });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  t.equal(pool.started, 0);
  stepMs = 70;
  await streams.print('two\n');
  await rig.moved('a thread');
  await streams.print('three\n');
  await waitFor('three', () => streams.records.length === 3);
  t.same(streams.records, ['stdout F one', 'stdout F two', 'stdout F three']);
});

t.test('a thread that has little to do is left, and main goes on', async (t) => {
  let doorbells = 0;
  const rig = new Rig(t, {
    pacing: { busyMs: 0, calmBytes: 1 << 20, calmMs: 100 },
    withSys: realSysBut({
      eventfd: (initial, flags) => {
        doorbells++;
        return sys.eventfd(initial, flags);
      },
    }),
  });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  const flood = `${'x'.repeat(99)}\n`.repeat(100);
  for (let round = 1; round <= 3; round++) {
    await streams.print(flood);
    await rig.moved('a thread', round);
    await rig.moved('main', round);
    await streams.print('calm\n');
    await waitFor('the line', () => streams.records.length === 101 * round);
  }
  t.ok(pool.started >= 3, `${pool.started} threads`);
  t.equal(doorbells, 2 * pool.started, 'main needs none and keeps none');
  worker.end(true);
  t.match(await streams.ended(), { readBytes: 3 * (flood.length + 5), records: 303 });
});

t.test('a thread is left for how little it reads, whatever room that takes in the ring', async (t) => {
  let busyMs = 0;
  const pacing: Pacing = {
    calmBytes: 1 << 20,
    calmMs: 300,
    get busyMs() {
      return busyMs;
    },
  };
  const rig = new Rig(t, { pacing });
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  await streams.print('first\n');
  await rig.moved('a thread');
  busyMs = Number.POSITIVE_INFINITY;
  // Each read of 4 KiB or more sends the ring back to its start, which takes up all that is left of its 4 MiB.
  const line = `${'x'.repeat(4999)}\n`;
  let left = false;
  const moved = rig.moved('main').then(() => {
    left = true;
  });
  while (!left) {
    await streams.print(line);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await moved;
});

t.test(`a log that moves to and fro loses nothing and doubles nothing, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const rig = new Rig(t, { pacing: { busyMs: 1, calmBytes: 1 << 30, calmMs: 15 } });
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  const sent = { out: '', err: '' };
  for (let i = 0; i < 150; i++) {
    const to = random.pick(['out', 'err'] as const);
    const text = `${i}${'x'.repeat(random.below(200))}\n`.repeat(random.below(100)) + random.pick(['', 'part']);
    sent[to] += text;
    await streams.print(text, streams[to]);
    if (random.below(4) === 0) await new Promise((resolve) => setTimeout(resolve, random.below(40)));
  }
  worker.end(true);
  const counters = await streams.ended();
  const log = await readLog(streams.path);
  t.ok(log.stdout.toString('latin1') === sent.out, 'stdout');
  t.ok(log.stderr.toString('latin1') === sent.err, 'stderr');
  t.equal(counters?.readBytes, sent.out.length + sent.err.length);
  t.ok(rig.moves.filter((move) => move === 'a thread').length >= 2, `${rig.moves}`);
  t.ok(rig.moves.filter((move) => move === 'main').length >= 2, `${rig.moves}`);
});

t.test('without fds for a thread’s doorbells main goes on with the flood', async (t) => {
  const rig = new Rig(t, { pacing: { busyMs: 0 }, withSys: realSysBut({ eventfd: () => EMFILE }) });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  const text = `${'x'.repeat(99)}\n`.repeat(5000);
  await streams.print(text);
  worker.end(true);
  t.match(await streams.ended(), { readBytes: text.length });
  t.ok((await readLog(streams.path)).stdout.toString('latin1') === text);
  t.equal(pool.started, 0);
  t.ok(rig.complaints.lines.some((line) => line.includes('Failed to create eventfd')));
});

t.test('a thread that cannot start leaves the flood to main', async (t) => {
  const rig = new Rig(t, { pacing: { busyMs: 0 } });
  const { worker, streams, pool } = rig;
  pool.run = () => {
    pool.started++;
    return { tell: () => {}, done: Promise.reject(new Error('no thread today')) };
  };
  worker.begin(streams.sources);
  const text = `${'x'.repeat(99)}\n`.repeat(5000);
  await streams.print(text);
  worker.end(true);
  t.match(await streams.ended(), { readBytes: text.length, droppedBytes: 0 });
  t.ok((await readLog(streams.path)).stdout.toString('latin1') === text);
  t.equal(pool.started, 1, 'and does not try again with each read');
  t.ok(rig.complaints.lines.some((line) => line.includes('no thread today')));
});

t.test('threads that die a minute apart, as those of another build do, never end the log', async (t) => {
  const rig = new Rig(t, { pacing: { busyMs: 0 } });
  const { worker, streams, pool } = rig;
  pool.run = () => {
    pool.started++;
    return { tell: () => {}, done: Promise.reject(new Error('of another build')) };
  };
  const now = performance.now.bind(performance);
  t.teardown(() => {
    performance.now = now;
  });
  worker.begin(streams.sources);
  const text = `${'x'.repeat(99)}\n`.repeat(5000);
  for (let minute = 1; minute <= 5; minute++) {
    await streams.print(text);
    await waitFor('a thread to die', () => pool.started === minute);
    await waitFor('the log', async () => (await readLog(streams.path)).stdout.length === text.length * minute);
    performance.now = () => now() + 61_000 * minute;
  }
  worker.end(true);
  t.match(await streams.ended(), { readBytes: 5 * text.length, droppedBytes: 0 });
  t.notOk(rig.complaints.lines.some((line) => line.includes('(2 of 3)')));
});

t.test('a loop that dies on main goes on in a thread, amid a line', async (t) => {
  let dies = false;
  const mortal: LogCode = {
    ...code,
    *logSteps(task, line, kernel, ways) {
      const steps = code.logSteps(task, line, kernel, ways);
      for (let next: IteratorResult<unknown, LogResult> = steps.next(); ; next = steps.next()) {
        if (next.done === true) return next.value;
        if (dies) throw new Error('dies on main');
        yield next.value as never;
      }
    },
  };
  const rig = new Rig(t, { withCode: mortal });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  dies = true;
  await streams.print('half');
  await waitFor('the thread', () => pool.started === 1);
  await streams.print(' and half\n');
  await waitFor('the line', () => streams.records.some((record) => record.includes('and half')));
  worker.end(true);
  await streams.ended();
  const log = await readLog(streams.path);
  t.equal(log.stdout.toString(), 'one\nhalf and half\n');
  t.ok(rig.complaints.lines.some((line) => line.includes('log worker died (1 of 3)')));
});

t.test('a log that comes back to main keeps its doorbells while there are clients, and no longer', async (t) => {
  let busyMs = 0;
  const pacing: Pacing = {
    calmBytes: 1 << 20,
    calmMs: 100,
    get busyMs() {
      return busyMs;
    },
  };
  const rig = new Rig(t, { pacing });
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  for (const clients of [true, false]) {
    busyMs = 0;
    await streams.print('busy\n');
    await rig.moved('a thread', clients ? 1 : 2);
    worker.keepForClients();
    const { own, attach } = worker.doorbells;
    if (!clients) worker.forgetClients();
    busyMs = Number.POSITIVE_INFINITY;
    await rig.moved('main', clients ? 1 : 2);
    for (const { fd } of [own, attach]) t.equal(sys.fcntl(fd, F_GETFD, 0) >= 0, clients);
    if (clients) worker.forgetClients();
    for (const { fd } of [own, attach]) t.equal(sys.fcntl(fd, F_GETFD, 0), -EBADF);
  }
});

/** Where an attach worker would be: its side of the ring. */
t.test('a client that comes and goes while main writes: its doorbells come and go with it', async (t) => {
  let loops = 0;
  const counted: LogCode = {
    ...code,
    logSteps: (...args) => {
      loops++;
      return code.logSteps(...args);
    },
  };
  const rig = new Rig(t, { withCode: counted });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  await streams.print('before\n');
  await waitFor('before', () => streams.records.length === 1);
  for (let visit = 1; visit <= 3; visit++) {
    worker.keepForClients();
    worker.keepForClients(); // one more, before the attach worker is there
    t.equal(loops, 2 * visit, 'a loop that has doorbells is not begun anew');
    const { own, attach } = worker.doorbells;
    const client = new RingConsumer(worker.memory, worker.geometry.capacityBytes, ATTACH_CONSUMER, own);
    await waitFor('the client to be let in', () => client.active);
    await streams.print(`visit ${visit}\n`);
    await waitFor('the record', () => client.next());
    const record = Buffer.from(new Uint8Array(worker.memory.buffer, client.offset, client.length));
    t.equal(record.toString(), `visit ${visit}\n`);
    client.release();
    client.leave();
    worker.clientsLeft();
    for (const { fd } of [own, attach]) t.equal(sys.fcntl(fd, F_GETFD, 0), -EBADF, 'closed');
  }
  t.equal(loops, 1 + 2 * 3);
  await streams.print('after\n');
  await waitFor('after', () => streams.records.length === 5);
  t.equal(pool.started, 0);
  t.same(streams.records.at(-1), 'stdout F after');
});

/** A journal of the test's own, and who writes to it. */
function journaling(
  t: Test,
  options: Omit<Options, 'targets'> = {},
): { rig: Rig; journal: Journal; lines: () => string[] } {
  let journal: Journal | undefined;
  const rig = new Rig(t, {
    ...options,
    targets: ({ dir }) => {
      journal = new Journal(join(dir, 'journal'));
      const who = { cid: 'c'.repeat(64), name: undefined, tag: undefined, labels: [], tellPartial: true };
      return [{ driver: 'journald', socketPath: journal.path, ...who }];
    },
  });
  if (journal === undefined) throw new Error('no journal');
  const made = journal;
  t.teardown(() => made.close());
  // The last newline of a line is its own, as with C.
  return {
    rig,
    journal: made,
    lines: () => made.entries.map((entry) => field(entry, 'MESSAGE')?.replace(/\n$/, '') ?? ''),
  };
}

t.test('a journal that is full is a thread’s to wait for', async (t) => {
  const { rig, journal, lines } = journaling(t);
  rig.worker.begin(rig.streams.sources);
  const sent = Array.from({ length: 3000 }, (_, i) => `line ${i}`);
  await rig.streams.print(`${sent.join('\n')}\n`);
  await waitFor('all entries', () => {
    journal.take();
    return journal.entries.length >= sent.length;
  });
  t.same(lines(), sent);
  t.same(rig.moves, ['a thread']);
});

t.test('without fds for a thread a journal that is full is waited for by main without blocking it', async (t) => {
  const { rig, journal, lines } = journaling(t, { withSys: realSysBut({ eventfd: () => EMFILE }) });
  const { worker, streams, pool } = rig;
  worker.begin(streams.sources);
  const sent = Array.from({ length: 3000 }, (_, i) => `line ${i}`);
  await streams.print(`${sent.join('\n')}\n`);
  let turns = 0;
  const taking = waitFor(
    'all entries',
    () => {
      turns++;
      journal.take(7);
      return journal.entries.length >= sent.length;
    },
    { intervalMs: 1 },
  );
  await taking;
  t.same(lines(), sent);
  t.ok(turns > 100);
  t.equal(pool.started, 0);
});

t.test('a journal that is started anew gets what follows from main', async (t) => {
  const { rig, journal, lines } = journaling(t);
  const { worker, streams } = rig;
  worker.begin(streams.sources);
  await streams.print('one\n');
  await waitFor('one', () => journal.take() > 0);
  journal.close();
  await streams.print('two\n');
  await waitFor('main to have tried', () => sys.fionread(streams.out.readFd) === 0);
  journal.open();
  await waitFor('two', () => {
    journal.take();
    return lines().includes('two');
  });
});

t.test(`a journal's lines that move to and fro are lost and doubled by nobody, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const { rig, journal, lines } = journaling(t, { pacing: { busyMs: 1, calmBytes: 1 << 30, calmMs: 20 } });
  const { worker, streams } = rig;
  const fds = (): number => readdirSync('/proc/self/fd').length;
  worker.begin(streams.sources);
  const sent: string[] = [];
  let before = 0;
  for (let i = 0; i < 60; i++) {
    const some = Array.from({ length: random.below(200) }, (_, k) => `${i} ${k} ${'x'.repeat(random.below(100))}`);
    sent.push(...some);
    if (some.length > 0) await streams.print(`${some.join('\n')}\n`);
    await waitFor('its entries', () => {
      journal.take();
      return journal.entries.length >= sent.length;
    });
    if (random.below(2) === 0) await rig.moved('main', rig.moves.filter((move) => move === 'a thread').length);
    if (i === 20) before = fds();
  }
  t.same(lines(), sent);
  t.ok(rig.moves.filter((move) => move === 'main').length >= 3, `${rig.moves.length} moves`);
  await rig.moved('main', rig.moves.filter((move) => move === 'a thread').length);
  await waitFor('no fd to be left by those that have moved', () => fds() <= before + 2);
});

t.test('a new file is made by main, once', async (t) => {
  const { worker, streams } = new Rig(t);
  worker.begin(streams.sources);
  await streams.print('old\n');
  await waitFor('old', () => streams.records.length === 1);
  worker.reopen();
  await waitFor('the new file', () => streams.log === '');
  await streams.print('new\n');
  await waitFor('new', () => streams.records.length === 1);
  t.same(streams.records, ['stdout F new']);
});

t.test('only regular files of this machine, and the journal, are main’s to write', (t) => {
  const dir = t.testdir({});
  const file = join(dir, 'log');
  const fifo = join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  writeFileSync(file, '');
  const target = (fd: number) => ({ driver: 'k8s-file', path: 'x', fd }) as const;
  const fds = {
    file: openLog(file),
    fifo: openSync(fifo, 'r+'),
    device: openSync('/dev/null', 'w'),
    proc: openSync('/proc/self/comm', 'r'),
  };
  t.teardown(() => {
    for (const fd of Object.values(fds)) closeSync(fd);
  });
  const journald = {
    driver: 'journald',
    socketPath: '/x',
    cid: 'c',
    name: undefined,
    tag: undefined,
    labels: [],
    tellPartial: true,
  } as const;
  t.equal(mayBeOnMain(sys, [target(fds.file)]), true);
  t.equal(mayBeOnMain(sys, [target(fds.file), target(fds.file)]), true);
  t.equal(mayBeOnMain(sys, []), true, 'nobody waits for nothing');
  t.equal(mayBeOnMain(sys, [target(fds.fifo)]), false);
  t.equal(mayBeOnMain(sys, [target(fds.device)]), false);
  t.equal(mayBeOnMain(sys, [target(fds.proc)]), false, 'whose file system is not known');
  t.equal(mayBeOnMain(sys, [target(700)]), false);
  t.equal(mayBeOnMain(sys, [target(fds.file), journald]), true);
  t.equal(mayBeOnMain(sys, [target(fds.fifo), journald]), false, 'all of them');
  t.end();
});
