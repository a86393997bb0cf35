/** --log-size-max and --log-global-size-max: whole records, in the old file or the new, or counted. */
import { linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { Disk, fileSink } from './sink-rig.ts';

const NONE = Number.POSITIVE_INFINITY;
const inode = (path: string) => statSync(path).ino;

t.test('a file that would pass its maximum is replaced first, between two records', async (t) => {
  const disk = new Disk(t, { fileMaxBytes: 10 });
  disk.write('aaaa\n');
  linkSync(disk.path, join(disk.dir, 'first'));
  disk.write('bbbb\n');
  t.equal(disk.content, 'aaaa\nbbbb\n', 'exactly the maximum is not too much');
  disk.write('c\n');
  t.equal(disk.content, 'c\n');
  t.equal(readFileSync(join(disk.dir, 'first'), 'latin1'), 'aaaa\nbbbb\n');
});

t.test('one batch may fill several files', async (t) => {
  const disk = new Disk(t, { fileMaxBytes: 10 });
  disk.write('aaaa\n', 'bbbb\n', 'cccc\n', 'dddd\n', 'e\n');
  t.equal(disk.content, 'e\n');
  t.match(disk.counters, { writtenBytes: 22, droppedBytes: 0 });
});

t.test('a record that no file holds goes into one of its own', async (t) => {
  const disk = new Disk(t, { fileMaxBytes: 10 });
  disk.write('a\n', `${'b'.repeat(20)}\n`);
  t.equal(disk.content, `${'b'.repeat(20)}\n`);
  disk.write('c\n');
  t.equal(disk.content, 'c\n');
});

t.test('what the file held at the start counts', async (t) => {
  const disk = new Disk(t);
  writeFileSync(disk.path, 'old old\n');
  const limits = { fileMaxBytes: 10, globalMaxBytes: NONE };
  const sink = fileSink({
    sys,
    diag: disk.complaints.diag,
    counters: newCounters(),
    path: disk.path,
    fd: openLog(disk.path),
    limits,
  });
  sink.write(Buffer.from('new\n'), 0, 4);
  t.equal(disk.content, 'new\n');
  sink.close();
});

t.test('a file that cannot be replaced grows on rather than lose records', async (t) => {
  const disk = new Disk(t, { fileMaxBytes: 10 });
  mkdirSync(`${disk.path}.tmp`);
  disk.write('aaaa\n', 'bbbb\n', 'cccc\n');
  t.equal(disk.content, 'aaaa\nbbbb\ncccc\n');
  t.match(disk.counters, { droppedBytes: 0, writtenBytes: 15 });
});

t.test('beyond the global maximum nothing is written, and it is counted', async (t) => {
  const disk = new Disk(t, { globalMaxBytes: 10 });
  disk.write('aaaa\n', 'bbbb\n', 'cccc\n');
  disk.write('dddd\n');
  t.equal(disk.content, 'aaaa\nbbbb\n');
  t.match(disk.counters, { writtenBytes: 10, beyondLimitBytes: 10, droppedBytes: 0 });
  t.same(disk.complaints.lines, []);
});

t.test('the global maximum outlives a reopen', async (t) => {
  const disk = new Disk(t, { globalMaxBytes: 10 });
  disk.write('aaaa\n');
  disk.sink.reopen();
  disk.write('bbbb\n', 'cccc\n');
  t.equal(disk.content, 'bbbb\n');
  t.match(disk.counters, { writtenBytes: 10, beyondLimitBytes: 5 });
});

t.test(`no record is lost, doubled or cut over any sizes, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 30; round++) {
    const fileMaxBytes = random.pick([1, 7, 64, 500]);
    const globalMaxBytes = random.pick([NONE, NONE, 300, 2000]);
    const disk = new Disk(t, { fileMaxBytes, globalMaxBytes });
    const files: string[] = [];
    // Each reopened file is kept under a name of its own: the link is made before the sink replaces the path.
    const keep = () => {
      const name = join(disk.dir, `kept-${files.length}`);
      linkSync(disk.path, name);
      files.push(name);
    };
    keep();
    let sent = '';
    for (let i = 0; i < 60; i++) {
      const record = `${i}:${'r'.repeat(random.below(80))}\n`;
      sent += record;
      disk.write(record);
      if (inode(disk.path) !== inode(files.at(-1) ?? '')) keep();
    }
    const contents = files.map((name) => readFileSync(name, 'latin1'));
    const got = contents.join('');
    t.equal(got, sent.slice(0, got.length), 'what is there is the beginning of what was sent');
    t.equal(got.length, disk.counters.writtenBytes);
    t.equal(disk.counters.writtenBytes + disk.counters.beyondLimitBytes, sent.length);
    if (globalMaxBytes === NONE) t.equal(got, sent);
    for (const content of contents)
      t.ok(content.length <= fileMaxBytes || content.indexOf('\n') === content.length - 1);
  }
});
