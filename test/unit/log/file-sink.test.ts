/** A log file on a bad disk: whole records only, and every byte that is lost is counted. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { FileSink } from '../../../src/log/file-sink.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Disk } from './sink-rig.ts';

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

t.test('a disk that fills up amid a record keeps the whole ones and counts the others', async (t) => {
  const records = ['one\n', 'twotwo\n', 'three\n'];
  const all = records.join('');
  for (let room = 0; room < all.length; room++) {
    const disk = new Disk(t);
    disk.write('first\n');
    disk.roomBytes = room;
    disk.write(...records);
    const kept = all.slice(0, all.lastIndexOf('\n', room - 1) + 1);
    const whole = room === 0 ? '' : kept;
    t.equal(disk.content, `first\n${whole}`, `room for ${room}`);
    t.match(disk.counters, {
      writtenBytes: 6 + whole.length,
      droppedBytes: all.length - whole.length,
      droppedRecords: 3 - (whole.match(/\n/g)?.length ?? 0),
    });
  }
});

t.test('when there is room again it goes on, with whole records', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 6;
  disk.write('one\n', 'two\n');
  disk.write('three\n');
  disk.roomBytes = Number.POSITIVE_INFINITY;
  disk.write('four\n');
  t.equal(disk.content, 'one\nfour\n');
  t.match(disk.counters, { writtenBytes: 9, droppedBytes: 10, droppedRecords: 2 });
});

t.test('any errno is survived and told once until it works again', async (t) => {
  const disk = new Disk(t);
  disk.answers.push(-EIO, -EIO, -EACCES);
  disk.write('a\n');
  disk.write('b\n');
  disk.write('c\n');
  t.same(disk.complaints.lines, [`[conmon:w]: failed to write to log ${disk.path}: Input/output error`]);
  disk.write('d\n');
  disk.answers.push(-ENOSPC);
  disk.write('e\n');
  t.equal(disk.complaints.lines.length, 2);
  t.match(disk.complaints.lines[1], /No space left on device$/);
  t.equal(disk.content, 'd\n');
  t.match(disk.counters, { droppedBytes: 8, droppedRecords: 4, writtenBytes: 2 });
});

t.test('an error after a short write takes the beginning of the record back', async (t) => {
  const disk = new Disk(t);
  disk.answers.push(6, -EIO);
  disk.write('one\n', 'two\n');
  t.equal(disk.content, 'one\n');
  t.equal(statSync(disk.path).size, 4);
});

t.test('a batch whose records are longer than any gap is dropped whole', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 5000;
  disk.write(`${'x'.repeat(8192)}\n`);
  t.equal(disk.content, '');
  t.match(disk.counters, { writtenBytes: 0, droppedBytes: 8193, droppedRecords: 1 });
});

t.test(`a disk that fails at random never holds half a record, and the books balance, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 40; round++) {
    const disk = new Disk(t);
    let bytes = 0;
    let records = 0;
    for (let batch = 0; batch < 30; batch++) {
      const lines = Array.from({ length: 1 + random.below(5) }, () => `<${'r'.repeat(random.below(40))}>\n`);
      while (random.below(3) === 0) disk.answers.push(random.pick([1, 2, 5, 50, -ENOSPC, -EIO]));
      if (random.below(5) === 0) disk.roomBytes = random.pick([0, 3, 60, 1000, Number.POSITIVE_INFINITY]);
      bytes += lines.join('').length;
      records += lines.length;
      disk.write(...lines);
    }
    const { writtenBytes, droppedBytes, droppedRecords } = disk.counters;
    t.match(disk.content, /^(<r*>\n)*$/);
    t.equal(disk.content.length, writtenBytes);
    t.equal(writtenBytes + droppedBytes, bytes);
    t.equal((disk.content.match(/\n/g)?.length ?? 0) + droppedRecords, records);
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
  const sink = new FileSink(sys, complaints.diag, newCounters(), fifo, openLog(fifo));
  sink.write(Buffer.from('x\n'), 0, 2);
  sink.sync();
  sink.close();
  t.equal(sys.fionread(reader), 2);
  closeSync(reader);
  t.same(complaints.lines, []);
});
