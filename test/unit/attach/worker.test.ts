/** Main's handle of the attach worker: what it tells a thread, and what becomes of one that leaves or dies. No real threads. */
import t from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import type {
  AttachCounters,
  AttachResult,
  AttachTask,
  FromAttachWorker,
  ToAttachWorker,
} from '../../../src/proto/attach-messages.ts';
import { Baton } from '../../../src/ring/baton.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import {
  ATTACH_CONSUMER,
  CLIENT_FDS_COUNT,
  CLIENT_FDS_OFFSET,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  memoryBytes,
  type RingGeometry,
} from '../../../src/ring/layout.ts';
import { AttachWorker } from '../../../src/threads/attach-worker.ts';
import type { LogWorker } from '../../../src/threads/log-worker.ts';
import type { Owner, Running, WorkerPool } from '../../../src/threads/pool.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { CountingBell } from '../ring/rig.ts';
import { Complaints } from '../session/complaints.ts';

const COUNTERS: AttachCounters = { clients: 1, sentBytes: 2, stdinBytes: 3, droppedStdinBytes: 4, stalledClients: 5 };
const turn = () => new Promise((resolve) => setImmediate(resolve));

interface Run {
  readonly task: AttachTask;
  /** What it was told and has not looked at. */
  readonly told: ToAttachWorker[];
  readonly say: (message: FromAttachWorker) => void;
  readonly leave: (why: AttachResult['why']) => void;
  readonly die: (error: Error) => void;
}

function rig() {
  const geometry: RingGeometry = { capacityBytes: 1024, softBytes: 1024, outputBytes: 64, outputCount: 1 };
  const memory = createMemory(memoryBytes(geometry));
  const words = new Int32Array(memory.buffer);
  const [bell, attachBell] = [new CountingBell(), new CountingBell()];
  const runs: Run[] = [];
  const closed: number[] = [];
  const complaints = new Complaints();
  const seen = { lefts: 0 };
  // Of both classes the worker uses only these; their other members are private, which types cannot leave out.
  const pool = {
    run: (_role: string, task: AttachTask, owner: Owner<FromAttachWorker>): Running<ToAttachWorker, AttachResult> => {
      const { promise, resolve, reject } = Promise.withResolvers<AttachResult>();
      const told: ToAttachWorker[] = [];
      const leave = (why: AttachResult['why']): void => resolve({ why, counters: COUNTERS });
      runs.push({ task, told, say: (message) => owner.heard(message), leave, die: reject });
      return { tell: (message) => told.push(message), done: promise };
    },
  } as unknown as WorkerPool;
  const keepForClients = () => new RingConsumer(memory, 1024, ATTACH_CONSUMER, bell.doorbell).request();
  const log = {
    memory,
    geometry,
    doorbells: { own: bell.doorbell, attach: attachBell.doorbell },
  } as unknown as LogWorker;
  const plan = {
    listenFd: 5,
    closeStdin: true,
    stallTimeoutMs: 7,
    unusedMs: 8,
    diag: { level: 'warn', syslogName: undefined },
  } as const;
  const sys = fakeSys({ close: (fd) => closed.push(fd) });
  const worker = new AttachWorker(sys, complaints.diag, pool, log, plan, () => seen.lefts++);
  /** As Output does when a client waits. */
  const serve = () => {
    keepForClients();
    worker.serve();
  };
  serve();
  const state = () => words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state];
  const clientFds = new Int32Array(memory.buffer, CLIENT_FDS_OFFSET, CLIENT_FDS_COUNT);
  return { worker, runs, closed, seen, serve, lines: complaints.lines, state, memory, words, clientFds };
}

/** What a thread was told and has not looked at. */
function messages(run: Run | undefined): ToAttachWorker[] {
  return run?.told.splice(0) ?? [];
}

t.test('a thread gets the plan and the messages; its end is told once', async (t) => {
  const { worker, runs, seen, serve } = rig();
  worker.stdin(9);
  worker.end();
  serve();
  t.equal(runs.length, 1, 'one at a time');
  t.match(runs[0]?.task, {
    listenFd: 5,
    closeStdin: true,
    stallTimeoutMs: 7,
    unusedMs: 8,
    doorbellFd: 99,
    logDoorbellFd: 99,
  });
  t.same(messages(runs[0]), [{ kind: 'stdin', fd: 9 }, { kind: 'end' }]);
  runs[0]?.leave('ended');
  await turn();
  t.equal(seen.lefts, 1);
  worker.end();
});

t.test('after a thread has left the next client starts another, with the same stdin', async (t) => {
  const { worker, runs, closed, seen, serve } = rig();
  worker.stdin(9);
  for (let i = 0; i < 5; i++) {
    t.equal(runs.length, i + 1);
    t.same(messages(runs[i]), [{ kind: 'stdin', fd: 9 }]);
    runs[i]?.leave('unused');
    await turn();
    t.equal(seen.lefts, i + 1);
    t.equal(worker.usable, true);
    serve();
  }
  t.same(closed, [], 'stdin stays open between clients');
  runs[5]?.leave('ended');
});

t.test('stdin that comes while no thread is there is the next one’s', async (t) => {
  const { worker, runs, serve } = rig();
  runs[0]?.leave('unused');
  await turn();
  worker.stdin(9);
  serve();
  t.same(messages(runs[1]), [{ kind: 'stdin', fd: 9 }]);
  runs[1]?.leave('ended');
});

t.test('when a thread says that the input has ended stdin is closed, once, and the next one gets none', async (t) => {
  const { worker, runs, closed, serve } = rig();
  worker.stdin(9);
  runs[0]?.say({ kind: 'stdinEnded' });
  for (let i = 0; i < 100 && closed.length === 0; i++) await turn();
  t.same(closed, [9]);
  runs[0]?.leave('unused');
  await turn();
  serve();
  t.same(messages(runs[1]), [{ kind: 'stdin', fd: -1 }]);
  runs[1]?.say({ kind: 'stdinEnded' });
  runs[1]?.leave('ended');
  await turn();
  t.same(closed, [9]);
});

t.test('input that ends before there is a stdin: it is closed when it comes', async (t) => {
  const { worker, runs, closed } = rig();
  runs[0]?.say({ kind: 'stdinEnded' });
  runs[0]?.leave('unused');
  await turn();
  worker.stdin(9);
  t.same(closed, [9]);
});

t.test(
  'a thread that dies: its clients are disconnected, nobody waits for it, the next client starts another',
  async (t) => {
    const { worker, runs, closed, seen, serve, lines, state, words, clientFds } = rig();
    words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    worker.stdin(9);
    clientFds[0] = 21;
    clientFds[700] = 22;
    clientFds[CLIENT_FDS_COUNT - 1] = 23;
    runs[0]?.die(new Error('a bug'));
    await turn();
    t.same(lines, ['[conmon:e]: attach worker died (1 of 3): a bug']);
    t.same(closed, [21, 22, 23]);
    t.ok(clientFds.every((fd) => fd === 0));
    t.equal(state(), ConsumerState.absent);
    t.equal(seen.lefts, 1);
    t.equal(runs.length, 1);
    serve();
    t.equal(state(), ConsumerState.requested);
    t.same(messages(runs[1]), [{ kind: 'stdin', fd: 9 }], 'the container’s stdin is well');
    runs[1]?.leave('ended');
  },
);

t.test('what a thread said before it died counts: stdin is closed, not handed on', async (t) => {
  const { worker, runs, closed, serve } = rig();
  worker.stdin(9);
  runs[0]?.say({ kind: 'stdinEnded' });
  runs[0]?.die(new Error('a bug'));
  await turn();
  t.same(closed, [9]);
  serve();
  t.same(messages(runs[1]), [{ kind: 'stdin', fd: -1 }]);
  runs[1]?.leave('ended');
});

t.test('after the third death no other starts, and the container does not wait for it', async (t) => {
  const { worker, runs, seen, state, words } = rig();
  for (let i = 0; i < 3; i++) {
    t.equal(worker.usable, true);
    words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    runs[i]?.die(new Error('a bug'));
    await turn();
    t.equal(state(), ConsumerState.absent);
    worker.serve();
  }
  t.equal(worker.usable, false);
  t.equal(runs.length, 3);
  t.equal(seen.lefts, 3);
});

t.test('at the end a death is the end', async (t) => {
  const { worker, runs, seen, state } = rig();
  worker.end();
  runs[0]?.die(new Error('a bug'));
  await turn();
  t.equal(runs.length, 1);
  t.equal(seen.lefts, 1);
  t.equal(state(), ConsumerState.absent);
});

t.test('while the log thread sends to them a dead thread’s clients are not closed, and no other starts', async (t) => {
  const { worker, runs, closed, seen, memory, words, clientFds } = rig();
  words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
  clientFds[0] = 21;
  const [attach, log] = [new Baton(memory), new Baton(memory)];
  attach.offer([21]);
  log.tryTake();
  runs[0]?.die(new Error('a bug'));
  for (let i = 0; i < 50; i++) await turn();
  await new Promise((resolve) => setTimeout(resolve, 20));
  worker.serve();
  t.same(closed, []);
  t.same([runs.length, seen.lefts], [1, 0]);
  log.layDown();
  for (let i = 0; i < 5000 && seen.lefts === 0; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  t.same(closed, [21]);
  t.equal(log.tryTake(), false);
  worker.serve();
  t.equal(runs.length, 2);
  runs[1]?.leave('ended');
});

t.test(
  'the log thread may be dead too, with the baton: the clients are closed once main has heard of both',
  async (t) => {
    const { runs, closed, seen, memory, clientFds } = rig();
    clientFds[0] = 21;
    const [attach, log, main] = [new Baton(memory), new Baton(memory), new Baton(memory)];
    attach.offer([21]);
    log.tryTake();
    runs[0]?.die(new Error('a bug'));
    await turn();
    t.same(closed, []);
    main.logThreadDied();
    for (let i = 0; i < 5000 && seen.lefts === 0; i++) await new Promise((resolve) => setTimeout(resolve, 1));
    t.same(closed, [21]);
  },
);
