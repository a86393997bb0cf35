/** For test/unit/log/file-sink.test.ts. */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { ownDriverState } from '../../../src/log/driver-state.ts';
import type { SyncFile } from '../../../src/log/file-sink.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { F_SETPIPE_SZ, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Disk, fileSink } from './sink-rig.ts';

const { EAGAIN, EIO } = constants.errno;

/** Calls of which write(2) does what is planned, in turn: takes so many bytes, fails with -errno, or dies; then as ever. */
function planned(plan: (number | 'die')[]): typeof sys {
  return realSysBut({
    write: (fd, bytes, offset, length) => {
      const next = plan.shift() ?? length;
      if (next === 'die') throw new Error('died');
      return next < 0 ? next : sys.write(fd, bytes, offset, Math.min(next, length));
    },
  });
}

t.test(
  'taking back half a record does not lengthen a file that somebody emptied meanwhile (copytruncate)',
  async (t) => {
    const disk = new Disk(t);
    disk.write(`${'old'.repeat(1000)}\n`);
    truncateSync(disk.path, 0);
    disk.answers.push(2, -EIO);
    disk.write('one\n');
    t.equal(statSync(disk.path).size, 0);
    disk.retry();
    t.equal(disk.content, 'one\n');
  },
);

t.test('a reopen that fails at the rename leaves neither a file nor an fd behind', async (t) => {
  const disk = new Disk(t);
  disk.write('one\n');
  rmSync(disk.path);
  mkdirSync(disk.path);
  const before = readdirSync('/proc/self/fd').length;
  disk.sink.reopen();
  t.equal(readdirSync('/proc/self/fd').length, before);
  t.same(readdirSync(disk.dir), ['log']);
});

t.test('a sync that fails is a warning: what was written may be lost', async (t) => {
  const disk = new Disk(t);
  const complaints = new Complaints('warn');
  const fd = openLog(disk.path);
  const sink = fileSink({ sys, diag: complaints.diag, counters: newCounters(), path: disk.path, fd });
  sink.write(Buffer.from('x\n'), 0, 2);
  closeSync(fd); // EBADF stands for EIO here
  sink.sync();
  t.equal(complaints.lines.length, 1);
});

t.test('a file that nothing was written to is not synced, one that was is once', async (t) => {
  const disk = new Disk(t);
  const { diag } = new Complaints('warn');
  const fd = openLog(disk.path);
  const synced: number[] = [];
  const syncFile: SyncFile = (fd) => synced.push(fd);
  const sink = fileSink({ sys, diag, counters: newCounters(), path: disk.path, fd, syncFile });
  sink.sync();
  t.same(synced, []);
  sink.write(Buffer.from('x\n'), 0, 2);
  sink.sync();
  t.same(synced, [fd]);
  sink.close();
});

t.test('a sync that fails when the file is closed already is told', async (t) => {
  const disk = new Disk(t);
  const complaints = new Complaints('warn');
  let fail = (_: unknown): void => {};
  const syncFile: SyncFile = (_, onDone) => {
    fail = onDone;
  };
  const fd = openLog(disk.path);
  const sink = fileSink({ sys, diag: complaints.diag, counters: newCounters(), path: disk.path, fd, syncFile });
  sink.write(Buffer.from('x\n'), 0, 2);
  sink.sync();
  sink.close();
  t.same(complaints.lines, []);
  fail(Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' }));
  t.equal(complaints.lines.length, 1);
  t.match(complaints.lines[0], /Failed to sync log file .*EIO/);
});

t.test('room for half a record, which is taken back, is no success: it is asked less and less often', async (t) => {
  const disk = new Disk(t);
  disk.roomBytes = 3;
  disk.write('one\n');
  const waits: number[] = [];
  for (let i = 0; i < 4; i++) {
    waits.push(disk.sink.wakeAtMs - disk.nowMs);
    disk.nowMs = disk.sink.wakeAtMs;
    disk.roomBytes = 3;
    disk.sink.retry();
    disk.write();
    t.equal(disk.content, '');
  }
  t.same(waits, [100, 200, 400, 800]);
  t.equal(disk.complaints.lines.length, 1, 'and it is told once');
});

t.test('a file that cannot be replaced grows to twice its maximum, and not beyond', async (t) => {
  const disk = new Disk(t, { fileMaxBytes: 10 });
  mkdirSync(`${disk.path}.tmp`);
  disk.write('aaaa\n', 'bbbb\n', 'cccc\n', 'dddd\n', 'eeee\n', 'ffff\n');
  t.equal(disk.content, 'aaaa\nbbbb\ncccc\ndddd\n');
  t.equal(disk.held, 'eeee\nffff\n');
  rmSync(`${disk.path}.tmp`, { recursive: true });
  disk.retry();
  t.equal(disk.content, 'eeee\nffff\n', 'in a new file');
  t.equal(disk.held, '');
});

/** A sink over a FIFO that holds one page, and what its reader reads. */
function aFifo(test: Test) {
  const disk = new Disk(test);
  const path = join(disk.dir, 'fifo');
  sys.mkfifo(path, 0o600);
  const reader = openSync(path, O_NONBLOCK);
  const fd = openLog(path);
  sys.fcntl(fd, F_SETPIPE_SZ, 4096);
  const counters = newCounters();
  const sink = fileSink({ sys, diag: disk.complaints.diag, counters, path, fd, now: () => disk.nowMs });
  const read = (from = reader) => {
    const bytes = Buffer.alloc(100_000);
    return bytes.toString('latin1', 0, Math.max(sys.read(from, bytes, 0, bytes.length), 0));
  };
  return { sink, fd, reader, path, counters, read, complaints: disk.complaints };
}

t.test('a record that a full FIFO cuts is completed before anything else, also when it was given up', async (t) => {
  const { sink, fd, reader, counters, read } = aFifo(t);
  const [long, short] = [Buffer.from(`${'x'.repeat(5000)}\n`), Buffer.from('short\n')];
  const both = Buffer.concat([long, short]);
  t.equal(sink.write(both, 0, both.length), 0, 'a page of the first one');
  t.equal(sink.write(both, 0, both.length), 0);
  t.equal(sink.stalled, true);
  t.equal(sink.waitFd, fd);
  sink.drop(both, 0, both.length);
  t.match(counters, { droppedBytes: 6, droppedRecords: 1 }, 'the first one is not lost');
  const first = read();
  sink.retry();
  t.match(first + read(), /^x{5000}\nnotice: \[conmon\] dropped 6 bytes in 1 records .*\n$/);
  t.equal(sink.stalled, false);
  sink.close();
  closeSync(reader);
});

t.test('who reads a FIFO after a reader that is gone gets each record whole, once', async (t) => {
  for (const taken of [true, false]) {
    const { sink, reader, path, read } = aFifo(t);
    const long = Buffer.from(`${'x'.repeat(5000)}\n`);
    t.equal(sink.write(long, 0, long.length), 0, 'a page of it');
    if (taken) t.equal(read(), 'x'.repeat(4096), 'which the first reader takes with it');
    closeSync(reader);
    t.equal(sink.write(long, 0, long.length), 0);
    t.equal(sink.stalled, true);
    t.equal(sink.waitFd, -1, 'poll(2) would answer at once that there is nobody');
    const next = openSync(path, O_NONBLOCK);
    let got = '';
    for (let i = 0, done = 0; i < 9 && done === 0; i++) {
      got += read(next);
      sink.retry();
      done = sink.write(long, 0, long.length);
    }
    got += read(next);
    t.equal(got === long.toString(), true, `${got.length} bytes`);
    sink.close();
    closeSync(next);
  }
});

t.test('what a FIFO still holds when nobody is left to read it is told at the end, and only then', async (t) => {
  const records = Buffer.from('one\ntwo\nthree\n');
  for (const [leaves, taken, told] of [
    [true, 4, ['[conmon:w]: log FIFO: nobody has read its last 10 bytes']],
    [true, records.length, []],
    [false, 4, []],
  ] as const) {
    const { sink, reader, path, complaints } = aFifo(t);
    t.equal(sink.write(records, 0, records.length), records.length);
    const bytes = Buffer.alloc(taken);
    t.equal(sys.read(reader, bytes, 0, taken), taken);
    if (leaves) closeSync(reader);
    sink.close();
    t.same(
      complaints.lines.map((line) => line.replace(path, 'FIFO')),
      told,
    );
    if (!leaves) closeSync(reader);
  }
});

t.test('a record of which a FIFO has only the beginning at the end is lost, by so much as is missing', async (t) => {
  const { sink, counters, path, complaints, read } = aFifo(t);
  const both = Buffer.from(`${'x'.repeat(5000)}\nshort\n`);
  sink.write(both, 0, both.length);
  sink.write(both, 0, both.length);
  sink.drop(both, 0, both.length);
  sink.close();
  t.equal(read(), 'x'.repeat(4096));
  t.match(counters, { writtenBytes: 4096, droppedBytes: 905 + 6, droppedRecords: 2 });
  t.match(complaints.lines.at(-1)?.replace(path, 'FIFO'), /log FIFO: dropped 911 bytes in 2 records, of which/);
});

t.test('the end of a record that was given up is written at the end, if there is room by then', async (t) => {
  const { sink, counters, read } = aFifo(t);
  const long = Buffer.from(`${'x'.repeat(5000)}\n`);
  sink.write(long, 0, long.length);
  sink.write(long, 0, long.length);
  sink.drop(long, 0, long.length);
  const first = read();
  sink.close();
  t.equal(first + read(), long.toString());
  t.match(counters, { writtenBytes: 5001, droppedBytes: 0, droppedRecords: 0 });
});

t.test('a record whose beginning a reader took with him, and whose end was given up, is lost', async (t) => {
  const { sink, reader, path, counters, read } = aFifo(t);
  const long = Buffer.from(`${'x'.repeat(5000)}\n`);
  sink.write(long, 0, long.length);
  sink.write(long, 0, long.length);
  sink.drop(long, 0, long.length);
  read();
  closeSync(reader);
  sink.retry();
  t.match(counters, { writtenBytes: 4096, droppedBytes: 905, droppedRecords: 1 });
  const next = openSync(path, O_NONBLOCK);
  sink.retry();
  t.match(read(next), /^notice: \[conmon\] dropped 905 bytes in 1 records .*: Broken pipe\n$/);
  sink.close();
  closeSync(next);
});

t.test('a FIFO that gives way to a file: what nobody will read of it is told, and what it lacks is lost', async (t) => {
  const { sink, reader, path, counters, complaints } = aFifo(t);
  const both = Buffer.from(`${'x'.repeat(5000)}\nshort\n`);
  sink.write(both, 0, both.length);
  sink.write(both, 0, both.length);
  sink.drop(both, 0, both.length);
  closeSync(reader);
  renameSync(path, `${path}.1`);
  sink.reopen();
  t.match(counters, { writtenBytes: 4096, droppedBytes: 905 + 6, droppedRecords: 2 });
  t.match(
    complaints.lines.map((line) => line.replace(path, 'FIFO')),
    [/failed to write to log FIFO: Resource temp/, '[conmon:w]: log FIFO: nobody has read its last 4096 bytes'],
  );
  sink.retry();
  sink.close();
  t.match(readFileSync(path, 'latin1'), /^notice: \[conmon\] dropped 911 bytes in 2 records .*\n$/);
});

t.test('a FIFO that gives way to a file while somebody reads it: he gets the rest, and nothing is told', async (t) => {
  const { sink, reader, path, complaints, read } = aFifo(t);
  sink.write(Buffer.from('one\n'), 0, 4);
  renameSync(path, `${path}.1`);
  sink.reopen();
  t.equal(read(), 'one\n');
  t.same(complaints.lines, []);
  sink.close();
  closeSync(reader);
});

t.test('what was given up while the file could be written is told before the next record', (t) => {
  const disk = new Disk(t);
  disk.write('a\n');
  disk.held = 'bb\ncc\n';
  disk.drop(); // as for a driver that has thrown (src/log/feed.ts)
  disk.write('d\n');
  t.match(disk.content, /^a\nnotice: .*dropped 6 bytes in 2 records.*\nd\n$/);
  t.end();
});

t.test('who takes over amid the record of a loss ends that line, however short, and tells the loss anew', async (t) => {
  for (const begun of [1, 2, 30]) {
    const plan: (number | 'die')[] = [-EIO];
    const disk = new Disk(t, {}, { sys: planned(plan) });
    disk.write('lost\n');
    disk.drop();
    plan.push(begun, 'die');
    t.throws(() => disk.retry(), { message: 'died' });
    disk.sink = disk.takeOver();
    disk.retry();
    disk.write('next\n');
    const [first, second = '', ...others] = disk.content.split('\n');
    t.match(second, /^notice: \[conmon\] dropped 5 bytes in 1 records /);
    t.equal(first, second.slice(0, begun), `${begun} bytes`);
    t.same(others, ['next', '']);
  }
});

t.test('a record that was given up when a single byte of it was in a FIFO is ended there, and not lost', async (t) => {
  const disk = new Disk(t);
  const path = join(disk.dir, 'fifo');
  sys.mkfifo(path, 0o600);
  const reader = openSync(path, O_NONBLOCK);
  const [fd, counters, { diag }] = [openLog(path), newCounters(), disk.complaints];
  const sink = fileSink({ sys: planned([1, -EAGAIN]), diag, counters, path, fd });
  const both = Buffer.from('one\ntwo\n');
  t.equal(sink.write(both, 0, both.length), 0, 'one byte');
  t.equal(sink.write(both, 0, both.length), 0);
  t.equal(sink.stalled, true);
  sink.drop(both, 0, both.length);
  t.match(counters, { writtenBytes: 4, droppedBytes: 4, droppedRecords: 1 });
  sink.retry();
  const bytes = Buffer.alloc(4096);
  const read = bytes.toString('latin1', 0, sys.read(reader, bytes, 0, bytes.length));
  t.match(read, /^one\nnotice: \[conmon\] dropped 4 bytes in 1 records .*\n$/);
  sink.close();
  closeSync(reader);
});

t.test('who leaves amid a record that was given up counts what is missing of it as lost, once', async (t) => {
  const disk = new Disk(t);
  const path = join(disk.dir, 'fifo');
  sys.mkfifo(path, 0o600);
  const reader = openSync(path, O_NONBLOCK);
  const [fd, counters, { diag }, state] = [openLog(path), newCounters(), disk.complaints, ownDriverState()];
  const make = () => fileSink({ sys: planned([2, -EAGAIN]), diag, counters, path, fd, state });
  const first = make();
  const both = Buffer.from('one\ntwo\n');
  first.write(both, 0, both.length);
  first.write(both, 0, both.length);
  first.drop(both, 0, both.length);
  first.leave();
  make().leave(); // who takes over has nothing of it but the line's end
  t.match(counters, { writtenBytes: 3, droppedBytes: 5, droppedRecords: 2 });
  const last = fileSink({ sys, diag, counters, path, fd, state });
  last.retry();
  const bytes = Buffer.alloc(4096);
  const read = bytes.toString('latin1', 0, sys.read(reader, bytes, 0, bytes.length));
  t.match(read, /^on\nnotice: \[conmon\] dropped 5 bytes in 2 records .*\n$/);
  t.equal(counters.writtenBytes, read.length);
  last.close();
  closeSync(reader);
});
