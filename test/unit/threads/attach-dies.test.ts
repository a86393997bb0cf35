/** The attach loop's own end (workers/attach.ts): what it has opened is given back, however it ends. */
import { closeSync, openSync } from 'node:fs';
import { MessageChannel } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { PacketSender } from '../../../src/attach/packet-sender.ts';
import { Diag } from '../../../src/diag/diag.ts';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { sys } from '../../../src/native/sys.ts';
import type { AttachTask } from '../../../src/proto/attach-messages.ts';
import { memoryBytes } from '../../../src/ring/layout.ts';
import run, { attachSteps } from '../../../workers/attach.ts';

/** How often one of these was closed since. */
function closes(test: Test, { prototype }: typeof Diag | typeof PacketSender): () => number {
  const { close } = prototype;
  let count = 0;
  prototype.close = () => {
    count++;
  };
  test.teardown(() => {
    prototype.close = close;
  });
  return () => count;
}

/** A task whose doorbell is `doorbellFd`, and nobody's client. */
function aTask(test: Test, doorbellFd: number): AttachTask {
  const geometry = { capacityBytes: 1 << 16, softBytes: 1 << 15, outputBytes: 1 << 12, outputCount: 0 };
  const [logDoorbellFd, listenFd] = [sys.eventfd(0, 0), sys.eventfd(0, 0)];
  test.teardown(() => {
    for (const fd of [logDoorbellFd, listenFd]) sys.close(fd);
  });
  return {
    ...{ memory: createMemory(memoryBytes(geometry)), geometry, doorbellFd, logDoorbellFd, listenFd },
    ...{ closeStdin: false, stallTimeoutMs: 0, unusedMs: 1000, diag: { level: 'error', syslogName: 'x' } },
  };
}

t.test('a loop that dies gives back the socket of its diagnostics', (t) => {
  const closed = closes(t, Diag);
  const doorbellFd = sys.eventfd(0, 0);
  const steps = attachSteps(aTask(t, doorbellFd), { next: () => undefined, tell: () => {} }, new PacketSender(sys));
  t.equal(steps.next().done, false);
  t.equal(closed(), 0);
  t.throws(() => steps.throw(new Error('dies')), { message: 'dies' });
  t.equal(closed(), 1);
  sys.close(doorbellFd);
  t.end();
});

t.test('a thread that dies gives back what the kernel keeps for its packets', (t) => {
  const closed = closes(t, PacketSender);
  const { port1, port2 } = new MessageChannel();
  const unreadable = openSync('/', 'r');
  t.throws(() => run({ task: aTask(t, unreadable), port: port1 }));
  t.equal(closed(), 1);
  closeSync(unreadable);
  for (const port of [port1, port2]) port.close();
  t.end();
});
