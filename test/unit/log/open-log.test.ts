/** Opening log files: what is made, with which mode, and what is refused. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openLog } from '../../../src/log/open-log.ts';
import { F_GETFD, F_GETFL, FD_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';

const dir = mkdtempSync(join(tmpdir(), 'conmon-open-log-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const O_APPEND = 0o2000;

t.test('a missing file is made with mode 0640, for appending, close-on-exec', async (t) => {
  const before = process.umask(0o022);
  t.teardown(() => process.umask(before));
  const path = join(dir, 'new');
  const fd = openLog(path);
  t.equal(statSync(path).mode & 0o777, 0o640);
  t.ok(sys.fcntl(fd, F_GETFL, 0) & O_APPEND);
  t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
  closeSync(fd);
});

t.test('an older file is appended to', async (t) => {
  const path = join(dir, 'old');
  writeFileSync(path, 'old\n');
  const fd = openLog(path);
  sys.write(fd, Buffer.from('new\n'), 0, 4);
  t.equal(readFileSync(path, 'latin1'), 'old\nnew\n');
  closeSync(fd);
});

t.test('what cannot be opened is told with path and reason', async (t) => {
  const refused = (path: string, reason: string) =>
    t.throws(() => openLog(path), { code: 'LOG_OPEN_FAILED', message: `Failed to open log file ${path}: ${reason}` });
  refused(join(dir, 'no/such/dir/log'), 'No such file or directory');
  mkdirSync(join(dir, 'directory'));
  refused(join(dir, 'directory'), 'Is a directory');
  symlinkSync('new', join(dir, 'link'));
  refused(join(dir, 'link'), 'Too many levels of symbolic links');
});

t.test('a FIFO without a reader is refused at once, one with a reader is written to', async (t) => {
  const path = join(dir, 'fifo');
  sys.mkfifo(path, 0o600);
  t.throws(() => openLog(path), { message: /No such device or address$/ });
  const reader = openSync(path, O_NONBLOCK);
  const fd = openLog(path);
  t.equal(sys.write(fd, Buffer.from('x'), 0, 1), 1);
  closeSync(fd);
  closeSync(reader);
});
