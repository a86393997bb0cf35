/**
 * Entry of a thread that runs the log or attach loops of many sessions: those that have joined one daemon. A Piscina task
 * that never ends; main sends it sessions, it answers with each one's result. A loop that throws takes no other with it.
 */

import { receiveMessageOnPort } from 'node:worker_threads';
import { checkBuild } from '../src/native/libexec.ts';
import { StepLoop } from '../src/native/steps.ts';
import { sys } from '../src/native/sys.ts';
import type { AttachTask } from '../src/proto/attach-messages.ts';
import type { LogTask } from '../src/proto/log-messages.ts';
import type { FromSharedWorker, SharedTask, ToSharedWorker } from '../src/proto/shared-messages.ts';
import { Doorbell } from '../src/ring/doorbell.ts';
import { attachSteps } from './attach.ts';
import { logSteps } from './log.ts';

export default function run({ port, doorbellFd }: SharedTask): never {
  checkBuild();
  const doorbell = new Doorbell(sys, doorbellFd);
  const loop = new StepLoop(sys);
  for (;;) {
    for (;;) {
      const message = receiveMessageOnPort(port)?.message as ToSharedWorker | undefined;
      if (message === undefined) break;
      const { id, role, task } = message;
      const steps = role === 'log' ? logSteps(task as LogTask) : attachSteps(task as AttachTask);
      loop.add<unknown>(steps, (result, error) =>
        port.postMessage({
          id,
          result,
          error: error === undefined ? undefined : String(error),
        } satisfies FromSharedWorker),
      );
    }
    if (loop.turn(doorbellFd)) doorbell.take();
  }
}
