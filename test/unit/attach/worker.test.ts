/** Main's handle of the attach worker: what it tells a worker, and what becomes of one that dies. No real threads. */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import t from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import type { AttachCounters, AttachTask, ToAttachWorker } from '../../../src/proto/attach-messages.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import {
  ATTACH_CONSUMER,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  memoryBytes,
  type RingGeometry,
} from '../../../src/ring/layout.ts';
import { AttachWorker } from '../../../src/threads/attach-worker.ts';
import type { LogWorker } from '../../../src/threads/log-worker.ts';
import type { WorkerPool } from '../../../src/threads/pool.ts';
import { CountingBell } from '../ring/rig.ts';
import { Complaints } from '../session/complaints.ts';

const COUNTERS: AttachCounters = { clients: 1, sentBytes: 2, stdinBytes: 3, droppedStdinBytes: 4, stalledClients: 5 };
const turn = () => new Promise((resolve) => setImmediate(resolve));

interface Run {
  readonly task: AttachTask;
  readonly end: (counters: AttachCounters) => void;
  readonly die: (error: Error) => void;
}

function rig() {
  const geometry: RingGeometry = { capacityBytes: 1024, softBytes: 1024, outputBytes: 64, outputCount: 1 };
  const memory = createMemory(memoryBytes(geometry));
  const words = new Int32Array(memory.buffer);
  const [bell, attachBell] = [new CountingBell(), new CountingBell()];
  const runs: Run[] = [];
  const endings: (AttachCounters | undefined)[] = [];
  const complaints = new Complaints();
  // Of both classes the worker uses only these; their other members are private, which types cannot leave out.
  const pool = {
    run: (_role: string, task: AttachTask) =>
      new Promise<AttachCounters>((resolve, reject) => runs.push({ task, end: resolve, die: reject })),
  } as unknown as WorkerPool;
  const keepForClients = () => new RingConsumer(memory, 1024, ATTACH_CONSUMER, bell.doorbell).request();
  const log = {
    memory,
    geometry,
    doorbell: bell.doorbell,
    attachDoorbell: attachBell.doorbell,
    keepForClients,
  } as unknown as LogWorker;
  const plan = {
    listenFd: 5,
    closeStdin: true,
    stallTimeoutMs: 7,
    diag: { level: 'warn', syslogName: undefined },
  } as const;
  keepForClients(); // as Output does before it makes the worker
  const worker = new AttachWorker(complaints.diag, pool, log, plan, (counters) => endings.push(counters));
  const state = () => words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state];
  return { worker, runs, endings, lines: complaints.lines, state, words };
}

/** What a worker was told so far. */
function messages(port: MessagePort): ToAttachWorker[] {
  const found: ToAttachWorker[] = [];
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port))
    found.push(next.message as ToAttachWorker);
  return found;
}

t.test('a worker gets the plan and the messages, its totals come back once', async (t) => {
  const { worker, runs, endings } = rig();
  worker.stdin(9);
  worker.end();
  t.equal(runs.length, 1);
  const task = runs[0]?.task;
  t.match(task, { listenFd: 5, closeStdin: true, stallTimeoutMs: 7, doorbellFd: 99, logDoorbellFd: 99 });
  t.same(task && messages(task.port), [{ kind: 'stdin', fd: 9 }, { kind: 'end' }]);
  runs[0]?.end(COUNTERS);
  await turn();
  t.same(endings, [COUNTERS]);
  worker.end();
});

t.test('after a death another worker starts, and the ring keeps records from then on', async (t) => {
  const { worker, runs, endings, lines, state, words } = rig();
  words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
  worker.stdin(9);
  runs[0]?.die(new Error('a bug'));
  await turn();
  t.same(lines, ['[conmon:e]: attach worker died (1 of 3): a bug']);
  t.equal(runs.length, 2);
  t.equal(state(), ConsumerState.requested, 'nobody waits for the dead one, the next is asked for');
  const port = runs[1]?.task.port;
  t.same(port && messages(port), [{ kind: 'stdin', fd: -1 }], 'stdin has died with the first');
  runs[1]?.end(COUNTERS);
  await turn();
  t.same(endings, [COUNTERS]);
});

t.test('a worker that dies before there is a stdin leaves it to the next', async (t) => {
  const { worker, runs } = rig();
  runs[0]?.die(new Error('a bug'));
  await turn();
  worker.stdin(9);
  const port = runs[1]?.task.port;
  t.same(port && messages(port), [{ kind: 'stdin', fd: 9 }]);
  runs[1]?.end(COUNTERS);
});

t.test('after the third death no other starts, and the container does not wait for it', async (t) => {
  const { runs, endings, state, words } = rig();
  for (let i = 0; i < 3; i++) {
    t.equal(runs.length, i + 1);
    words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    runs[i]?.die(new Error('a bug'));
    await turn();
  }
  t.equal(runs.length, 3);
  t.same(endings, [undefined]);
  t.equal(state(), ConsumerState.absent);
});

t.test('at the end a death is the end', async (t) => {
  const { worker, runs, endings, state } = rig();
  worker.end();
  runs[0]?.die(new Error('a bug'));
  await turn();
  t.equal(runs.length, 1);
  t.same(endings, [undefined]);
  t.equal(state(), ConsumerState.absent);
});
