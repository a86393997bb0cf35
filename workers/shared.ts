/**
 * Entry of a thread that runs the log or attach loops of many sessions: those that have joined one daemon. A Piscina task
 * that never ends; main sends it sessions, it answers with each one's result. A loop that throws takes no other with it.
 */

import { receiveMessageOnPort } from 'node:worker_threads';
import { collectGarbage } from '../src/native/garbage.ts';
import { checkBuild } from '../src/native/libexec.ts';
import { StepLoop } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type { AttachTask } from '../src/proto/attach-messages.ts';
import type { LogTask } from '../src/proto/log-messages.ts';
import type { FromSharedWorker, SharedTask, ToSharedWorker } from '../src/proto/shared-messages.ts';
import { Doorbell } from '../src/ring/doorbell.ts';
import { attachSteps } from './attach.ts';
import { logSteps } from './log.ts';

/** Ended loops after which garbage is collected, as in src/host/host.ts: each had a memory and an instance of the kernel. */
const LOOPS_A_COLLECTION = 64;

export default function run({ port, doorbellFd }: SharedTask): never {
  checkBuild();
  const doorbell = new Doorbell(sys, doorbellFd);
  const loop = new StepLoop(sys);
  let ended = 0;
  for (;;) {
    for (;;) {
      const message = receiveMessageOnPort(port)?.message as ToSharedWorker | undefined;
      if (message === undefined) break;
      const { id, role, task } = message;
      const steps = role === 'log' ? logSteps(task as LogTask) : attachSteps(task as AttachTask);
      loop.add<unknown>(steps, (result, error) => {
        ended++;
        const text = error === undefined ? undefined : String(error);
        port.postMessage({ id, result, error: text } satisfies FromSharedWorker);
      });
    }
    if (ended >= LOOPS_A_COLLECTION) {
      ended = 0;
      collectGarbage();
    }
    if (loop.turn(doorbellFd)) doorbell.take();
  }
}
