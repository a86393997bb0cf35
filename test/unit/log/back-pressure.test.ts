/** The log thread when a client holds the ring: it stops reading, sleeps, and goes on when something is released. */
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import { Word } from '../../../src/ring/layout.ts';
import { PumpRig } from './pump-rig.ts';

/** Small enough for two of the pump's least reads, and what it holds for the end. */
const SMALL = { capacityBytes: 1 << 16, softBytes: 1 << 14 };
const LINE = `${'y'.repeat(99)}\n`;

/** Reads everything that is in the ring for the client. */
function readAll(rig: PumpRig): number {
  let bytes = 0;
  while (rig.client.next()) {
    bytes += rig.client.length;
    rig.client.release();
  }
  return bytes;
}

t.test('a full ring stops the reading, and a release starts it again', async (t) => {
  const rig = new PumpRig(t, { geometry: SMALL, client: true });
  t.ok(rig.client.active);
  const text = LINE.repeat(500);
  let read = 0;
  let full = 0;
  rig.begin();
  rig.steps.push(() => rig.print(text));
  for (let i = 0; i < 12; i++)
    rig.steps.push(() => {
      if (sys.fionread(rig.out.readFd) > 0) {
        full++;
        t.equal(Atomics.load(rig.words, Word.producerSleeps), 1, 'it has said that it sleeps');
      }
      read += readAll(rig);
      rig.doorbell.ring();
    });
  rig.run();
  read += readAll(rig);
  t.equal(read, text.length, 'the client has everything');
  t.equal(rig.text(STDOUT), text, 'and so has the log');
  t.ok(full >= 2, `the ring was full ${full} times`);
});

t.test('a client that leaves frees the ring', async (t) => {
  const rig = new PumpRig(t, { geometry: SMALL, client: true });
  t.ok(rig.client.active);
  const text = LINE.repeat(500);
  rig.begin();
  rig.steps.push(
    () => rig.print(text),
    () => rig.client.leave(),
  );
  rig.run();
  t.equal(rig.text(STDOUT), text);
});

t.test('a client that never reads does not hold up the end, and the log has everything', async (t) => {
  const rig = new PumpRig(t, { geometry: SMALL, client: true });
  t.ok(rig.client.active);
  const text = LINE.repeat(400); // more than the soft limit, less than the ring
  rig.begin();
  rig.steps.push(
    () => rig.print(text),
    () => rig.end(true),
  );
  rig.run();
  t.equal(rig.text(STDOUT), text);
  t.equal(readAll(rig), text.length, 'also for the client, should it read after all');
  t.ok(rig.client.finished);
});

t.test('what no longer fits at the end is left with a warning that says how much', async (t) => {
  const rig = new PumpRig(t, { geometry: { capacityBytes: 1 << 14, softBytes: 1 << 13 }, client: true });
  t.ok(rig.client.active);
  rig.begin();
  rig.steps.push(
    () => rig.print(LINE.repeat(400)),
    () => rig.end(true),
  );
  rig.run();
  const left = 40_000 - rig.text(STDOUT).length;
  t.ok(left > 0);
  t.same(rig.complaints.lines, [`[conmon:w]: ${left} bytes were left unread: attached clients hold the ring`]);
});

t.test('a client that asks while the pump sleeps is let in by its ring', async (t) => {
  const rig = new PumpRig(t, { geometry: SMALL });
  rig.begin();
  rig.steps.push(
    () => rig.print('before\n'),
    () => rig.client.request(),
    () => {
      t.equal(rig.client.active, true);
      rig.print('after\n');
    },
    () => {
      t.ok(rig.client.next());
      t.equal(rig.client.length, 6);
      rig.client.release();
      rig.doorbell.ring();
    },
  );
  t.same(rig.run(), ['out:before\n', 'out:after\n']);
});

t.test('a line is not cut because the ring was full in the middle of it', async (t) => {
  const rig = new PumpRig(t, { geometry: SMALL, client: true });
  t.ok(rig.client.active);
  rig.begin();
  rig.steps.push(() => rig.print(`${'z'.repeat(40_000)}\n`));
  for (let i = 0; i < 12; i++)
    rig.steps.push(() => {
      readAll(rig);
      rig.doorbell.ring();
    });
  rig.run();
  t.equal(rig.text(STDOUT).length, 40_001);
  t.same(
    rig.journal.entries.filter((entry) => entry.endsWith(':settle')),
    [],
    'the rest of the line was in the pipe all the time',
  );
});
