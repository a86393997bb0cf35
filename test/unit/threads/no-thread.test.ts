/**
 * A machine that has no thread left for a moment, as at a pids limit: who asks is told at once, may ask again, and what was asked
 * for in vain is not begun later, beside what has taken its place.
 */
import { MessageChannel } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { MainLogs } from '../../../src/threads/main-logs.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import { SharedPool } from '../../../src/threads/shared-pool.ts';
import * as code from '../../../workers/log.ts';
import { readLog } from '../../helpers/k8s-log.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const threads = process.getBuiltinModule('node:worker_threads');
const { Worker } = threads;
/** What rings a doorbell. */
const ONE = new Uint8Array(BigUint64Array.of(1n).buffer);

/** Threads, which are refused for as long as a test wants; counts those that are not. */
class Threads {
  readonly started: InstanceType<typeof Worker>[] = [];
  refused = 0;
  none = false;
  readonly #eventfds: number[] = [];
  readonly sys = realSysBut({
    eventfd: (initial, flags) => {
      const fd = sys.eventfd(initial, flags);
      this.#eventfds.push(fd);
      return fd;
    },
  });

  constructor(test: Test) {
    const own = this;
    threads.Worker = class extends Worker {
      constructor(...args: ConstructorParameters<typeof Worker>) {
        if (own.none) {
          own.refused++;
          throw new Error('EAGAIN');
        }
        super(...args);
        own.started.push(this);
      }
    };
    test.teardown(async () => {
      threads.Worker = Worker;
      const ended = Promise.all(this.started.map((worker) => worker.terminate()));
      for (const fd of this.#eventfds) sys.write(fd, ONE, 0, ONE.length); // they are told in their poll(2)
      await ended;
    });
  }
}

t.test('a flood that got no thread stays on main; when it gets one it is one loop, and its end is heard', async (t) => {
  const machine = new Threads(t);
  const streams = new Streams(t);
  const complaints = new Complaints('debug');
  const pacing = { busyMs: 0, calmBytes: 0, calmMs: 1 << 30 };
  const mainLogs = new MainLogs(sys, complaints.diag, { code, pacing });
  const plan = { ...streams.plan(), mainLogs: () => mainLogs };
  const worker = new LogWorker(sys, complaints.diag, new WorkerPool(), plan, streams.onEnded);
  worker.begin(streams.sources);
  machine.none = true;
  const text = `${'x'.repeat(99)}\n`.repeat(1000);
  let written = 0;
  /** -1 amid a thread's write, of which a reader may see a part. */
  const logged = (): number => {
    try {
      return readLog(streams.path).stdout.length;
    } catch {
      return -1;
    }
  };
  const print = async (): Promise<void> => {
    await streams.print(text);
    written += text.length;
    await waitFor('the log', () => logged() === written);
  };
  while (machine.refused < 3) await print();
  machine.none = false;
  while (machine.started.length === 0) await print();
  await print();
  worker.end(true);
  t.match(await streams.ended(), { readBytes: written, droppedBytes: 0 });
  t.equal((await readLog(streams.path)).stdout.toString('latin1'), text.repeat(written / text.length));
  t.equal(machine.started.length, 1, 'what was asked for in vain is forgotten');
  t.notOk(complaints.lines.some((line) => line.includes('died')));
  worker.close(true);
});

t.test('joined execs: the first log that got no thread fails, the next one gets one', async (t) => {
  const machine = new Threads(t);
  const complaints = new Complaints('debug');
  const pool = new SharedPool(machine.sys, complaints.diag);
  const [first, second] = [new Streams(t), new Streams(t)];
  machine.none = true;
  t.throws(() => new LogWorker(sys, complaints.diag, pool, first.plan(), first.onEnded), { message: 'EAGAIN' });
  machine.none = false;
  const worker = new LogWorker(sys, complaints.diag, pool, second.plan(), second.onEnded);
  worker.begin(second.sources);
  await second.print('one\n');
  worker.end(true);
  t.match(await second.ended(), { readBytes: 4, records: 1 });
  t.same(second.records, ['stdout F one']);
  t.equal(machine.started.length, 1);
  worker.close(true);
});

t.test('who asks a pool is told at once', async (t) => {
  const machine = new Threads(t);
  machine.none = true;
  const { port2 } = new MessageChannel();
  t.throws(() => new WorkerPool().start('log', { port: port2 }, [port2]), { message: 'EAGAIN' });
});
