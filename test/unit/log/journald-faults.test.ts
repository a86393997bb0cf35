/** The journald driver when the journal is slow, full, gone, or comes back. */
import t from 'tap';
import { LINE_MAX_BYTES, PATIENCE_MS } from '../../../src/log/journald.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { JournaldRig } from './journald-rig.ts';

/** Numbered lines, so that one that is lost or doubled is seen. */
function numbered(from: number, count: number): string {
  return Array.from({ length: count }, (_, i) => `${from + i}\n`).join('');
}

/** The numbers that arrived. */
function numbers(rig: JournaldRig): number[] {
  return rig.lines.filter((line) => /^6\|\d+\n$/.test(line)).map((line) => Number(line.slice(2)));
}

t.test('a full socket stalls it, nothing is lost, and it goes on where it stopped', async (t) => {
  const rig = new JournaldRig(t);
  const text = numbered(0, 1000);
  let stalls = 0;
  while (!rig.offer(text)) {
    stalls++;
    t.equal(rig.driver.stalled, true);
    t.ok(rig.driver.waitFd >= 0, 'it says what to wait for');
    t.equal(rig.driver.patient, true);
    t.equal(rig.driver.wakeAtMs, rig.nowMs + PATIENCE_MS);
    rig.nowMs += 100;
    rig.journal.take();
    rig.driver.retry();
  }
  t.ok(stalls > 10, `${stalls} stalls`);
  t.same(numbers(rig), [...new Array(1000).keys()]);
  t.equal(rig.driver.stalled, false);
  t.equal(rig.driver.wakeAtMs, Number.POSITIVE_INFINITY);
  t.equal(rig.driver.waitFd, -1, 'a socket with room is no reason to wake up');
  t.equal(rig.driver.calm, false, 'it is asked for each of these');
  t.equal(rig.takenBytes, 0);
  t.match(rig.counters, { droppedRecords: 0, records: 1000 });
  t.same(rig.complaints.lines, [], 'a journal that is slow is nothing to complain about');
});

t.test('a journal that takes nothing is waited for, but not for ever', async (t) => {
  const rig = new JournaldRig(t);
  const text = numbered(0, 1000);
  t.equal(rig.offer(text), false);
  rig.nowMs += PATIENCE_MS - 1;
  rig.driver.retry();
  t.equal(rig.offer(text), false);
  t.equal(rig.driver.patient, true);
  rig.nowMs += 1;
  t.equal(rig.driver.patient, false);
  t.equal(rig.driver.wakeAtMs, Number.POSITIVE_INFINITY, 'only the socket can tell that it goes on');
  rig.driver.retry();
  t.equal(rig.offer(text), false);
  t.equal(rig.driver.patient, false, 'trying once more is no reason to wait again');
  const sent = rig.counters.records;
  rig.driver.shed();
  t.equal(rig.offer(text), true);
  t.equal(rig.offer(numbered(1000, 10)), false, 'the next one is for the ring to keep');
  t.match(rig.counters, { droppedRecords: 1000 - sent, droppedBytes: numbered(sent, 1000 - sent).length });
  rig.journal.take();
  rig.driver.retry();
  rig.print(numbered(1000, 10));
  t.same(numbers(rig), [
    ...[...new Array(1000).keys()].slice(0, sent),
    ...[...new Array(10).keys()].map((i) => 1000 + i),
  ]);
  const told = rig.lines.filter((line) => line.includes('[conmon]'));
  const bytes = rig.counters.droppedBytes;
  t.match(told, [/^3\|\[conmon\] dropped \d+ bytes in \d+ records from .*: Resource temporarily unavailable\n$/]);
  t.match(told[0], `dropped ${bytes} bytes in ${1000 - sent} records`);
  t.equal(rig.lines.indexOf(told[0] ?? ''), sent, 'in the place of what is missing');
});

t.test('a journal that is gone is a failure at once, and is tried again later and later', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  t.equal(rig.offer('a\n'), false);
  t.equal(rig.driver.waitFd, -1);
  t.equal(rig.driver.patient, false);
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    waits.push(rig.driver.wakeAtMs - rig.nowMs);
    rig.nowMs = rig.driver.wakeAtMs;
    rig.driver.retry();
  }
  t.same(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  t.match(rig.complaints.lines, [/failed to write to log journald: No such file or directory/]);
  t.equal(rig.complaints.lines.length, 1, 'told once');
  rig.journal.open();
  rig.nowMs = rig.driver.wakeAtMs;
  rig.driver.retry();
  t.equal(rig.driver.stalled, false);
  rig.print('a\n');
  t.same(rig.lines, ['6|a\n'], 'nothing was lost, so there is nothing to tell');
  t.equal(rig.loss.failing, false);
});

t.test('a journal that was started anew is found', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('one\n');
  rig.journal.close();
  rig.journal.open();
  rig.print('two\n<4>three\n');
  t.same(rig.lines, ['6|one\n', '6|two\n', '4|three\n']);
});

t.test('what is dropped is counted in lines, and what is not over yet is kept', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('begin');
  rig.journal.close();
  t.equal(rig.offer('ning\nlost\nke'), false);
  rig.driver.shed();
  t.equal(rig.offer('ning\nlost\nke'), true);
  t.match(rig.counters, { droppedRecords: 2, droppedBytes: 'beginning\nlost\n'.length });
  rig.journal.open();
  rig.nowMs = rig.driver.wakeAtMs;
  rig.driver.retry();
  rig.print('pt\n');
  t.match(rig.lines, [
    /^3\|\[conmon\] dropped 15 bytes in 2 records from .*: (Connection refused|No such file)/,
    '6|kept\n',
  ]);
});

t.test('a line that is too long to be kept is dropped in parts', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  const text = 'x'.repeat(LINE_MAX_BYTES + 1);
  t.equal(rig.offer(text), false);
  rig.driver.shed();
  t.equal(rig.offer(text), true);
  t.match(rig.counters, { droppedRecords: 1, droppedBytes: text.length });
  rig.journal.open();
  rig.nowMs = rig.driver.wakeAtMs;
  rig.driver.retry();
  rig.print('<3>end\n');
  t.equal(rig.lines.at(-1), '6|<3>end\n', 'no line begins there');
});

t.test('a held line that cannot be sent at the end is counted', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('first\nlast');
  rig.print('err', STDERR);
  rig.journal.close();
  rig.end();
  rig.driver.shed();
  t.match(rig.counters, { droppedRecords: 2, droppedBytes: 7 });
  rig.driver.shed();
  t.match(rig.counters, { droppedRecords: 2 }, 'once');
  t.equal(rig.driver.holdsPartial(STDOUT, true), false);
});

t.test('a driver that takes over goes on amid a batch, and with a held line', async (t) => {
  const rig = new JournaldRig(t);
  rig.print('<2>be', STDERR);
  const text = numbered(0, 500);
  t.equal(rig.offer(text), false);
  const before = rig.driver;
  rig.driver = rig.takeOver();
  before.close();
  rig.print(text);
  rig.print('gun\n', STDERR);
  t.same(numbers(rig), [...new Array(500).keys()]);
  t.equal(rig.lines.at(-1), '2|begun\n');
});

t.test('a driver that takes over a failure tries at once and tells what was lost', async (t) => {
  const rig = new JournaldRig(t);
  rig.journal.close();
  rig.offer('lost\n');
  rig.driver.shed();
  rig.offer('lost\n');
  rig.journal.open();
  rig.driver.close();
  rig.driver = rig.takeOver();
  t.equal(rig.driver.stalled, true);
  t.equal(rig.driver.patient, false, 'nobody is slow yet');
  t.ok(rig.driver.wakeAtMs <= rig.nowMs);
  rig.driver.retry();
  rig.print('next\n');
  t.match(rig.lines, [/dropped 5 bytes in 1 records/, '6|next\n']);
});

t.test('the message about a loss that finds the socket full is sent later, once', async (t) => {
  const rig = new JournaldRig(t);
  const text = numbered(0, 100);
  t.equal(rig.offer(text), false);
  rig.driver.shed();
  t.equal(rig.offer(text), true);
  rig.driver.retry();
  t.equal(rig.driver.stalled, true, 'still full');
  t.equal(rig.loss.owed, true);
  rig.journal.take();
  rig.driver.retry();
  t.equal(rig.loss.owed, false);
  rig.driver.retry();
  t.equal(rig.lines.filter((line) => line.includes('dropped')).length, 1);
});

t.test('a reopen and a sync have nothing to do', async (t) => {
  const rig = new JournaldRig(t);
  rig.driver.reopen();
  rig.driver.sync();
  rig.print('x\n');
  t.same(rig.lines, ['6|x\n']);
});

t.test('a journal that takes its time with each call holds the thread for a moment only', async (t) => {
  const rig: JournaldRig = new JournaldRig(t, {
    calls: {
      sendmmsg: (_fd, _bytes, _parts, _partsPerMessage, messages) => {
        rig.nowMs += 50; // it is slow, and never full
        return messages;
      },
    },
  });
  const text = numbered(0, 2000);
  let turns = 1;
  for (let beganMs = rig.nowMs; !rig.offer(text); turns++, beganMs = rig.nowMs) {
    t.ok(rig.nowMs - beganMs <= 100, `${rig.nowMs - beganMs} ms`);
    t.equal(rig.driver.stalled, true);
    t.ok(rig.driver.waitFd >= 0, 'it goes on when the socket has room, after everything else');
    t.equal(rig.driver.patient, true);
    rig.driver.retry();
  }
  t.ok(turns > 20, `${turns} turns`);
  t.match(rig.counters, { droppedRecords: 0, records: 2000 });
  rig.nowMs += 50;
  t.equal(rig.offer('a\n'), true, 'what is sent is sent');
  t.equal(rig.driver.stalled, false);
});

t.test('when one stream has ended, the other’s line that is dropped counts once, with its beginning', async (t) => {
  const rig = new JournaldRig(t);
  rig.offer('the end', STDOUT);
  rig.driver.settle(STDOUT, true);
  const [first, second] = ['<3>first half, ', 'second half\n'];
  rig.offer(first, STDERR);
  rig.driver.shed();
  t.equal(rig.offer(second, STDERR), true);
  t.match(rig.counters, { droppedRecords: 1, droppedBytes: first.length + second.length });
});
