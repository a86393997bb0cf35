/** A log file on a bad disk: whole records only, and every byte that is lost is counted. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Disk, fileSink } from './sink-rig.ts';

const { EACCES, EIO, ENOSPC } = constants.errno;

t.test('one batch is one write, at the end of the file', async (t) => {
  const disk = new Disk(t);
  writeFileSync(disk.path, 'old\n', { flag: 'a' });
  disk.write('one\n', 'two\n');
  disk.write('three\n');
  t.equal(disk.content, 'old\none\ntwo\nthree\n');
  t.match(disk.counters, { writes: 2, writtenBytes: 14, droppedBytes: 0, droppedRecords: 0 });
});

t.test('short writes go on where they stopped', async (t) => {
  const disk = new Disk(t);
  disk.answers.push(1, 2, 3);
  disk.write('one\n', 'two\n');
  t.equal(disk.content, 'one\ntwo\n');
  t.match(disk.counters, { writes: 4, writtenBytes: 8, droppedBytes: 0 });
  t.same(disk.complaints.lines, []);
});

t.test('a disk that fills up amid a record keeps the whole ones, and drops the others when told to', async (t) => {
  const records = ['one\n', 'twotwo\n', 'three\n'];
  const all = records.join('');
  for (let room = 0; room < all.length; room++) {
    const disk = new Disk(t);
    disk.write('first\n');
    disk.roomBytes = room;
    disk.write(...records);
    const whole = room === 0 ? '' : all.slice(0, all.lastIndexOf('\n', room - 1) + 1);
    t.equal(disk.content, `first\n${whole}`, `room for ${room}`);
    t.equal(disk.held, all.slice(whole.length), 'nothing is lost yet');
    t.match(disk.counters, { writtenBytes: 6 + whole.length, droppedBytes: 0 });
    disk.drop();
    t.match(disk.counters, {
      writtenBytes: 6 + whole.length,
      droppedBytes: all.length - whole.length,
      droppedRecords: 3 - (whole.match(/\n/g)?.length ?? 0),
    });
  }
});

t.test('when there is room again it goes on with what was held, and tells of no loss', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 6;
  disk.write('one\n', 'two\n');
  disk.write('three\n');
  t.equal(disk.content, 'one\n');
  disk.roomBytes = Number.POSITIVE_INFINITY;
  disk.retry();
  t.equal(disk.content, 'one\ntwo\nthree\n');
  t.match(disk.counters, { writtenBytes: 14, droppedBytes: 0, droppedRecords: 0 });
});

t.test('what was dropped is told in the log, once, in front of what follows', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 6;
  disk.write('one\n', 'two\n');
  disk.drop();
  disk.nowMs += 1500;
  disk.write('three\n');
  disk.drop();
  t.match(disk.counters, { droppedBytes: 10, droppedRecords: 2 });
  disk.write('four\n');
  disk.roomBytes = Number.POSITIVE_INFINITY;
  disk.retry();
  disk.write('five\n');
  const said =
    'notice: [conmon] dropped 10 bytes in 2 records from 2026-11-25T12:00:00.000Z to 2026-11-25T12:00:01.500Z: No space left on device\n';
  t.equal(disk.content, `one\n${said}four\nfive\n`);
  t.equal(disk.counters.writtenBytes, disk.content.length);
});

t.test('a stalled sink asks the disk only when it is time, and waits longer each time', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 0;
  disk.write('one\n');
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    const writes = disk.counters.writes;
    disk.write('more\n');
    t.equal(disk.counters.writes, writes, 'not before');
    t.equal(disk.sink.waitFd, -1);
    waits.push(disk.sink.wakeAtMs - disk.nowMs);
    disk.nowMs = disk.sink.wakeAtMs;
    disk.sink.retry();
    disk.write();
    t.equal(disk.counters.writes, writes + 1);
  }
  t.same(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  disk.roomBytes = 1000;
  disk.retry();
  t.equal(disk.sink.wakeAtMs, Number.POSITIVE_INFINITY, 'nothing is wanted any longer');
});

t.test('any errno is survived and told once until it works again', async (t) => {
  const disk = new Disk(t);
  disk.answers.push(-EIO, -EIO, -EACCES);
  disk.write('a\n');
  disk.retry();
  disk.retry();
  t.same(disk.complaints.lines, [`[conmon:w]: failed to write to log ${disk.path}: Input/output error`]);
  disk.retry();
  t.equal(disk.complaints.lines.length, 2);
  t.match(disk.complaints.lines[1], /^\[conmon:i\]: log .* can be written again, nothing was lost$/);
  disk.answers.push(-ENOSPC);
  disk.write('e\n');
  disk.drop();
  t.equal(disk.complaints.lines.length, 3);
  t.match(disk.complaints.lines[2], /No space left on device$/);
  t.equal(disk.content, 'a\n');
  t.match(disk.counters, { droppedBytes: 2, droppedRecords: 1, writtenBytes: 2 });
});

t.test('an error after a short write takes the beginning of the record back', async (t) => {
  const disk = new Disk(t);
  disk.answers.push(6, -EIO);
  disk.write('one\n', 'two\n');
  t.equal(disk.content, 'one\n');
  t.equal(statSync(disk.path).size, 4);
  disk.retry();
  t.equal(disk.content, 'one\ntwo\n');
});

t.test('a batch whose records are longer than any gap is held whole, or dropped whole', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 5000;
  disk.write(`${'x'.repeat(8192)}\n`);
  t.equal(disk.content, '');
  t.equal(disk.held.length, 8193);
  disk.drop();
  t.match(disk.counters, { writtenBytes: 0, droppedBytes: 8193, droppedRecords: 1 });
});

t.test(`a disk that fails at random never holds half a record, and the books balance, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 40; round++) {
    const disk = new Disk(t);
    let sent = '';
    for (let batch = 0; batch < 40; batch++) {
      const lines = Array.from({ length: 1 + random.below(5) }, () => `<${'r'.repeat(random.below(40))}>\n`);
      while (random.below(3) === 0) disk.answers.push(random.pick([1, 2, 5, 50, -ENOSPC, -EIO]));
      if (random.below(5) === 0) disk.roomBytes = random.pick([0, 3, 60, 1000, Number.POSITIVE_INFINITY]);
      sent += lines.join('');
      disk.write(...lines);
      t.match(disk.content, /^(<r*>\n|notice: .*\n)*$/, 'whole records');
      if (random.below(4) === 0) disk.sink = disk.takeOver();
      if (random.below(3) === 0) disk.retry();
      if (random.below(4) === 0 && disk.held !== '') disk.drop();
    }
    disk.answers.length = 0;
    disk.roomBytes = Number.POSITIVE_INFINITY;
    disk.retry();
    t.equal(disk.held, '');
    const notices = disk.content.match(/^notice: .*\n/gm) ?? [];
    const told = notices.map((text) => /dropped (\d+) bytes in (\d+) records/.exec(text)?.slice(1).map(Number) ?? []);
    const sum = (index: number) => told.reduce((total, numbers) => total + (numbers[index] ?? 0), 0);
    const { writtenBytes, droppedBytes, droppedRecords } = disk.counters;
    t.equal(disk.content.length, writtenBytes);
    t.equal(sum(0), droppedBytes, 'the log tells of every byte');
    t.equal(sum(1), droppedRecords, 'and of every record');
    t.equal(writtenBytes - notices.join('').length + droppedBytes, sent.length);
    // What is there is what was sent, in order, with gaps.
    let at = 0;
    for (const record of disk.content.match(/^<r*>\n/gm) ?? []) {
      at = sent.indexOf(record, at);
      if (at === -1) break;
      at += record.length;
    }
    t.not(at, -1, 'in order');
  }
});

t.test('reopen makes a new, empty file at the path; the old one keeps its records', async (t) => {
  const disk = new Disk(t);
  disk.write('old\n');
  const old = openSync(disk.path, 'r');
  disk.sink.reopen();
  t.equal(disk.content, '');
  t.equal(statSync(disk.path).mode & 0o777, 0o640);
  disk.write('new\n');
  t.equal(disk.content, 'new\n');
  t.equal(readFileSync(old, 'latin1'), 'old\n');
  closeSync(old);
  t.match(disk.counters, { writtenBytes: 8 });
});

t.test('reopen makes the file anew when the engine has renamed it away', async (t) => {
  const disk = new Disk(t);
  disk.write('old\n');
  rmSync(disk.path);
  disk.sink.reopen();
  disk.write('new\n');
  t.equal(disk.content, 'new\n');
});

t.test('when a new file cannot be made logging goes on in the old one', async (t) => {
  const disk = new Disk(t);
  disk.write('one\n');
  mkdirSync(`${disk.path}.tmp`);
  disk.sink.reopen();
  disk.write('two\n');
  t.equal(disk.content, 'one\ntwo\n');
  t.match(disk.complaints.lines, [/^\[conmon:w\]: Failed to reopen log file .*: Is a directory$/]);
});

t.test('reopen does not follow a link that lies in its way', async (t) => {
  const disk = new Disk(t);
  const victim = join(disk.dir, 'victim');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, `${disk.path}.tmp`);
  disk.write('one\n');
  disk.sink.reopen();
  disk.write('two\n');
  t.equal(readFileSync(victim, 'latin1'), 'precious');
});

t.test('what has nothing to sync is no complaint', async (t) => {
  const fifo = join(tmpdir(), `conmon-sink-fifo-${process.pid}`);
  sys.mkfifo(fifo, 0o600);
  t.teardown(() => rmSync(fifo, { force: true }));
  const reader = openSync(fifo, O_NONBLOCK);
  const complaints = new Complaints('info');
  const sink = fileSink({ sys, diag: complaints.diag, counters: newCounters(), path: fifo, fd: openLog(fifo) });
  sink.write(Buffer.from('x\n'), 0, 2);
  sink.sync();
  sink.close();
  t.equal(sys.fionread(reader), 2);
  closeSync(reader);
  t.same(complaints.lines, []);
});
