/** Opening log files: what is made, with which mode, and what is refused. */
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LogFiles, openLog, safeLogPath } from '../../../src/log/open-log.ts';
import { F_GETFD, F_GETFL, FD_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Complaints } from '../session/complaints.ts';

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

const anywhere = { rotate: false, allowlistDirs: [] };
const complaints = new Complaints();

t.test('with rotation a path must be where nobody else can meddle', async (t) => {
  const rules = { rotate: true, allowlistDirs: [] };
  const real = realpathSync(dir);
  const refused = (path: string, message: RegExp) =>
    t.throws(() => safeLogPath(complaints.diag, path, rules), { code: 'LOG_PATH_REFUSED', message });
  mkdirSync(join(dir, 'sub'));
  symlinkSync('sub', join(dir, 'sub-link'));
  t.equal(safeLogPath(complaints.diag, join(dir, 'sub-link/log'), rules), join(real, 'sub/log'), 'without the link');
  t.equal(safeLogPath(complaints.diag, `${dir}/./sub//log..1`, rules), join(real, 'sub/log..1'));
  refused(`${dir}/sub/../log`, /must not contain '\.\.'$/);
  refused(`${dir}/..`, /must not contain/);
  for (const mode of [0o777, 0o1777, 0o702]) {
    chmodSync(join(dir, 'sub'), mode);
    refused(join(dir, 'sub/log'), /can be written by everybody/);
    t.equal(safeLogPath(complaints.diag, join(dir, 'sub/log'), anywhere), join(dir, 'sub/log'), 'without rotation');
  }
  chmodSync(join(dir, 'sub'), 0o755);
  chownSync(join(dir, 'sub'), 1234, 0);
  refused(join(dir, 'sub/log'), /belongs to another user/);
  t.equal(safeLogPath(complaints.diag, join(dir, 'sub/log'), anywhere), join(dir, 'sub/log'), 'without rotation');
  t.throws(() => safeLogPath(complaints.diag, join(dir, 'missing/log'), rules), {
    code: 'LOG_OPEN_FAILED',
    message: `Failed to open log file ${join(dir, 'missing/log')}: No such file or directory`,
  });
});

t.test('allowed directories hold a log, or one of their subdirectories does, whatever the path says', async (t) => {
  for (const name of ['allowed', 'allowed/deep', 'allowed-not', 'outside']) mkdirSync(join(dir, name));
  symlinkSync('../outside', join(dir, 'allowed/out'));
  symlinkSync('allowed', join(dir, 'in'));
  const check = (path: string, ...allowlistDirs: readonly string[]) => {
    try {
      safeLogPath(complaints.diag, join(dir, path), { rotate: false, allowlistDirs });
      return 'taken';
    } catch (error) {
      return error instanceof Error && /in none of the directories/.test(error.message) ? 'refused' : String(error);
    }
  };
  const allowed = join(dir, 'allowed');
  t.equal(check('allowed/log', allowed), 'taken');
  t.equal(check('allowed/deep/log', allowed), 'taken');
  t.equal(check('in/log', allowed), 'taken');
  t.equal(check('allowed/log', join(dir, 'in')), 'taken', 'an allowed directory may be named through a link');
  t.equal(check('allowed/log', '/'), 'taken');
  t.equal(check('outside/log', join(dir, 'nowhere'), allowed, join(dir, 'outside')), 'taken');
  t.equal(check('allowed-not/log', allowed), 'refused');
  t.equal(check('outside/log', allowed), 'refused');
  t.equal(check('allowed/out/log', allowed), 'refused', 'through a link');
  t.equal(check('log', join(dir, 'nowhere')), 'refused');
  t.ok(complaints.lines.some((line) => /Invalid allowlist directory .*nowhere: No such file/.test(line)));
});

t.test('two names of one file are one log', async (t) => {
  const path = (name: string) => join(dir, name);
  const files = new LogFiles(sys, complaints.diag, anywhere);
  const opened = ['one', './one', 'two'].flatMap((name) => files.open(`${dir}/${name}`));
  t.same(
    opened.map((log) => log.path),
    [path('one'), path('two')],
  );
  t.match(complaints.lines.at(-1), /are the same: it is written once$/);
  for (const { fd } of opened) closeSync(fd);
});
