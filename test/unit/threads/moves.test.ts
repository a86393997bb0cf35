/**
 * Where a log's loop runs and goes on: moves between main and a thread, and deaths in both places. The loops are the test's:
 * each does only what it is told to, so that every order can be had.
 */
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { DriverField, driverState } from '../../../src/log/driver-state.ts';
import type { Sys } from '../../../src/native/sys.ts';
import type { FromLogWorker, LogCounters, LogResult, LogTask, ToLogWorker } from '../../../src/proto/log-messages.ts';
import { POSITION_MASK, Word } from '../../../src/ring/layout.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import type { MainLogs, QuietLog, QuietOwner } from '../../../src/threads/main-logs.ts';
import type { Owner, Pool, Running } from '../../../src/threads/pool.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

const MINUTE = 60_000;

/** A loop, on main or on a thread. */
interface Loop {
  readonly place: 'main' | 'thread';
  readonly told: string[];
  readonly counters: LogCounters;
  stopped: boolean;
  done(left?: boolean): Promise<void>;
  dies(): Promise<void>;
  busy(): void;
  reopened(): void;
}

class Rig {
  readonly loops: Loop[] = [];
  readonly complaints = new Complaints('warn');
  readonly endings: (LogCounters | undefined)[] = [];
  readonly closed: number[] = [];
  /** What cannot be had. */
  noThread = false;
  noMain = false;
  noFds = false;
  nowMs = 1e9;
  readonly worker: LogWorker;
  #fd = 100;

  /** @param main whether main may have the loop; it begins there then */
  constructor(test: Test, { main = true, calmMs = 1 << 30 } = {}) {
    const real = performance.now;
    performance.now = () => this.nowMs;
    const sys: Sys = fakeSys({
      eventfd: () => (this.noFds ? -24 : this.#fd++),
      close: (fd) => this.closed.push(fd),
      write: (_fd, _bytes, _offset, length) => length,
    });
    const pacing = { busyMs: 0, calmBytes: 5, calmMs };
    const mainLogs = {
      pacing,
      run: (task: LogTask, owner: QuietOwner) => this.#onMain(task, owner),
    } as unknown as MainLogs;
    const pool = { run: (_: string, task: LogTask, owner: Owner<FromLogWorker>) => this.#onThread(task, owner) };
    this.worker = new LogWorker(
      sys,
      this.complaints.diag,
      pool as unknown as Pool,
      {
        targets: [{ driver: 'k8s-file', path: '/log', fd: 50 }],
        limits: { fileMaxBytes: 1, globalMaxBytes: 1 },
        rotation: { keepFiles: 0 },
        syncLog: true,
        diag: { level: 'error', syslogName: undefined },
        mainLogs: main ? () => mainLogs : undefined,
      },
      (counters) => this.endings.push(counters),
    );
    test.teardown(() => {
      performance.now = real;
      if (this.endings.length === 0) this.loops.at(-1)?.done();
    });
  }

  get last(): Loop {
    const loop = this.loops.at(-1);
    if (loop === undefined) throw new Error('there is no loop');
    return loop;
  }

  get places(): string {
    return this.loops.map(({ place, stopped }) => `${place}${stopped ? '.' : ''}`).join(' ');
  }

  #loop(task: LogTask, rest: Pick<Loop, 'place' | 'done' | 'dies' | 'busy' | 'reopened'>): Loop {
    const loop: Loop = { told: [], stopped: false, counters: task.counters, ...rest };
    // Two loops in one memory would each write what the other does.
    const others = this.loops.filter(({ stopped }) => !stopped);
    if (others.length > 0) throw new Error(`${others.length} loops run still`);
    this.loops.push(loop);
    return loop;
  }

  #onMain(task: LogTask, owner: QuietOwner): QuietLog {
    if (this.noMain) throw new Error('no loop on main');
    const loop: Loop = this.#loop(task, {
      place: 'main',
      done: async (left = false) => {
        loop.stopped = true;
        owner.onEnd({ counters: task.counters, left }, undefined);
      },
      dies: async () => {
        loop.stopped = true;
        owner.onEnd(undefined, new Error('dies on main'));
      },
      busy: () => owner.onBusy(),
      reopened: () => owner.heard({ kind: 'reopened' }),
    });
    return {
      tell: ({ kind }: ToLogWorker) => loop.told.push(kind),
      stop: () => {
        loop.stopped = true;
      },
    };
  }

  #onThread(task: LogTask, owner: Owner<FromLogWorker>): Running<ToLogWorker, LogResult> {
    if (this.noThread) throw new Error('no thread');
    const end = Promise.withResolvers<LogResult>();
    const loop = this.#loop(task, {
      place: 'thread',
      done: async (left = false) => {
        loop.stopped = true;
        end.resolve({ counters: { ...newCounters(), readBytes: 7 }, left });
        await turn();
      },
      dies: async () => {
        loop.stopped = true;
        end.reject(new Error('dies on a thread'));
        await turn();
      },
      busy: () => {},
      reopened: () => owner.heard({ kind: 'reopened' }),
    });
    return { tell: ({ kind }) => loop.told.push(kind), done: end.promise };
  }
}

t.test('a flood moves to a thread, which is told all that main’s loop was and has not done', async (t) => {
  const rig = new Rig(t);
  rig.worker.begin([]);
  rig.worker.reopen();
  rig.worker.reopen();
  rig.last.reopened();
  t.same(rig.last.told, ['begin', 'reopen', 'reopen']);
  rig.last.busy();
  t.equal(rig.places, 'main. thread');
  t.same(rig.last.told, ['begin', 'reopen']);
  rig.last.reopened();
  rig.worker.end(true);
  t.same(rig.last.told, ['begin', 'reopen', 'end']);
  await rig.last.done();
  t.match(rig.endings, [{ readBytes: 7 }]);
  t.same(rig.complaints.lines, []);
});

t.test('an answer that nobody waits for makes nothing else forgotten', async (t) => {
  const rig = new Rig(t);
  rig.worker.begin([]);
  rig.worker.reopen();
  for (let i = 0; i < 3; i++) rig.last.reopened(); // one loop had done it and died, the next one did it again
  rig.last.busy();
  t.same(rig.last.told, ['begin']);
});

t.test('once the end was told main sees it through, busy or not', async (t) => {
  const rig = new Rig(t);
  rig.worker.end(true);
  rig.last.busy();
  t.equal(rig.places, 'main');
  await rig.last.done();
  t.equal(rig.endings.length, 1);
});

t.test('without fds for doorbells main’s loop is not even stopped', (t) => {
  const rig = new Rig(t);
  rig.noFds = true;
  rig.last.busy();
  t.equal(rig.places, 'main');
  rig.noFds = false;
  rig.nowMs += 999;
  rig.last.busy();
  t.equal(rig.places, 'main', 'it is not asked for again within a second');
  rig.nowMs += 1;
  rig.last.busy();
  t.equal(rig.places, 'main. thread');
  t.end();
});

t.test('without a thread main begins anew, and asks again a second later', async (t) => {
  const rig = new Rig(t);
  rig.worker.begin([]);
  rig.noThread = true;
  rig.last.busy();
  t.equal(rig.places, 'main. main');
  t.same(rig.last.told, ['begin']);
  rig.noThread = false;
  rig.last.busy();
  t.equal(rig.places, 'main. main');
  rig.nowMs += 1000;
  rig.last.busy();
  t.equal(rig.places, 'main. main. thread');
  t.same(rig.complaints.lines, [], 'nobody has died');
});

t.test('without a thread, and without main’s loop either, that counts as a death', async (t) => {
  const rig = new Rig(t);
  rig.worker.begin([]);
  rig.noThread = true;
  rig.noMain = true;
  rig.last.busy();
  t.same(rig.endings, [undefined], 'it is told: the container must not wait for a reader');
  t.match(rig.complaints.lines, [/died \(1 of 3\): no loop on main/, /no thread/, /no loop on main/, /ends here/]);
});

t.test('what dies on main goes on in a thread, and the other way round; main keeps it for a minute', async (t) => {
  const rig = new Rig(t);
  rig.worker.begin([]);
  await rig.last.dies();
  t.equal(rig.places, 'main. thread');
  t.same(rig.last.told, ['begin']);
  await rig.last.dies();
  t.equal(rig.places, 'main. thread. main');
  t.same(rig.last.told, ['begin']);
  rig.nowMs += MINUTE - 1;
  rig.last.busy();
  t.equal(rig.places, 'main. thread. main');
  rig.nowMs += 1;
  rig.last.busy();
  t.equal(rig.places, 'main. thread. main. thread');
  t.match(rig.complaints.lines, [/died \(1 of 3\): dies on main/, /died \(2 of 3\): dies on a thread/]);
});

t.test('the third death within a minute of the one before ends the log; a later one is the first again', async (t) => {
  const rig = new Rig(t, { main: false });
  for (const [afterMs, deaths] of [
    [0, 1],
    [MINUTE, 2],
    [MINUTE + 1, 1],
    [MINUTE, 2],
    [MINUTE, 3],
  ] as const) {
    rig.nowMs += afterMs;
    await rig.last.dies();
    t.match(
      rig.complaints.lines.findLast((line) => line.includes('died')),
      new RegExp(`died \\(${deaths} of 3\\)`),
    );
  }
  t.equal(rig.loops.length, 5, 'no sixth');
  t.same(rig.endings, [undefined]);
  t.match(rig.complaints.lines.at(-1), /log \/log ends here/);
  t.notOk(rig.complaints.lines.some((line) => line.includes('cannot be started again')));
});

t.test(
  'a log that ends is told with what it lacks: what was read and not written, and what was lost before',
  async (t) => {
    for (const [tail, position] of [
      [130, 100],
      [10, POSITION_MASK - 19],
    ] as const) {
      const rig = new Rig(t, { main: false });
      const { memory } = rig.worker;
      Atomics.store(new Int32Array(memory.buffer), Word.tail, tail);
      const state = driverState(memory, 0);
      state[DriverField.position] = position;
      state[DriverField.allRecords] = 2;
      state[DriverField.allBytes] = 50;
      state[DriverField.episodes] = 1;
      for (let deaths = 0; deaths < 3; deaths++) await rig.last.dies();
      t.same(rig.complaints.lines.slice(-2), [
        '[conmon:e]: log /log ends here: its worker is lost, with about 30 bytes that it had read',
        '[conmon:w]: log /log: dropped 50 bytes in 2 records',
      ]);
    }
  },
);

t.test('what dies goes on where it was when it cannot where it was not, and ends when it can nowhere', async (t) => {
  const rig = new Rig(t);
  rig.noThread = true;
  await rig.last.dies();
  t.equal(rig.places, 'main. main');
  t.match(rig.complaints.lines, [/died/, /cannot be started again: no thread/]);
  rig.noMain = true;
  await rig.last.dies();
  t.same(rig.endings, [undefined]);
  t.match(rig.complaints.lines.slice(2), [/died \(2 of 3\)/, /no thread/, /no loop on main/, /ends here/]);
});

t.test('a thread that leaves gives the log back to main, and its doorbells, unless there are clients', async (t) => {
  for (const clients of [false, true]) {
    const rig = new Rig(t);
    rig.last.busy();
    if (clients) rig.worker.keepForClients();
    await rig.last.done(true);
    t.equal(rig.places, 'main. thread. main');
    t.same(rig.closed, clients ? [] : [100, 101]);
    t.equal(rig.last.counters.readBytes, 7, 'it counts on');
    t.same(rig.endings, []);
  }
});

t.test('a thread that leaves when main cannot have the log is as one that dies: another one has it', async (t) => {
  const rig = new Rig(t);
  rig.last.busy();
  rig.noMain = true;
  await rig.last.done(true);
  t.equal(rig.places, 'main. thread. thread');
  t.match(rig.complaints.lines, [/died \(1 of 3\): no loop on main/]);
});

t.test('a client that comes or leaves when main’s loop cannot be begun anew: a thread has the log', async (t) => {
  const coming = new Rig(t);
  coming.worker.begin([]);
  coming.noMain = true;
  coming.worker.keepForClients();
  t.equal(coming.places, 'main. thread');
  t.same(coming.last.told, ['begin']);
  const leaving = new Rig(t);
  leaving.worker.keepForClients();
  t.equal(leaving.places, 'main. main');
  leaving.noMain = true;
  leaving.worker.clientsLeft();
  t.equal(leaving.places, 'main. main. thread');
  t.match(leaving.complaints.lines, [/died \(1 of 3\): no loop on main/]);
});

t.test('a thread is asked now and then whether it is worth its memory, and nobody else is', async (t) => {
  const rig = new Rig(t, { calmMs: 2 });
  const asked = async (loop: Loop): Promise<void> => {
    while (loop.told.filter((kind) => kind === 'leave').length < 2) await turn();
  };
  const some = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 20));
  await some();
  t.same(rig.last.told, [], 'not main');
  rig.last.busy();
  await asked(rig.last);
  await rig.last.done(true);
  const [, thread, main] = rig.loops;
  const before = thread?.told.length;
  await some();
  t.equal(thread?.told.length, before);
  t.same(main?.told, []);
  rig.nowMs += MINUTE;
  rig.last.busy();
  await asked(rig.last);
  await rig.last.dies();
  await some();
  t.same(rig.last.told, []);
  rig.worker.end(true);
  await rig.last.done();
});
