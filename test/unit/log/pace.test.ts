/** Lines that follow each other quickly are let come together; one that comes alone is read at once. */
import t, { type Test } from 'tap';
import { PAUSE_MS, Pace, ROOMY_BYTES } from '../../../src/log/pace.ts';
import { F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { PumpRig, type PumpRigOptions } from './pump-rig.ts';

const LINE = 'a line\n';
const LINES = 100;
/** Turns before it is known how quickly they come: the first ones have nothing to be compared with. */
const KNOWN = 32;

/** A pace with a clock of its own: `turn(ms)` is a turn that long after the one before. */
function pace() {
  let nowMs = 1e6;
  const each = new Pace(() => nowMs);
  return {
    turn: (ms: number, bytes = 100) => {
      nowMs += ms;
      if (each.turnsLeft <= 1) return each.pauses(bytes);
      each.turnsLeft--;
      return false;
    },
    reset: () => each.reset(),
  };
}

function pausesOf(each: ReturnType<typeof pace>, ms: number, turns: number, bytes = 100): number {
  let pauses = 0;
  for (let i = 0; i < turns; i++) if (each.turn(ms, bytes)) pauses++;
  return pauses;
}

t.test('a line now and then never waits, and 16 that come quickly do not yet', async (t) => {
  t.equal(pausesOf(pace(), 2, 1000), 0);
  t.equal(pausesOf(pace(), 0.11, 1000), 0);
  t.equal(pausesOf(pace(), 0.01, 16), 0);
});

t.test('quick ones wait from then on, until there is nothing to read for a while', async (t) => {
  const each = pace();
  t.equal(pausesOf(each, 0.05, KNOWN), 1);
  t.equal(pausesOf(each, PAUSE_MS * 1.5, 50), 50);
  t.equal(pausesOf(each, PAUSE_MS * 3, 50), 0, 'slow again');
  t.ok(pausesOf(each, 0.05, KNOWN) > 0, 'and quick again');
});

t.test('much at once is read at once', async (t) => {
  const each = pace();
  pausesOf(each, 0.05, KNOWN);
  t.equal(pausesOf(each, PAUSE_MS * 1.5, 50, 1 << 20), 0);
  t.equal(pausesOf(each, PAUSE_MS * 1.5, 50), 50);
});

t.test('after a reset it begins anew', async (t) => {
  const each = pace();
  pausesOf(each, 0.05, KNOWN);
  each.reset();
  t.equal(pausesOf(each, 0.05, KNOWN - 1), 0);
  t.equal(each.turn(0.05), true);
});

/** The pump's first read follows none of the same stream. */
const KNOWN_TO_PUMP = KNOWN + 1;

/** A pump whose clock stands still: whatever comes, comes quickly. */
function quickRig(t: Test, options: PumpRigOptions = {}, pipeBytes = ROOMY_BYTES): PumpRig {
  const rig = new PumpRig(t, { now: () => 0, ...options });
  for (const { readFd } of [rig.out, rig.err]) {
    const size = sys.fcntl(readFd, F_SETPIPE_SZ, pipeBytes);
    if (size !== pipeBytes) throw new Error(`F_SETPIPE_SZ: ${size}`);
  }
  rig.begin();
  return rig;
}

/** The container writes a line whenever everything before it was read. */
function lineByLine(rig: PumpRig): readonly string[] {
  for (let i = 0; i < LINES; i++) rig.steps.push(() => rig.print(LINE));
  return rig.run();
}

t.test('what comes in a pause is read together after it', async (t) => {
  const rig = quickRig(t);
  let more = 40;
  rig.onPause = (fds) => {
    if (more === 40) t.same(fds, [rig.doorbell.fd], 'whatever is in the pipe meanwhile');
    for (let i = 0; i < 3 && more > 0; i++, more--) rig.print(LINE);
  };
  const entries = lineByLine(rig);
  t.equal(rig.text(STDOUT), LINE.repeat(LINES + 40));
  t.ok(entries.includes(`out:${LINE.repeat(4)}`), 'with the one that follows it');
  t.equal(rig.pauses, LINES - KNOWN_TO_PUMP + 1, 'one after each read');
});

t.test('a line that comes after the pause is not held back by it', async (t) => {
  const rig = quickRig(t);
  const entries = lineByLine(rig);
  t.same(entries, new Array(LINES).fill(`out:${LINE}`));
  t.equal(rig.pauses, LINES - KNOWN_TO_PUMP + 1);
  t.equal(rig.sleeps, LINES + 1, 'between two it sleeps as ever');
});

t.test('part of a line is not cut off by a pause in which its rest comes', async (t) => {
  const rig = quickRig(t);
  for (let i = 0; i < KNOWN_TO_PUMP; i++) rig.steps.push(() => rig.print(LINE));
  rig.steps.push(() => rig.print('one '));
  rig.onPause = () => {
    if (rig.text(STDOUT).endsWith('one ')) rig.print('line\n');
  };
  t.same(rig.run().slice(-2), ['out:one ', 'out:line\n'], 'nothing was settled in between');
});

t.test('part of a line that nothing follows is settled after the pause', async (t) => {
  const rig = quickRig(t);
  for (let i = 0; i < KNOWN_TO_PUMP; i++) rig.steps.push(() => rig.print(LINE));
  rig.steps.push(() => rig.print('prompt> '));
  t.same(rig.run().slice(-2), ['out:prompt> ', 'out:settle']);
});

t.test('main is heard in a pause', async (t) => {
  const rig = quickRig(t);
  rig.onPause = () => {
    if (rig.pauses === 5) rig.tell({ kind: 'reopen' });
    if (rig.pauses === 6) rig.end();
  };
  const entries = lineByLine(rig);
  t.equal(entries.indexOf('reopen'), KNOWN_TO_PUMP + 4, 'before the next read');
  t.equal(rig.pauses, 6);
});

t.test('no pause where it could cost something', async (t) => {
  const both = quickRig(t);
  for (let i = 0; i < LINES; i++) both.steps.push(() => both.print(LINE, i % 20 === 0 ? both.err : both.out));
  both.run();
  t.equal(both.pauses, 0, 'two streams: which said it first?');
  const together = quickRig(t);
  for (let i = 0; i < LINES; i++) {
    together.steps.push(() => {
      together.print(LINE, together.err);
      together.print(LINE);
    });
  }
  together.run();
  t.equal(together.pauses, 0, 'two at once');
  t.equal(both.text(STDOUT).length + both.text(STDERR).length, LINES * LINE.length);

  const small = quickRig(t, {}, ROOMY_BYTES / 2);
  lineByLine(small);
  t.equal(small.pauses, 0, 'a pipe that might be full');

  const terminal = quickRig(t, { terminal: true });
  lineByLine(terminal);
  t.equal(terminal.pauses, 0, 'a terminal');

  const attached = quickRig(t, { client: true });
  t.ok(attached.client.active);
  for (let i = 0; i < LINES; i++) {
    attached.steps.push(() => {
      while (attached.client.next()) attached.client.release();
      attached.print(LINE);
    });
  }
  attached.run();
  t.equal(attached.pauses, 0, 'a client');
});
