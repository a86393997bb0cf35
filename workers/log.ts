/**
 * Entry of the log worker: wires ring, kernel, drivers and pump together for one task. A Piscina task that ends when
 * the container has ended; its promise is the thread's lifetime, its result the counters.
 */

import { DirectSender } from '../src/attach/direct-sender.ts';
import { Diag } from '../src/diag/diag.ts';
import { type Kernel, loadKernel } from '../src/kernel/kernel.ts';
import { createDriver } from '../src/log/drivers.ts';
import type { SyncFile } from '../src/log/file-sink.ts';
import { Pump, UNSTALLED_BYTES } from '../src/log/pump.ts';
import { nowMs } from '../src/native/clock.ts';
import { giveMemoryBack } from '../src/native/garbage.ts';
import { buildId, checkBuild } from '../src/native/libexec.ts';
import { forgetPages, Rest } from '../src/native/rest.ts';
import { bytesOf } from '../src/native/shared-bytes.ts';
import { runSteps, type Steps } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type { Line, PortTask } from '../src/proto/line.ts';
import type { FromLogWorker, LogResult, LogTask, ToLogWorker } from '../src/proto/log-messages.ts';
import { Baton } from '../src/ring/baton.ts';
import { RingConsumer } from '../src/ring/consumer.ts';
import { Doorbell, declareAwake, declareSleep } from '../src/ring/doorbell.ts';
import { ATTACH_CONSUMER, CONSUMER_COUNT, LOG_CONSUMER, RING_OFFSET, Word } from '../src/ring/layout.ts';
import { RingProducer } from '../src/ring/producer.ts';
import { portLine } from './port-line.ts';

/** What this code was built from, for who runs it on a thread that it does not have to itself. */
export const build: string = buildId;

/** What differs where a loop does not have a thread to itself. */
export interface LogWays {
  /** Called when nothing has come for a while, to give back what is the thread's; absent = nothing is given back. */
  readonly giveBack?: () => void;
  /** How a log file is made durable at the end; absent = by waiting for it. */
  readonly syncFile?: SyncFile;
  /** Stays the caller's; absent = one of the loop's own. */
  readonly diag?: Diag;
  /** Whether a message to the journal may wait a moment for room; absent = it may. */
  readonly waits?: boolean;
}

/** Who wakes the loop does so by itself. */
const NO_DOORBELL = { fd: -1, take: () => false };

export default function run({ task, port }: PortTask<LogTask>): LogResult {
  checkBuild();
  return runSteps(sys, logSteps(task, portLine(port), loadKernel(task.memory), { giveBack: giveMemoryBack }));
}

/** A task as steps, for a thread that runs several (./shared.ts), and for main. `kernel` works in the task's memory. */
export function* logSteps(
  task: LogTask,
  line: Line<ToLogWorker, FromLogWorker>,
  kernel: Kernel,
  { giveBack, syncFile, waits, diag: given }: LogWays = {},
): Steps<LogResult> {
  const { memory, geometry, counters } = task;
  const diag = given ?? new Diag(sys, task.diag);
  const words = new Int32Array(memory.buffer);
  const doorbell = task.doorbellFd === -1 ? NO_DOORBELL : new Doorbell(sys, task.doorbellFd);
  const doorbells = new Array<Doorbell | undefined>(CONSUMER_COUNT);
  if (task.attachDoorbellFd !== -1) doorbells[ATTACH_CONSUMER] = new Doorbell(sys, task.attachDoorbellFd);
  const { limits, rotation } = task;
  const parts = { sys, diag, memory, geometry, kernel, counters, limits, rotation, syncFile, waits };
  const drivers = task.targets.map((target, index) => createDriver(parts, target, index));
  const bytes = bytesOf(memory);
  const baton = new Baton(memory);
  const producer = new RingProducer(memory, geometry, doorbells, baton);
  const pump = new Pump({
    sys,
    diag,
    bytes,
    producer,
    cursor: new RingConsumer(memory, geometry.capacityBytes, LOG_CONSUMER, undefined),
    drivers,
    clients: new DirectSender({
      sys,
      bytes,
      baton,
      source: new RingConsumer(memory, geometry.capacityBytes, ATTACH_CONSUMER, undefined),
    }),
    keepBytes: geometry.softBytes - UNSTALLED_BYTES,
    counters,
    doorbell,
    declareSleep: () => declareSleep(words, Word.producerSleeps),
    declareAwake: () => declareAwake(words, Word.producerSleeps),
    onReopened: () => line.tell({ kind: 'reopened' }),
    nextMessage: () => line.next(),
    ...(giveBack && {
      rest: new Rest(nowMs),
      onRest: () => {
        if (producer.idle) forgetPages(sys, bytes, RING_OFFSET, RING_OFFSET + geometry.capacityBytes);
        giveBack();
      },
    }),
  });
  let ended = false;
  sys.keep(bytes);
  try {
    const left = yield* pump.steps();
    ended = !left;
    if (ended) pump.close(task.syncLog);
    return { counters, left };
  } finally {
    sys.forget(bytes);
    if (!ended) pump.leave(); // asked to, or stopped amid a wait
    if (given === undefined) diag.close();
  }
}
