/** Line after line: the pump reads each at once, and misses nothing of what else comes with it. */
import t from 'tap';
import { ROOMY_BYTES } from '../../../src/log/pace.ts';
import { EIO, F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { Rest } from '../../../src/native/rest.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import { PumpRig } from './pump-rig.ts';

t.test('a line after a line takes one poll and one read', async (t) => {
  const rig = new PumpRig(t, { now: clock() });
  rig.begin();
  for (let i = 0; i < 100; i++) rig.steps.push(() => rig.print(`line ${i}\n`));
  t.same(
    rig.run(),
    Array.from({ length: 100 }, (_, i) => `out:line ${i}\n`),
  );
  t.equal(rig.counters.reads, 100);
  t.equal(rig.polls, 101, 'and one for the end');
});

t.test('what main says with a line is heard before it', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  const both = () => {
    rig.print('line\n');
    rig.tell({ kind: 'reopen' });
  };
  rig.steps.push(
    () => rig.print('first\n'),
    () => rig.print('second\n'),
    both,
  );
  t.same(rig.run(), ['out:first\n', 'out:second\n', 'reopen', 'out:line\n']);
});

t.test('lines of both streams that come together are both read in that turn', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  const both = () => {
    rig.print('out\n');
    rig.print('err\n', rig.err);
  };
  rig.steps.push(
    () => rig.print('first\n'),
    both,
    () => rig.print('second\n'),
    both,
  );
  t.same(rig.run(), ['out:first\n', 'out:out\n', 'err:err\n', 'out:second\n', 'out:out\n', 'err:err\n']);
  t.equal(rig.sleeps, 5, 'none of them waits for another turn');
});

t.test('half a line after a line is settled', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
    () => rig.print('half'),
  );
  let beforeSleep: readonly string[] = [];
  rig.steps.push(() => {
    beforeSleep = [...rig.journal.entries];
    rig.end();
  });
  t.same(rig.run(), ['out:one\n', 'out:two\n', 'out:half', 'out:settle']);
  t.same(beforeSleep, rig.journal.entries, 'before the pump sleeps again');
});

t.test('lines one by one that come quickly are left to come together, as those of a loop', async (t) => {
  let nowMs = 0;
  const rig = new PumpRig(t, { now: () => (nowMs += 0.01) });
  t.equal(sys.fcntl(rig.out.writeFd, F_SETPIPE_SZ, ROOMY_BYTES), ROOMY_BYTES);
  rig.begin();
  for (let i = 0; i < 200; i++) rig.steps.push(() => rig.print(`line ${i}\n`));
  rig.run();
  t.equal(rig.text(STDOUT).split('\n').length - 1, 200);
  t.ok(rig.pauses > 100, `${rig.pauses} pauses`);
});

t.test('a stream that ends after a line is not asked again', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
    () => void sys.close(rig.out.writeFd),
    () => rig.print('bad\n', rig.err),
  );
  t.same(rig.run(), ['out:one\n', 'out:two\n', 'err:bad\n']);
  t.equal(rig.counters.reads, 4);
  rig.out.writeFd = -1; // closed by now
});

t.test('a terminal that everybody closes after a line is left alone for a while', async (t) => {
  let closed = 0;
  const rig = new PumpRig(t, {
    terminal: true,
    calls: {
      read: (fd, bytes, offset, length) => {
        if (closed === 0) return sys.read(fd, bytes, offset, length);
        if (++closed === 5) rig.end(false);
        return EIO;
      },
    },
  });
  rig.begin();
  const close = () => {
    closed = 1;
    rig.print('x'); // what makes it readable, as a terminal's end does
  };
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
    close,
  );
  const beganMs = performance.now();
  rig.run();
  t.ok(performance.now() - beganMs >= 100, `closed for ${performance.now() - beganMs} ms`);
});

t.test('what goes wrong with a line goes wrong in the loop', async (t) => {
  let broken = false;
  const rig = new PumpRig(t, {
    calls: {
      read: (fd, bytes, offset, length) => {
        if (broken) {
          broken = false; // once: nobody else comes upon it
          throw new Error('no such thing');
        }
        return sys.read(fd, bytes, offset, length);
      },
    },
  });
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
    () => {
      broken = true;
      rig.print('three\n');
    },
  );
  t.throws(() => rig.run(), /no such thing/);
});

t.test('amid lines that never pause the pump rests when it has been long enough', async (t) => {
  let nowMs = 0;
  const restedMs: number[] = [];
  const rig = new PumpRig(t, {
    rest: new Rest(() => nowMs),
    onRest: () => restedMs.push(nowMs),
    calls: {
      // The next line is there before the next poll.
      read: (fd, bytes, offset, length) => {
        const result = sys.read(fd, bytes, offset, length);
        if (fd !== rig.out.readFd || result <= 0) return result;
        nowMs += 900;
        if (nowMs < 40_000) rig.print('line\n');
        else rig.end();
        return result;
      },
    },
  });
  rig.begin();
  rig.print('line\n');
  rig.run();
  t.equal(restedMs.length, 1);
  t.ok((restedMs[0] ?? 0) >= 30_000 && (restedMs[0] ?? 0) < 33_000, `at ${restedMs}`);
});

/** A clock that goes on fast: lines never come so quickly that the pump pauses. */
function clock(): () => number {
  let nowMs = 0;
  return () => (nowMs += 10);
}
