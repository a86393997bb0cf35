/**
 * Entry of the attach worker: wires ring, stdin and server together for one task. A Piscina task that ends when nobody
 * has been attached for a while, or when the container has ended and its clients have everything.
 */

import { PacketSender } from '../src/attach/packet-sender.ts';
import { AttachServer } from '../src/attach/server.ts';
import { ContainerStdin } from '../src/attach/stdin.ts';
import { Diag } from '../src/diag/diag.ts';
import { giveMemoryBack } from '../src/native/garbage.ts';
import { checkBuild } from '../src/native/libexec.ts';
import { Rest, resting } from '../src/native/rest.ts';
import { runSteps, type Steps } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type {
  AttachCounters,
  AttachResult,
  AttachTask,
  FromAttachWorker,
  ToAttachWorker,
} from '../src/proto/attach-messages.ts';
import type { Line, PortTask } from '../src/proto/line.ts';
import { Baton } from '../src/ring/baton.ts';
import { RingConsumer } from '../src/ring/consumer.ts';
import { Doorbell, declareAwake, declareSleep } from '../src/ring/doorbell.ts';
import { ATTACH_CONSUMER, CLIENT_FDS_COUNT, CLIENT_FDS_OFFSET } from '../src/ring/layout.ts';
import { portLine } from './port-line.ts';

export default function run({ task, port }: PortTask<AttachTask>): AttachResult {
  checkBuild();
  const sender = new PacketSender(sys);
  let why: AttachResult['why'] | undefined;
  try {
    const result = runSteps(sys, attachSteps(task, portLine(port), sender, giveMemoryBack));
    why = result.why;
    return result;
  } finally {
    if (why !== 'ended') sender.close(); // at the container's end main waits for us
  }
}

/**
 * A task as steps, for a thread that runs several (./shared.ts).
 * @param sender the thread's
 * @param giveBack called when there was nothing to do for a while, to give back what is the thread's; absent = it is not
 */
export function* attachSteps(
  task: AttachTask,
  line: Line<ToAttachWorker, FromAttachWorker>,
  sender: PacketSender,
  giveBack?: () => void,
): Steps<AttachResult> {
  const diag = new Diag(sys, task.diag);
  const words = new Int32Array(task.memory.buffer);
  const counters: AttachCounters = { clients: 0, sentBytes: 0, stdinBytes: 0, droppedStdinBytes: 0, stalledClients: 0 };
  const logDoorbell = new Doorbell(sys, task.logDoorbellFd);
  const source = new RingConsumer(task.memory, task.geometry.capacityBytes, ATTACH_CONSUMER, logDoorbell);
  const server = new AttachServer({
    sys,
    diag,
    bytes: new Uint8Array(task.memory.buffer),
    sender,
    source,
    stdin: new ContainerStdin(sys, counters, () => line.tell({ kind: 'stdinEnded' })),
    baton: new Baton(task.memory),
    counters,
    doorbell: new Doorbell(sys, task.doorbellFd),
    listenFd: task.listenFd,
    closeStdin: task.closeStdin,
    stallTimeoutMs: task.stallTimeoutMs,
    unusedMs: task.unusedMs,
    clientFds: new Int32Array(task.memory.buffer, CLIENT_FDS_OFFSET, CLIENT_FDS_COUNT),
    declareSleep: () => declareSleep(words, source.sleepsWord),
    declareAwake: () => declareAwake(words, source.sleepsWord),
    nextMessage: () => line.next(),
  });
  const steps = server.steps();
  const workedBytes = (): number => counters.sentBytes + counters.stdinBytes;
  try {
    const why = yield* giveBack ? resting(steps, new Rest(() => performance.now()), workedBytes, giveBack) : steps;
    return { why, counters };
  } finally {
    diag.close(); // a thread that dies leaves the process its fds
  }
}
