/** For test/unit/log/file-sink.test.ts. */
import { closeSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { sys } from '../../../src/native/sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Disk, fileSink } from './sink-rig.ts';

const { EIO } = constants.errno;

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
  closeSync(fd); // EBADF stands for EIO here
  sink.sync();
  t.equal(complaints.lines.length, 1);
});
