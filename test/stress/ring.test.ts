/**
 * The ring between two real threads: tiny capacities, real eventfds, random sizes, every byte checked. A wake-up that
 * is lost shows as a sleep that nobody ended.
 */
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { createMemory } from '../../src/kernel/kernel.ts';
import { sys } from '../../src/native/sys.ts';
import { Doorbell } from '../../src/ring/doorbell.ts';
import { ConsumerState, ConsumerWord, consumerBase, memoryBytes, RING_OFFSET, Word } from '../../src/ring/layout.ts';
import { within } from '../helpers/wait.ts';
import { SEED } from '../unit/native/fake-sys.ts';
import type { RingResult, RingTask } from './ring-task.ts';

const LIMIT_MS = 30_000;
const CANARY = 0x5c;

interface Case {
  readonly capacityBytes: number;
  readonly records: number;
  readonly start: number;
  readonly visitor: boolean;
  readonly seed: number;
}

type Results = Readonly<Record<RingTask['role'], RingResult | undefined>>;

function thread(task: RingTask): { worker: Worker; result: Promise<RingResult> } {
  const worker = new Worker(new URL('./ring-thread.ts', import.meta.url), { workerData: task, execArgv: [] });
  const result = new Promise<RingResult>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error(`the ${task.role} left without a result`)));
  });
  return { worker, result };
}

async function run({ capacityBytes, records, start, visitor, seed }: Case): Promise<Results> {
  const memory = createMemory(
    memoryBytes({ capacityBytes, softBytes: capacityBytes, outputBytes: 64, outputCount: 1 }),
  );
  const words = new Int32Array(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const canaries = [bytes.subarray(8192, RING_OFFSET), bytes.subarray(RING_OFFSET + capacityBytes)];
  for (const canary of canaries) canary.fill(CANARY);
  words[Word.tail] = start;
  words[consumerBase(0) + ConsumerWord.head] = start;
  words[consumerBase(0) + ConsumerWord.state] = ConsumerState.active;
  const fds = [Doorbell.createFd(sys), Doorbell.createFd(sys), Doorbell.createFd(sys)] as const;
  const common = { memory, capacityBytes, records, producerFd: fds[0], consumerFds: [fds[1], fds[2]] };
  const roles = ['producer', 'consumer', ...(visitor ? (['visitor'] as const) : [])] as const;
  const threads = roles.map((role, i) => ({ role, ...thread({ ...common, role, seed: seed + 7 * i }) }));
  try {
    const all = Promise.all(threads.map(async ({ role, result }) => [role, await result] as const));
    const results = Object.fromEntries(await within(`seed ${seed}`, all, LIMIT_MS)) as Results;
    if (canaries.some((canary) => canary.some((byte) => byte !== CANARY))) throw new Error('a canary is gone');
    return results;
  } finally {
    // A thread in poll cannot be terminated: it is woken until it has left.
    for (const { worker } of threads) {
      const left = worker.terminate();
      for (const fd of fds) new Doorbell(sys, fd).ring();
      await left;
    }
    for (const fd of fds) sys.close(fd);
  }
}

let seed = SEED;
for (const capacityBytes of [64, 128, 256, 4096])
  for (const start of [0, 2 ** 30 - 4096]) {
    const task = { capacityBytes, records: 12_000, start, visitor: false, seed: ++seed };
    t.test(`two threads, ${capacityBytes} bytes from position ${start}, seed ${task.seed}`, async (t) => {
      const { producer, consumer } = await run(task);
      t.match(consumer, { records: producer?.records, bytes: producer?.bytes }, 'all of it arrived');
      t.equal(producer?.records, task.records);
      t.ok((producer?.sleeps ?? 0) > 0, `the producer found the ring full: ${producer?.sleeps} sleeps`);
      t.ok((consumer?.sleeps ?? 0) > 0, `the consumer found it empty: ${consumer?.sleeps} sleeps`);
      t.equal((producer?.lost ?? 0) + (consumer?.lost ?? 0), 0, 'no wake-up was lost');
    });
  }

for (const capacityBytes of [64, 256, 4096]) {
  const task = { capacityBytes, records: 12_000, start: 2 ** 30 - 65536, visitor: true, seed: ++seed };
  t.test(`a second consumer comes and goes, ${capacityBytes} bytes, seed ${task.seed}`, async (t) => {
    const { producer, consumer, visitor } = await run(task);
    t.match(consumer, { records: task.records, bytes: producer?.bytes });
    t.ok((visitor?.visits ?? 0) > 0 && (visitor?.records ?? 0) > 0, `visits: ${JSON.stringify(visitor)}`);
    t.equal((producer?.lost ?? 0) + (consumer?.lost ?? 0) + (visitor?.lost ?? 0), 0, 'no wake-up was lost');
  });
}
