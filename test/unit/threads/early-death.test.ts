/** A thread that dies before it has begun its task: the task fails, at once and alone, and is begun by no later thread. */
import { MessageChannel } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const threads = process.getBuiltinModule('node:worker_threads');
const { Worker } = threads;

/** Threads that die of their first statement for as long as a test wants. */
class Threads {
  started = 0;
  die = false;

  constructor(test: Test) {
    const own = this;
    threads.Worker = class extends Worker {
      constructor(file: string | URL, options: ConstructorParameters<typeof Worker>[1]) {
        if (own.die) super('throw new Error("died early")', { ...options, eval: true });
        else super(file, options);
        own.started++;
      }
    };
    test.teardown(() => {
      threads.Worker = Worker;
    });
  }
}

/** A log loop on a thread of `pool`'s. */
function log(pool: WorkerPool, streams: Streams, complaints: Complaints): LogWorker {
  const worker = new LogWorker(sys, complaints.diag, pool, streams.plan(), streams.onEnded);
  worker.begin(streams.sources);
  return worker;
}

t.test('a task whose thread dies before it has begun fails with what the thread died of', async (t) => {
  const machine = new Threads(t);
  machine.die = true;
  const { port2 } = new MessageChannel();
  await t.rejects(new WorkerPool().start('log', { port: port2 }, [port2]), { message: 'died early' });
});

t.test('it fails alone: a task that another thread has begun goes on', async (t) => {
  const machine = new Threads(t);
  const streams = new Streams(t);
  const complaints = new Complaints('debug');
  const pool = new WorkerPool();
  const worker = log(pool, streams, complaints);
  await streams.print('one\n');
  await waitFor('one', () => streams.records.length === 1);
  machine.die = true;
  const { port2 } = new MessageChannel();
  await t.rejects(pool.start('log', { port: port2 }, [port2]), { message: 'died early' });
  machine.die = false;
  await streams.print('two\n');
  await waitFor('two', () => streams.records.length === 2);
  worker.end(true);
  t.match(await streams.ended(), { readBytes: 8, records: 2 });
  t.equal(machine.started, 2);
  t.notOk(complaints.lines.some((line) => line.includes('died')));
  worker.close(true);
});

t.test('the next thread begins its own task, and not what failed before', async (t) => {
  const machine = new Threads(t);
  const streams = new Streams(t);
  const complaints = new Complaints('debug');
  const pool = new WorkerPool();
  machine.die = true;
  const { port2 } = new MessageChannel();
  await t.rejects(pool.start('log', { port: port2 }, [port2]), { message: 'died early' });
  machine.die = false;
  const worker = log(pool, streams, complaints);
  await streams.print('one\n');
  worker.end(true);
  t.match(await streams.ended(), { readBytes: 4, records: 1 });
  t.same(streams.records, ['stdout F one']);
  t.equal(machine.started, 2);
  worker.close(true);
});
