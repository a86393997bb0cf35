/** For src/threads/log-worker.ts: what a log worker was given, and what it gives back at its end, however that comes. */
import t, { type Test } from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogResult } from '../../../src/proto/log-messages.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import type { MainLogs } from '../../../src/threads/main-logs.ts';
import type { Pool, Running } from '../../../src/threads/pool.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Streams } from './rig.ts';

/** A log worker of which the test sees what it closes, and whose thread ends when the test says so. */
class Rig {
  readonly streams: Streams;
  readonly logFd: number;
  readonly memory = createMemory(1 << 20);
  readonly made: number[] = [];
  readonly closed: number[] = [];
  /** Memory that came back, and whether others may have it. */
  readonly back: [WebAssembly.Memory, boolean][] = [];
  readonly end = Promise.withResolvers<LogResult>();
  readonly #pool: Pool;

  constructor(test: Test, run?: () => Running<unknown, LogResult>) {
    this.streams = new Streams(test);
    this.logFd = openLog(this.streams.path);
    const memories = {
      take: () => this.memory,
      put: (memory: WebAssembly.Memory, intact: boolean) => void this.back.push([memory, intact]),
    };
    const still = (): Running<unknown, unknown> => ({ tell: () => {}, done: this.end.promise });
    this.#pool = { memories, run: run ?? still } as unknown as Pool;
    test.teardown(() => {
      if (!this.closed.includes(this.logFd)) sys.close(this.logFd);
    });
  }

  worker(mainLogs?: () => MainLogs): LogWorker {
    const calls = realSysBut({
      eventfd: (initial, flags) => {
        const fd = sys.eventfd(initial, flags);
        this.made.push(fd);
        return fd;
      },
      close: (fd) => {
        this.closed.push(fd);
        return sys.close(fd);
      },
    });
    const plan = { ...this.streams.plan(this.logFd), mainLogs };
    return new LogWorker(calls, this.streams.complaints.diag, this.#pool, plan, this.streams.onEnded);
  }
}

t.test('of one that has ended well its memory is for others, and its log was closed by the thread', async (t) => {
  for (const intact of [true, false]) {
    const rig = new Rig(t);
    const worker = rig.worker();
    worker.end(true);
    rig.end.resolve({ counters: newCounters(), left: false });
    await rig.streams.ended();
    t.same(rig.closed, [], 'an attach worker may still read the ring');
    worker.close(intact);
    worker.close(intact);
    t.same(rig.closed, rig.made, 'each once');
    t.same(rig.back, [[rig.memory, intact]], 'not when an attach worker has died');
  }
});

t.test('of one that was lost the memory is nobody’s, and the log is closed by main', async (t) => {
  const dying = (): Running<unknown, LogResult> => ({ tell: () => {}, done: Promise.reject(new Error('dies')) });
  const rig = new Rig(t, dying);
  const worker = rig.worker();
  t.equal(await rig.streams.ended(), undefined);
  worker.close(true);
  t.same(rig.closed.toSorted(), [...rig.made, rig.logFd].toSorted());
  t.same(rig.back, [[rig.memory, false]]);
});

t.test('one whose thread cannot be had leaves nothing but its log, which is still its owner’s', async (t) => {
  const rig = new Rig(t, () => {
    throw new Error('no thread today');
  });
  t.throws(() => rig.worker(), { message: 'no thread today' });
  t.equal(rig.made.length, 2);
  t.same(rig.closed, rig.made);
  t.same(rig.back, [[rig.memory, false]]);
});

t.test('where main’s loop cannot be had a thread has the log', async (t) => {
  const rig = new Rig(t);
  const worker = rig.worker(() => {
    throw new Error('conmon was replaced');
  });
  t.equal(rig.made.length, 2);
  worker.end(true);
  rig.end.resolve({ counters: newCounters(), left: false });
  await rig.streams.ended();
  worker.close(true);
});
