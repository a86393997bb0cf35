/** Line after line: the pump reads each at once, and misses nothing of what else comes with it. */
import t from 'tap';
import { ROOMY_BYTES } from '../../../src/log/pace.ts';
import { EIO, F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { Rest } from '../../../src/native/rest.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import {
  ATTACH_CONSUMER,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  HEADER_BYTES,
  RING_OFFSET,
} from '../../../src/ring/layout.ts';
import { REWIND_BYTES } from '../../../src/ring/producer.ts';
import { PumpRig } from './pump-rig.ts';

/** The rig's ring. */
const CAPACITY_BYTES = 1 << 18;

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

for (const rings of [true, false])
  t.test(
    `who begins to read amid lines has all that come after, ${rings ? 'at once' : 'also when nobody is rung'}`,
    async (t) => {
      const rig = new PumpRig(t);
      rig.begin();
      const heard: string[] = [];
      const hear = () => {
        if (rig.client.active)
          for (; rig.client.next(); rig.client.release()) heard.push(rig.textOf(rig.client.offset, rig.client.length));
      };
      const line = (text: string) => () => {
        hear();
        rig.print(text);
      };
      const beginToRead = () => {
        rig.print('4\n');
        if (rings) rig.client.request();
        else rig.words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.requested;
      };
      rig.steps.push(line('1\n'), line('2\n'), line('3\n'), beginToRead);
      for (let i = 5; i < 9; i++) rig.steps.push(line(`${i}\n`));
      rig.run();
      hear();
      t.equal(heard.join(''), `${rings ? '4\n' : ''}5\n6\n7\n8\n`);
      t.equal(rig.text(STDOUT), '1\n2\n3\n4\n5\n6\n7\n8\n');
    },
  );

t.test('one line at a time uses a page or four of the ring, and no more', async (t) => {
  let most = 0;
  const rig = new PumpRig(t, {
    calls: {
      read: (fd, bytes, offset, length) => {
        most = Math.max(most, offset);
        return sys.read(fd, bytes, offset, length);
      },
    },
  });
  rig.begin();
  let furthest = 0;
  let unclaimed = 0;
  for (let i = 0; i < 1000; i++)
    rig.steps.push(() => {
      furthest = Math.max(furthest, rig.producer.tail % CAPACITY_BYTES);
      if (i > 0 && rig.producer.claimedBytes === 0) unclaimed++;
      rig.print(`${String(i).padStart(90, ' ')}\n`);
    });
  rig.run();
  t.equal(rig.text(STDOUT).length, 91_000);
  t.equal(unclaimed, 0, 'there is room for a line before it comes');
  t.ok(furthest < REWIND_BYTES, `${furthest}: it has gone back before a line comes, not when it is there`);
  t.ok(most < RING_OFFSET + REWIND_BYTES + HEADER_BYTES, `read to ${most}`);
});

t.test('clients are sent each line, and nothing is left to come together for them', async (t) => {
  let nowMs = 0;
  let sent = 0;
  const rig: PumpRig = new PumpRig(t, {
    now: () => (nowMs += 0.01),
    clients: {
      send: () => {
        sent++;
        for (; rig.client.next(); rig.client.release());
        return true;
      },
    },
  });
  t.equal(sys.fcntl(rig.out.writeFd, F_SETPIPE_SZ, ROOMY_BYTES), ROOMY_BYTES);
  rig.begin();
  for (let i = 0; i < 100; i++) rig.steps.push(() => rig.print(`line ${i}\n`));
  let alone = 0;
  rig.steps.push(() => {
    alone = rig.pauses;
    rig.words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.requested; // and rings nobody
    rig.print('he comes\n');
  });
  for (let i = 0; i < 100; i++)
    rig.steps.push(() => {
      if (i === 0) t.ok(rig.client.active);
      rig.print(`heard ${i}\n`);
    });
  let heard = 0;
  rig.steps.push(() => {
    heard = rig.pauses - alone;
    rig.client.leave();
    rig.print('he goes\n');
  });
  for (let i = 0; i < 100; i++) rig.steps.push(() => rig.print(`alone ${i}\n`));
  rig.run();
  t.ok(alone > 50, `${alone} pauses before`);
  t.ok(heard <= 1, `${heard} while he is there`);
  t.ok(rig.pauses - alone - heard > 50, `${rig.pauses - alone - heard} after`);
  t.ok(sent >= 100, `sent ${sent} times`);
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
