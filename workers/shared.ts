/**
 * Entry of a thread that runs the log or attach loops of many sessions: those that have joined one daemon. A Piscina task
 * that never ends; main sends it sessions, it answers with each one's result. A loop that throws takes no other with it.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { PacketSender } from '../src/attach/packet-sender.ts';
import { type Kernel, loadKernel } from '../src/kernel/kernel.ts';
import { collectGarbage } from '../src/native/garbage.ts';
import { checkBuild } from '../src/native/libexec.ts';
import { StepLoop, type Steps } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type { AttachTask } from '../src/proto/attach-messages.ts';
import type { Line } from '../src/proto/line.ts';
import type { LogTask } from '../src/proto/log-messages.ts';
import type { FromSharedWorker, RunLoop, SharedTask, ToLoop, ToSharedWorker } from '../src/proto/shared-messages.ts';
import { Doorbell } from '../src/ring/doorbell.ts';
import { attachSteps } from './attach.ts';
import { logSteps } from './log.ts';

/** Ended loops after which garbage is collected, as in src/host/host.ts. */
const LOOPS_A_COLLECTION = 256;

/** A session's memory, and the kernel that works in it: made once, for all sessions that have it one after the other. */
interface Place {
  readonly memory: WebAssembly.Memory;
  kernel: Kernel | undefined;
}

/** What main has said, sorted: a loop that looks for its own messages takes the others' in as well. */
class Inbox {
  /** Loops that are to begin. */
  readonly begins: RunLoop[] = [];
  readonly #port: MessagePort;
  readonly #places = new Map<number, Place>();
  readonly #told = new Map<number, ToLoop[]>();
  /** The thread stays as long as the process. */
  readonly #sender = new PacketSender(sys);

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Takes what has come. */
  read(): void {
    for (;;) {
      const message = receiveMessageOnPort(this.#port)?.message as ToSharedWorker | undefined;
      if (message === undefined) return;
      if (message.kind === 'tell') this.#told.get(message.id)?.push(...message.messages);
      else if (message.kind === 'forget') this.#places.delete(message.memoryId);
      else {
        const { id, memoryId, memory, messages } = message;
        if (memory !== undefined) this.#places.set(memoryId, { memory, kernel: undefined });
        this.#told.set(id, [...messages]);
        this.begins.push(message);
      }
    }
  }

  line<To, From>(id: number): Line<To, From> {
    return {
      next: () => {
        this.read();
        return this.#told.get(id)?.shift() as To | undefined;
      },
      tell: (message) => this.#answer({ kind: 'said', id, message } as FromSharedWorker),
    };
  }

  end(id: number, result: unknown, error: unknown): void {
    this.#told.delete(id);
    this.#answer({ kind: 'ended', id, result, error: error === undefined ? undefined : String(error) });
  }

  *steps({ id, role, task, memoryId }: RunLoop): Steps<unknown> {
    const place = this.#places.get(memoryId);
    if (place === undefined) throw new Error(`memory ${memoryId} is not known`);
    const { memory } = place;
    if (role === 'attach') return yield* attachSteps({ ...(task as AttachTask), memory }, this.line(id), this.#sender);
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
