/** Calls relative to a directory: what they make, find and refuse. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  F_GETFD,
  FD_CLOEXEC,
  O_CLOEXEC,
  O_PATH,
  RENAME_NOREPLACE,
  RESOLVE_NO_SYMLINKS,
  S_IFLNK,
  S_IFMT,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';

const { EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT } = constants.errno;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_WRONLY = 1;

/** A temporary directory and an O_PATH fd of it. */
function directory(test: Test): { dir: string; fd: number } {
  const dir = mkdtempSync(join(tmpdir(), 'conmon-at-'));
  const fd = sys.openat(AT_FDCWD, dir, O_PATH | O_CLOEXEC, 0);
  test.ok(fd >= 0);
  test.teardown(() => {
    sys.close(fd);
    rmSync(dir, { recursive: true, force: true });
  });
  return { dir, fd };
}

t.test('openat makes a file in the directory, with mode and flags', async (t) => {
  const { dir, fd } = directory(t);
  const before = process.umask(0o022);
  t.teardown(() => process.umask(before));
  const file = sys.openat(fd, 'file', O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640);
  t.ok(file >= 0);
  t.equal(sys.fcntl(file, F_GETFD, 0), FD_CLOEXEC);
  sys.write(file, Buffer.from('x'), 0, 1);
  sys.close(file);
  t.equal(readFileSync(join(dir, 'file'), 'latin1'), 'x');
  t.equal(statSync(join(dir, 'file')).mode & 0o777, 0o640);
  t.equal(sys.openat(fd, 'file', O_WRONLY | O_CREAT | O_EXCL, 0o640), -EEXIST);
  t.equal(sys.openat(fd, 'missing', O_WRONLY, 0), -ENOENT);
});

t.test('openat2 follows links only when it may', async (t) => {
  const { dir, fd } = directory(t);
  mkdirSync(join(dir, 'real'));
  symlinkSync('real', join(dir, 'link'));
  writeFileSync(join(dir, 'real/file'), '');
  for (const [resolve, expected] of [
    [0, 'opened'],
    [RESOLVE_NO_SYMLINKS, -ELOOP],
  ] as const) {
    const result = sys.openat2(fd, 'link/file', O_WRONLY | O_CLOEXEC, 0, resolve);
    t.equal(result >= 0 ? 'opened' : result, expected);
    if (result >= 0) sys.close(result);
  }
  t.equal(sys.openat2(fd, 'real/file', O_WRONLY, 0, -1), -EINVAL);
});

t.test('renameat2 overwrites unless it is told not to', async (t) => {
  const { dir, fd } = directory(t);
  writeFileSync(join(dir, 'a'), 'a');
  writeFileSync(join(dir, 'b'), 'b');
  t.equal(sys.renameat2(fd, 'a', fd, 'b', RENAME_NOREPLACE), -EEXIST);
  t.equal(readFileSync(join(dir, 'b'), 'latin1'), 'b');
  t.equal(sys.renameat2(fd, 'a', fd, 'b', 0), 0);
  t.equal(readFileSync(join(dir, 'b'), 'latin1'), 'a');
  t.equal(existsSync(join(dir, 'a')), false);
  t.equal(sys.renameat2(fd, 'a', fd, 'c', 0), -ENOENT);
});

t.test('unlinkat removes a file, and no directory unless asked', async (t) => {
  const { dir, fd } = directory(t);
  writeFileSync(join(dir, 'file'), '');
  mkdirSync(join(dir, 'directory'));
  t.equal(sys.unlinkat(fd, 'file', 0), 0);
  t.equal(sys.unlinkat(fd, 'file', 0), -ENOENT);
  t.equal(sys.unlinkat(fd, 'directory', 0), -EISDIR);
  t.equal(existsSync(join(dir, 'directory')), true);
});

t.test('fstatfs tells what kind of file system it is', async (t) => {
  const fd = openSync('/proc/self/comm', 'r');
  t.equal(sys.fstatfs(fd), 0x9fa0, 'PROC_SUPER_MAGIC of linux/magic.h');
  closeSync(fd);
  t.equal(sys.fstatfs(-1), -EBADF);
});

t.test('fstatat tells device, inode, mode, links and size', async (t) => {
  const { dir, fd } = directory(t);
  writeFileSync(join(dir, 'file'), 'twelve bytes');
  symlinkSync('file', join(dir, 'link'));
  const out = new BigInt64Array(5);
  t.equal(sys.fstatat(fd, 'file', 0, out), 0);
  const stat = statSync(join(dir, 'file'), { bigint: true });
  t.same([...out], [stat.dev, stat.ino, stat.mode, 1n, 12n]);
  t.equal(sys.fstatat(fd, 'link', AT_SYMLINK_NOFOLLOW, out), 0);
  t.equal(Number(out[2]) & S_IFMT, S_IFLNK);
  t.equal(sys.fstatat(fd, '', AT_EMPTY_PATH, out), 0);
  t.equal(out[1], statSync(dir, { bigint: true }).ino);
  t.equal(sys.fstatat(fd, 'missing', 0, out), -ENOENT);
});

t.test('readlinkat gives as much of a link as fits', async (t) => {
  const { dir, fd } = directory(t);
  const target = 'a/target/that/is/not/there';
  symlinkSync(target, join(dir, 'dangling'));
  const out = Buffer.alloc(64);
  t.equal(sys.readlinkat(fd, 'dangling', out), target.length);
  t.equal(out.toString('latin1', 0, target.length + 1), `${target}\0`);
  t.equal(sys.readlinkat(fd, 'dangling', out.subarray(0, 4)), 4);
  t.equal(sys.readlinkat(fd, 'missing', out), -ENOENT);
  t.equal(sys.readlinkat(fd, 'dangling', out.subarray(0, 0)), -EINVAL);
});

t.test('arguments of the wrong kind are refused before anything happens', async (t) => {
  const { dir, fd } = directory(t);
  const wrong = (call: () => number) => t.equal(call(), -EINVAL);
  wrong(() => sys.openat(fd, 'a\0b', O_WRONLY | O_CREAT, 0o600));
  wrong(() => sys.openat(Number.NaN, 'a', O_WRONLY | O_CREAT, 0o600));
  wrong(() => sys.renameat2(fd, 'a', fd, 'b\0', 0));
  wrong(() => sys.unlinkat(fd, 'a\0', 0));
  wrong(() => sys.fstatat(fd, '', AT_EMPTY_PATH, new BigInt64Array(4)));
  const opened = openSync(dir, 'r');
  t.equal(sys.openat(opened, 'missing', O_WRONLY, 0), -ENOENT);
  closeSync(opened);
});
