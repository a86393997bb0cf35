/** A large write has its blocks allocated before it, exactly them, on a file system where that pays; nothing else changes. */
import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LARGE_BYTES } from '../../../src/log/blocks.ts';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { AT_EMPTY_PATH, F_SETPIPE_SZ, FALLOC_FL_KEEP_SIZE, O_NONBLOCK } from '../../../src/native/constants.ts';
import { EXT4_MAGIC } from '../../../src/native/files.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Disk, fileSink } from './sink-rig.ts';

const { EDQUOT, EINTR, EIO, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM } = constants.errno;
const TMPFS_MAGIC = 0x01021994;
const PAGE = 4096;
/** What a file system may take for its own books of such a file, in st_blocks. */
const BOOKS = 16;

type Asked = readonly ['fstatfs'] | readonly ['fallocate' | 'write', number, number];

/** A sink whose calls are noted; the fallocate is the real one unless the test has answers. */
class Rig {
  readonly disk: Disk;
  readonly asked: Asked[] = [];
  /** To the next calls of fallocate, instead of making them; negative errnos. */
  readonly answers: number[] = [];
  /** To the next writes: so many bytes at most are taken, a negative errno fails. */
  readonly writes: number[] = [];
  magic = EXT4_MAGIC;
  readonly calls: Sys = realSysBut({
    fstatfs: () => {
      this.asked.push(['fstatfs']);
      return this.magic;
    },
    fallocate: (fd, mode, offset, length) => {
      t.equal(mode, FALLOC_FL_KEEP_SIZE);
      this.asked.push(['fallocate', offset, length]);
      return this.answers.shift() ?? sys.fallocate(fd, mode, offset, length);
    },
    write: (fd, bytes, offset, length) => {
      this.asked.push(['write', statSync(this.disk.path).size, length]);
      const answer = this.writes.shift() ?? length;
      return answer < 0 ? answer : sys.write(fd, bytes, offset, Math.min(answer, length));
    },
  });

  constructor(test: Test, fileMaxBytes = Number.POSITIVE_INFINITY) {
    this.disk = new Disk(test, { fileMaxBytes }, { sys: this.calls, crowd: { isThere: () => false } });
  }

  /** What was asked since the last time. */
  take(): Asked[] {
    return this.asked.splice(0);
  }
}

/** Records of 1000 bytes, at least `bytes` together. */
function records(bytes: number, letter = 'x'): string {
  return `${letter.repeat(999)}\n`.repeat(Math.ceil(bytes / 1000));
}

/** Blocks that a file of that size needs, of 512 bytes. */
function blocksOf(size: number): number {
  return (Math.ceil(size / PAGE) * PAGE) / 512;
}

const LARGE = records(LARGE_BYTES);

t.test('a large write has its blocks before, those of its own place in the file', (t) => {
  const { disk, asked } = new Rig(t);
  disk.write('short\n');
  t.same(asked.splice(0), [['write', 0, 6]], 'a short one has none, and nobody asks where the file is');
  disk.write(LARGE);
  t.same(asked.splice(0), [['fstatfs'], ['fallocate', 6, LARGE.length], ['write', 6, LARGE.length]]);
  disk.write(LARGE);
  const end = 6 + LARGE.length;
  t.same(asked.splice(0), [
    ['fallocate', end, LARGE.length],
    ['write', end, LARGE.length],
  ]);
  t.equal(disk.content, `short\n${LARGE}${LARGE}`);
  t.ok(statSync(disk.path).blocks <= blocksOf(end + LARGE.length) + BOOKS, 'and no blocks are left behind its end');
  t.end();
});

t.test('one byte less than large is short', (t) => {
  const { disk, asked } = new Rig(t);
  disk.write(`${'x'.repeat(LARGE_BYTES - 2)}\n`);
  t.same(asked.splice(0), [['write', 0, LARGE_BYTES - 1]]);
  disk.write(`${'x'.repeat(LARGE_BYTES - 1)}\n`);
  t.equal(asked.length, 3);
  t.end();
});

t.test('on another file system nothing is allocated, and it is asked once what it is', (t) => {
  const rig = new Rig(t);
  rig.magic = TMPFS_MAGIC;
  rig.disk.write(LARGE);
  rig.disk.write(LARGE);
  t.same(
    rig.asked.map(([call]) => call),
    ['fstatfs', 'write', 'write'],
  );
  t.end();
});

t.test('a FIFO has no blocks', (t) => {
  const rig = new Rig(t);
  const path = join(rig.disk.dir, 'fifo');
  sys.mkfifo(path, 0o600);
  const reader = sys.openat(-1, path, O_NONBLOCK, 0);
  const fd = openLog(path);
  sys.fcntl(fd, F_SETPIPE_SZ, 1 << 20);
  const sink = fileSink({ sys: rig.calls, diag: rig.disk.complaints.diag, counters: newCounters(), path, fd });
  const memory = Buffer.from(LARGE);
  t.equal(sink.write(memory, 0, memory.length), memory.length);
  t.same(
    rig.asked.map(([call]) => call),
    ['write'],
  );
  sink.close();
  sys.close(reader);
  t.end();
});

for (const [name, errno] of Object.entries({ EOPNOTSUPP, ENOSYS, EPERM, EIO }))
  t.test(`where it cannot be done (${name}) it is tried once a file, and nothing is lost or told`, (t) => {
    const rig = new Rig(t, 4 * LARGE.length);
    rig.answers.push(-errno);
    for (let i = 0; i < 4; i++) rig.disk.write(LARGE);
    t.same(
      rig.take().map(([call]) => call),
      ['fstatfs', 'fallocate', 'write', 'write', 'write', 'write'],
    );
    t.equal(rig.disk.content, LARGE.repeat(4));
    rig.disk.write(LARGE);
    t.same(
      rig.take().map(([call]) => call),
      ['fstatfs', 'fallocate', 'write'],
      'the file that follows is another one',
    );
    t.equal(rig.disk.content, LARGE);
    t.same(rig.disk.complaints.lines, []);
    t.end();
  });

for (const [name, errno] of Object.entries({ ENOSPC, EDQUOT }))
  t.test(`without blocks (${name}) it is the write that says how full the disk is`, (t) => {
    const rig = new Rig(t);
    rig.answers.push(-errno);
    rig.writes.push(LARGE.length - 1000);
    rig.disk.write(LARGE);
    t.same(
      rig.take().map(([call, , length]) => [call, length]),
      [
        ['fstatfs', undefined],
        ['fallocate', LARGE.length],
        ['write', LARGE.length],
        ['write', 1000],
      ],
    );
    t.equal(rig.disk.content, LARGE, 'what there was room for is there');
    t.same(rig.disk.complaints.lines, []);
    rig.disk.write('short\n');
    rig.take();
    rig.writes.push(-errno);
    rig.disk.write(LARGE);
    t.equal(rig.disk.sink.stalled, true);
    rig.disk.retry();
    t.same(
      rig.take().map(([call]) => call),
      ['write', 'write'],
      'nor are they asked for before a large write has found room',
    );
    rig.disk.write(LARGE);
    t.same(
      rig.take().map(([call]) => call),
      ['fallocate', 'write'],
    );
    t.equal(rig.disk.content, `${LARGE}short\n${LARGE}${LARGE}`);
    t.end();
  });

t.test('an interrupted one is no reason to do without the next time', (t) => {
  const rig = new Rig(t);
  rig.answers.push(-EINTR);
  rig.disk.write(LARGE);
  rig.take();
  rig.disk.write(LARGE);
  t.same(
    rig.take().map(([call]) => call),
    ['fallocate', 'write'],
  );
  t.end();
});

t.test('a file that was emptied (copytruncate) or appended to meanwhile gets its blocks at its end', (t) => {
  const { disk, asked } = new Rig(t);
  for (let i = 0; i < 8; i++) disk.write(LARGE);
  truncateSync(disk.path, 0);
  asked.splice(0);
  disk.write(LARGE);
  t.same(asked.splice(0), [
    ['fallocate', 0, LARGE.length],
    ['write', 0, LARGE.length],
  ]);
  t.equal(disk.content, LARGE);
  t.equal(disk.sink.endBytes, LARGE.length, 'and what is written next begins where that ends');
  t.ok(statSync(disk.path).blocks <= blocksOf(LARGE.length) + BOOKS);
  appendFileSync(disk.path, 'from elsewhere\n');
  disk.write(LARGE);
  t.same(asked.splice(0)[0], ['fallocate', LARGE.length + 15, LARGE.length]);
  t.equal(disk.content, `${LARGE}from elsewhere\n${LARGE}`);
  t.equal(disk.sink.endBytes, 2 * LARGE.length + 15);
  t.end();
});

t.test('fallocate(2) keeps size and content, and says what it cannot do', (t) => {
  const { disk } = new Rig(t);
  const path = join(disk.dir, 'plain');
  writeFileSync(path, 'abc');
  const fd = openLog(path);
  t.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 3, 1 << 20), 0);
  t.equal(readFileSync(path, 'latin1'), 'abc');
  t.ok(statSync(path).blocks >= (1 << 20) / 512);
  const stat = new BigInt64Array(5);
  sys.fstatat(fd, '', AT_EMPTY_PATH, stat);
  t.equal(stat[4], 3n);
  t.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 3, 0), -constants.errno.EINVAL);
  t.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, Number.NaN, 1), -constants.errno.EINVAL);
  t.equal(sys.fallocate(fd, 1 << 20, 0, 1), -EOPNOTSUPP);
  sys.close(fd);
  t.equal(sys.fallocate(fd, FALLOC_FL_KEEP_SIZE, 3, 1), -constants.errno.EBADF);
  t.end();
});
