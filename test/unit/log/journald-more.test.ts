/** The journald driver: what it touches, what it leaves alone, and what it gives back. */
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { LINE_MAX_BYTES } from '../../../src/log/journald.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { JournaldRig } from './journald-rig.ts';

const { EAGAIN } = constants.errno;

t.test('it writes into its own memory only: whole lines, parts, held ones, and what it tells of a loss', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('one\ntwo\nhe');
  rig.print('<2>err', STDERR);
  rig.print(`ld\n${'x'.repeat(LINE_MAX_BYTES + 10)}`);
  rig.print('or\n'.repeat(300), STDERR);
  rig.journal.close();
  t.equal(rig.offer('lost\n'), false);
  rig.driver.shed();
  t.equal(rig.offer('lost\n'), true);
  rig.journal.open();
  rig.nowMs = rig.driver.wakeAtMs;
  rig.driver.retry();
  rig.end();
  t.match(rig.lines.join(''), /\[conmon\] dropped/);
  t.same(rig.strays(LINE_MAX_BYTES + 100), []);
});

t.test('tags and labels that leave no room for messages are refused', async (t) => {
  const target = { labels: [`LABEL=${'v'.repeat(1 << 20)}`] };
  t.throws(() => new JournaldRig(t, { target }), /journald: tag and labels are too long/);
});

t.test('a message waits for room on a thread, and not on main', async (t) => {
  for (const [waits, flags] of [
    [true, MSG_NOSIGNAL],
    ['unsaid', MSG_NOSIGNAL],
    [false, MSG_NOSIGNAL | MSG_DONTWAIT],
  ] as const) {
    const asked: number[] = [];
    const limits: number[] = [];
    const rig = new JournaldRig(t, {
      waits,
      calls: {
        sendmmsg: (...args) => {
          asked.push(args[5]);
          return sys.sendmmsg(...args);
        },
        setSendTimeout: (fd, ms) => {
          limits.push(ms);
          return sys.setSendTimeout(fd, ms);
        },
      },
    });
    rig.offer('line\n');
    t.same(rig.lines, ['6|line\n']);
    t.same(asked, [flags]);
    t.same(limits, [20], 'for so long');
  }
});

t.test('after a full socket no more than eight messages are prepared, of a long line too', async (t) => {
  const parts = (count: number): string => 'x'.repeat(count * LINE_MAX_BYTES);
  for (const text of [`${parts(17)}x\n`, `${parts(9)}x\n`, parts(17), 'line\n'.repeat(30)]) {
    const asked: number[] = [];
    const rig = new JournaldRig(t, {
      calls: {
        sendmmsg: (...args) => {
          asked.push(args[4]);
          return [1, -EAGAIN][asked.length - 1] ?? args[4];
        },
      },
    });
    t.equal(rig.offer(text), false);
    rig.driver.retry();
    t.equal(rig.offer(text), true);
    t.equal(asked[2], 8, `${asked}`);
  }
});

t.test('a socket that takes three messages a call gets all of them, in order', async (t) => {
  const rig: JournaldRig = new JournaldRig(t, {
    calls: {
      sendmmsg: (fd, memory, table, partsEach, count, flags) => {
        const sent = sys.sendmmsg(fd, memory, table, partsEach, Math.min(count, 3), flags);
        rig.journal.take();
        return sent;
      },
    },
  });
  const numbers = Array.from({ length: 500 }, (_, i) => `${i}\n`);
  t.equal(rig.offer(numbers.join('')), true);
  t.same(
    rig.lines,
    numbers.map((line) => `6|${line}`),
  );
  t.equal(rig.counters.records, 500);
});

t.test('a line that is not over yet needs no journal', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  t.equal(rig.offer('begin'), true);
  t.equal(rig.driver.stalled, false);
  t.same(rig.complaints.lines, []);
});

t.test('while it is stalled it tries nothing before its time', async (t) => {
  let connects = 0;
  const rig = new JournaldRig(t, {
    calls: {
      connect: (fd, path) => {
        connects++;
        return sys.connect(fd, path);
      },
    },
  });
  rig.journal.close();
  t.equal(rig.offer('begin'), true);
  t.equal(rig.offer('ning\n'), false);
  const { wakeAtMs } = rig.driver;
  rig.journal.open();
  t.equal(rig.offer('ning\n'), false);
  rig.driver.settle(STDOUT, true);
  t.same(rig.lines, [], 'no part of a line before its time either');
  t.match([connects, rig.driver.wakeAtMs], [1, wakeAtMs]);
});

t.test('who is not stalled has nothing to try again', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  rig.driver.retry();
  t.equal(rig.driver.stalled, false);
  t.same(rig.complaints.lines, []);
});

t.test('a socket that has room again is no reason to be patient with it', async (t) => {
  const rig = new JournaldRig(t);
  t.equal(rig.offer('line\n'.repeat(500)), false);
  t.equal(rig.driver.patient, true);
  rig.journal.take();
  rig.driver.retry();
  t.equal(rig.driver.patient, false);
});

t.test('a stream that has not ended keeps its line, one that holds nothing has no end to be written', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('begin');
  rig.driver.settle(STDOUT, false);
  rig.driver.settle(STDERR, true);
  t.same(rig.lines, []);
  rig.driver.shed();
  t.equal(rig.counters.droppedBytes, 0);
  t.equal(rig.driver.holdsPartial(STDOUT, true), true);
});

t.test('who takes over while the journal is gone tries at once, though nothing was lost', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  t.equal(rig.offer('kept\n'), false);
  rig.driver.leave();
  rig.driver = rig.takeOver();
  t.equal(rig.driver.stalled, true);
  rig.journal.open();
  rig.driver.retry();
  rig.print('kept\n');
  t.same(rig.lines, ['6|kept\n']);
});

t.test('who leaves and who closes gives its socket back; only who closes says what was lost in all', async (t) => {
  const fds = (): number => readdirSync('/proc/self/fd').length;
  const rig = new JournaldRig(t);
  const before = fds();
  rig.print('line\n');
  t.equal(fds(), before + 1);
  rig.driver.leave();
  t.equal(fds(), before);
  t.equal(rig.driver.waitFd, -1);

  rig.driver = rig.takeOver();
  rig.print('line\n');
  t.equal(rig.offer('line\n'.repeat(500)), false);
  rig.driver.shed();
  rig.offer('line\n'.repeat(500));
  rig.complaints.lines.length = 0;
  rig.driver.leave();
  t.same(rig.complaints.lines, []);
  rig.driver.close();
  t.equal(fds(), before);
  t.match(rig.complaints.lines, [/log journald: dropped \d+ bytes in \d+ records/]);
});
