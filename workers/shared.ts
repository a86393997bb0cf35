/**
 * Entry of a thread that runs the log or attach loops of many sessions: those that have joined one daemon. A Piscina task
 * that never ends; main sends it sessions, it answers with each one's result. A loop that throws takes no other with it.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type Kernel, loadKernel } from '../src/kernel/kernel.ts';
import { collectGarbage } from '../src/native/garbage.ts';
import { checkBuild } from '../src/native/libexec.ts';
import { StepLoop, type Steps } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type { AttachTask } from '../src/proto/attach-messages.ts';
import type { Line } from '../src/proto/line.ts';
import type { LogTask } from '../src/proto/log-messages.ts';
import type { FromSharedWorker, RunLoop, SharedTask, ToSharedWorker } from '../src/proto/shared-messages.ts';
import { Doorbell } from '../src/ring/doorbell.ts';
import { attachSteps } from './attach.ts';
import { logSteps } from './log.ts';

/** Ended loops after which garbage is collected, as in src/host/host.ts. */
const LOOPS_A_COLLECTION = 64;

/** A session's memory, and the kernel that works in it: made once, for all sessions that have it one after the other. */
interface Place {
  readonly memory: WebAssembly.Memory;
  kernel: Kernel | undefined;
}

/** What was said to one loop, and how it is woken. */
interface Told {
  readonly doorbell: Doorbell;
  readonly messages: unknown[];
  /** Main rings for the first message where it rang for the loop itself: at the thread's doorbell. */
  first: boolean;
  begun: boolean;
}

/** What main has said, sorted: a loop that looks for its own messages takes the others' in as well. */
class Inbox {
  /** Loops that are to begin. */
  readonly begins: RunLoop[] = [];
  readonly #port: MessagePort;
  readonly #places = new Map<number, Place>();
  readonly #told = new Map<number, Told>();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Takes what has come. */
  read(): void {
    for (;;) {
      const message = receiveMessageOnPort(this.#port)?.message as ToSharedWorker | undefined;
      if (message === undefined) return;
      if (message.kind === 'tell') this.#deliver(message.id, message.message);
      else if (message.kind === 'forget') this.#places.delete(message.memoryId);
      else {
        const { id, memoryId, memory } = message;
        if (memory !== undefined) this.#places.set(memoryId, { memory, kernel: undefined });
        const doorbell = new Doorbell(sys, message.task.doorbellFd);
        this.#told.set(id, { doorbell, messages: [], first: true, begun: false });
        this.begins.push(message);
      }
    }
  }

  #deliver(id: number, message: unknown): void {
    const told = this.#told.get(id);
    if (told === undefined) return;
    told.messages.push(message);
    // The thread was woken for others between the two: this loop sleeps, and nobody else wakes it.
    if (told.first && told.begun) told.doorbell.ring();
    told.first = false;
  }

  line<ToLoop, FromLoop>(id: number): Line<ToLoop, FromLoop> {
    return {
      next: () => {
        this.read();
        return this.#told.get(id)?.messages.shift() as ToLoop | undefined;
      },
      tell: (message) => this.#answer({ kind: 'said', id, message } as FromSharedWorker),
    };
  }

  end(id: number, result: unknown, error: unknown): void {
    this.#told.delete(id);
    this.#answer({ kind: 'ended', id, result, error: error === undefined ? undefined : String(error) });
  }

  *steps({ id, role, task, memoryId }: RunLoop): Steps<unknown> {
    const told = this.#told.get(id);
    if (told) told.begun = true;
    const place = this.#places.get(memoryId);
    if (place === undefined) throw new Error(`memory ${memoryId} is not known`);
    const { memory } = place;
    if (role === 'attach') return yield* attachSteps({ ...(task as AttachTask), memory }, this.line(id));
    place.kernel ??= loadKernel(memory);
    return yield* logSteps({ ...(task as LogTask), memory }, this.line(id), place.kernel);
  }

  #answer(message: FromSharedWorker): void {
    this.#port.postMessage(message);
  }
}

export default function run({ port, doorbellFd }: SharedTask): never {
  checkBuild();
  const doorbell = new Doorbell(sys, doorbellFd);
  const loop = new StepLoop(sys);
  const inbox = new Inbox(port);
  let ended = 0;
  for (;;) {
    inbox.read();
    for (let begin = inbox.begins.shift(); begin !== undefined; begin = inbox.begins.shift()) {
      const { id } = begin;
      loop.add<unknown>(inbox.steps(begin), (result, error) => {
        ended++;
        inbox.end(id, result, error);
      });
    }
    if (ended >= LOOPS_A_COLLECTION) {
      ended = 0;
      collectGarbage();
    }
    if (loop.turn(doorbellFd)) doorbell.take();
  }
}
