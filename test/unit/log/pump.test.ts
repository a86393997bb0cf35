/** The log thread's loop: when it reads, when it settles, when it sleeps, when it ends. */
import { constants } from 'node:os';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { PumpRig } from './pump-rig.ts';

const { EAGAIN, EIO } = constants.errno;

t.test('nothing is read before main says begin', async (t) => {
  const rig = new PumpRig(t);
  rig.print('early\n');
  rig.steps.push(
    () => rig.doorbell.ring(), // a ring without a message
    () => {
      t.equal(sys.fionread(rig.out.readFd), 6, 'still in the pipe');
      t.equal(rig.counters.reads, 0);
      rig.begin();
    },
  );
  t.same(rig.run(), ['out:early\n']);
});

t.test('what comes is passed on, each stream in its order', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('bad\n', rig.err),
    () => {
      rig.print('two\n');
      rig.print('worse\n', rig.err);
    },
  );
  t.same(rig.run(), ['out:one\n', 'err:bad\n', 'out:two\n', 'err:worse\n']);
  t.match(rig.counters, { readBytes: 18, droppedBytes: 0 });
});

t.test('a part of a line is settled as soon as nothing more is there, and not before', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('prompt$ '),
    () => t.same(rig.journal.entries, ['out:prompt$ ', 'out:settle'], 'written before the pump sleeps'),
  );
  rig.steps.push(() => rig.print('ls\n'));
  // The second step printed nothing, so something has to wake the pump.
  const quiet = rig.steps[1];
  rig.steps[1] = () => {
    quiet?.();
    rig.doorbell.ring();
  };
  t.same(rig.run(), ['out:prompt$ ', 'out:settle', 'out:ls\n']);
});

t.test('a part is held while the rest of the line is there already', async (t) => {
  let cut = true;
  const rig = new PumpRig(t, {
    calls: {
      // The first read is short although there is more.
      read: (fd, bytes, offset, length) => {
        const wanted = cut && fd === rig.out.readFd ? Math.min(length, 3) : length;
        cut = false;
        return sys.read(fd, bytes, offset, wanted);
      },
    },
  });
  rig.begin();
  rig.steps.push(() => rig.print('whole line\n'));
  t.same(rig.run(), ['out:who', 'out:le line\n']);
});

t.test('it sleeps without a limit when there is nothing to do', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
  );
  rig.run();
  t.equal(rig.sleeps, 3, 'before each of the two and before the end');
  t.ok(rig.polls <= 6, `${rig.polls} polls`);
});

t.test('a stream that ends is done with, its part settled, its fd left to its owner; the other goes on', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => {
      rig.print('last words');
      sys.close(rig.out.writeFd);
    },
    () => {
      t.equal(sys.fionread(rig.out.readFd), 0, 'who takes over after a crash finds it');
      rig.print('still here\n', rig.err);
    },
  );
  t.same(rig.run(), ['out:last words', 'out:settle', 'err:still here\n']);
});

t.test('both streams may end long before main says so', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => sys.close(rig.out.writeFd),
    () => sys.close(rig.err.writeFd),
    () => rig.doorbell.ring(),
  );
  t.same(rig.run(), []);
  t.ok(rig.polls < 10, `${rig.polls} polls: an ended stream wakes nobody`);
});

t.test('a read that fails ends its stream with a warning', async (t) => {
  const rig = new PumpRig(t, {
    calls: {
      read: (fd, bytes, offset, length) => (fd === rig.out.readFd ? -EIO : sys.read(fd, bytes, offset, length)),
    },
  });
  rig.begin();
  rig.steps.push(
    () => rig.print('lost\n'),
    () => rig.print('fine\n', rig.err),
  );
  t.same(rig.run(), ['err:fine\n']);
  t.same(rig.complaints.lines, ['[conmon:w]: stdio_input read failed: Input/output error (stream 2)']);
});

t.test('a read that finds nothing after all is nothing', async (t) => {
  let spurious = 2;
  const rig = new PumpRig(t, {
    calls: { read: (fd, bytes, offset, length) => (spurious-- > 0 ? -EAGAIN : sys.read(fd, bytes, offset, length)) },
  });
  rig.begin();
  rig.steps.push(() => rig.print('late\n'));
  t.same(rig.run(), ['out:late\n']);
});

t.test('at the end what is in the pipes is read and settled, both streams', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(() => {
    rig.print('out');
    rig.print('err', rig.err);
    rig.end(true);
  });
  rig.run();
  t.equal(rig.text(STDOUT), 'out');
  t.equal(rig.text(STDERR), 'err');
  t.same(rig.journal.entries.filter((entry) => entry.endsWith(':settle')).toSorted(), ['err:settle', 'out:settle']);
});

t.test('begin and end at once still drain', async (t) => {
  const rig = new PumpRig(t);
  rig.print('all there was');
  rig.begin();
  rig.end(true);
  t.same(rig.run(), ['out:all there was', 'out:settle']);
});

t.test('without a drain nothing more is read, but what is held is settled', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(() => rig.end(false));
  rig.print('unread');
  rig.tell({ kind: 'end', drain: false });
  t.same(rig.run(), []);
});

t.test('an end before any begin reads nothing, drain or not', async (t) => {
  for (const drain of [true, false]) {
    const rig = new PumpRig(t);
    rig.print('never mind');
    rig.end(drain);
    t.same(rig.run(), []);
    t.equal(rig.polls, 0);
  }
});

t.test('somebody who keeps writing does not delay the end', async (t) => {
  const rig = new PumpRig(t, {
    calls: {
      read: (fd, bytes, offset, length) => {
        const result = sys.read(fd, bytes, offset, length);
        rig.print('more\n'.repeat(100)); // a grandchild that still has the pipe
        return result;
      },
    },
  });
  rig.begin();
  rig.print('x'.repeat(30_000));
  rig.end(true);
  rig.run();
  t.equal(rig.text(STDOUT), 'x'.repeat(30_000), 'what was there at the end, and no more');
});

t.test('the sources are left to their owner at the end, and consumers are told', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.run();
  for (const { readFd } of [rig.out, rig.err]) t.equal(sys.fionread(readFd), 0);
  t.equal(rig.client.ended, true);
});

t.test('reopen is passed on at once, between two batches', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.tell({ kind: 'reopen' }),
    () => rig.print('two\n'),
  );
  t.same(rig.run(), ['out:one\n', 'reopen', 'out:two\n']);
});

t.test('a poll that fails is a bug and says so', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(() => {
    throw new Error('from poll');
  });
  t.throws(() => rig.run(), { message: 'from poll' });
});
