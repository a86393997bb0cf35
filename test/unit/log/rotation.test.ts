/** A log file gives way to a new one: which files there are afterwards, whatever fails or dies in between. */
import {
  chmodSync,
  closeSync,
  constants as fsConstants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LARGE_FILE_BYTES } from '../../../src/log/removal.ts';
import { replacement } from '../../../src/log/rotation.ts';
import { F_GETFD, F_GETFL, FD_CLOEXEC, O_CLOEXEC, O_PATH } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';

const { EACCES, ELOOP, ENOSPC, ENOTDIR, EPERM, EROFS, EXDEV, EINVAL, EISDIR } = constants.errno;
const { O_DIRECTORY } = fsConstants;
const CALLS = ['openat', 'openat2', 'renameat2', 'unlinkat', 'fstatat'] as const;

class Directory {
  readonly dir = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-rotation-')));
  readonly path = join(this.dir, 'log');

  constructor(test: Test) {
    test.teardown(() => rmSync(this.dir, { recursive: true, force: true }));
  }

  put(...names: readonly string[]): void {
    for (const name of names) writeFileSync(join(this.dir, name), `was ${name}`);
  }

  /** `name=content` of each file, `name` of an empty one. */
  get files(): readonly string[] {
    return readdirSync(this.dir)
      .toSorted()
      .map((name) => {
        const content = readFileSync(join(this.dir, name), 'latin1');
        return content === '' ? name : `${name}=${content}`;
      });
  }

  /** One attempt. @returns 0, or the errno */
  rotate(keepFiles: number, calls: Sys = sys): number {
    const fd = replacement(calls, this.path, { keepFiles }).advance();
    if (fd >= 0) closeSync(fd);
    return Math.min(fd, 0);
  }
}

/** The real calls, but the `failAt`th of them answers `errno`, without being made; or made, and then the thread dies. */
function failing(failAt: number, errno: number | 'dies after'): { calls: Sys; count: () => number } {
  let count = 0;
  const wrapped = Object.fromEntries(
    CALLS.map((name) => [
      name,
      (...values: readonly never[]) => {
        const call = sys[name] as (...values: readonly never[]) => number;
        if (count++ !== failAt) return call(...values);
        if (errno !== 'dies after') return -errno;
        call(...values);
        throw new Error('died');
      },
    ]),
  );
  return { calls: realSysBut(wrapped), count: () => count };
}

t.test('without rotation the file is replaced by an empty one', async (t) => {
  const d = new Directory(t);
  d.put('log', 'log.1', 'other');
  t.equal(d.rotate(0), 0);
  t.same(d.files, ['log', 'log.1=was log.1', 'other=was other']);
});

t.test('the new file is for appending, close-on-exec, with mode 0640', async (t) => {
  for (const keepFiles of [0, 1]) {
    const before = process.umask(0o022);
    const d = new Directory(t);
    const fd = replacement(sys, d.path, { keepFiles }).advance();
    process.umask(before);
    t.equal(statSync(d.path).mode & 0o7777, 0o640);
    t.ok(sys.fcntl(fd, F_GETFL, 0) & 0o2000, 'O_APPEND');
    t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
    sys.write(fd, Buffer.from('x'), 0, 1);
    t.equal(readFileSync(d.path, 'latin1'), 'x');
    closeSync(fd);
  }
});

t.test('with rotation older files move up, and as many are kept as asked for', async (t) => {
  const d = new Directory(t);
  for (let round = 1; round <= 6; round++) {
    writeFileSync(d.path, `round ${round}`);
    t.equal(d.rotate(3), 0);
    const kept = [1, 2, 3].filter((i) => round - i >= 0).map((i) => `log.${i}=round ${round + 1 - i}`);
    t.same(d.files, ['log', ...kept.filter((_, i) => i < round)]);
  }
  writeFileSync(d.path, 'last');
  t.equal(d.rotate(1), 0);
  t.same(d.files, ['log', 'log.1=last', 'log.2=round 5', 'log.3=round 4'], 'what lies beyond is nobody of ours');
});

t.test('a file that the engine has renamed away is made anew, and nothing moves', async (t) => {
  for (const keepFiles of [0, 3]) {
    const d = new Directory(t);
    d.put('log', 'log.1', 'log.2');
    renameSync(d.path, `${d.path}.20261125`);
    t.equal(d.rotate(keepFiles), 0);
    t.same(d.files, ['log', 'log.1=was log.1', 'log.2=was log.2', 'log.20261125=was log']);
  }
});

t.test('a file that is renamed away while it is being rotated is made anew too', async (t) => {
  const d = new Directory(t);
  d.put('log', 'log.1');
  const calls = realSysBut({
    renameat2: (from, a, to, b, flags) => {
      if (a === 'log') renameSync(d.path, `${d.path}.20261125`);
      return sys.renameat2(from, a, to, b, flags);
    },
  });
  t.equal(d.rotate(3, calls), 0);
  t.same(d.files, ['log', 'log.2=was log.1', 'log.20261125=was log']);
});

t.test('files move only as far as the first gap, and log.0 is nobody of ours', async (t) => {
  const d = new Directory(t);
  d.put('log', 'log.0', 'log.1', 'log.2', 'log.4');
  t.equal(d.rotate(5), 0);
  t.same(d.files, ['log', 'log.0=was log.0', 'log.1=was log', 'log.2=was log.1', 'log.3=was log.2', 'log.4=was log.4']);
});

t.test('nothing is removed but a leftover and the oldest file', async (t) => {
  for (const [files, keepFiles, leftover] of [
    [['log'], 0, 'log.tmp'],
    [['log', 'log.1'], 3, 'log.new'],
    [['log', 'log.1', 'log.2'], 2, 'log.new'],
  ] as const) {
    const d = new Directory(t);
    d.put(...files);
    const removed: string[] = [];
    const unlinkat: typeof sys.unlinkat = (directory, name, flags) => {
      removed.push(name);
      return sys.unlinkat(directory, name, flags);
    };
    t.equal(d.rotate(keepFiles, realSysBut({ unlinkat })), 0);
    t.same(removed, keepFiles === 2 ? [leftover, 'log.2'] : [leftover]);
  }
});

t.test('a directory is opened as a place alone, and no runtime that is started meanwhile inherits it', async (t) => {
  for (const keepFiles of [0, 1]) {
    const d = new Directory(t);
    const opened: number[] = [];
    const calls = realSysBut({
      openat: (at, path, flags, mode) => {
        if (path === d.dir) opened.push(flags);
        return sys.openat(at, path, flags, mode);
      },
      openat2: (at, path, flags, mode, resolve) => {
        if (path === d.dir) opened.push(flags);
        return sys.openat2(at, path, flags, mode, resolve);
      },
    });
    t.equal(d.rotate(keepFiles, calls), 0);
    t.same(opened, [O_PATH | O_DIRECTORY | O_CLOEXEC]);
  }
});

t.test('without rotation, too, the step that fails is what is told, and the old file stays', async (t) => {
  for (let step = 0; ; step++) {
    const d = new Directory(t);
    d.put('log');
    const { calls, count } = failing(step, EACCES);
    const result = d.rotate(0, calls);
    if (count() <= step) {
      t.ok(step >= 4, `${step} steps`);
      break;
    }
    t.equal(result, -EACCES, `step ${step}`);
    t.same(d.files, ['log=was log']);
  }
});

t.test('a step that fails loses nothing, and the next attempt does what is left', async (t) => {
  for (const errno of [EACCES, ENOSPC, EXDEV, EROFS])
    for (let step = 0; ; step++) {
      const d = new Directory(t);
      d.put('log', 'log.1', 'log.2');
      const { calls, count } = failing(step, errno);
      const result = d.rotate(3, calls);
      if (count() <= step) {
        t.ok(step >= 8, `${step} steps`);
        break;
      }
      const contents = d.files.map((file) => file.split('=')[1]).filter((content) => content !== undefined);
      t.same(contents.toSorted(), ['was log', 'was log.1', 'was log.2'], `step ${step}: nothing is lost`);
      t.equal(result, -errno, `step ${step} is what is told`);
      if (result < 0) t.equal(d.rotate(3), 0);
      t.same(d.files, ['log', 'log.1=was log', 'log.2=was log.1', 'log.3=was log.2'], `after step ${step}`);
    }
});

t.test('nothing is renamed over a file: the oldest one goes first', async (t) => {
  for (const keepFiles of [1, 3]) {
    const d = new Directory(t);
    d.put('log', 'log.1', 'log.2', 'log.3');
    const over: string[] = [];
    const renameat2: Sys['renameat2'] = (from, name, to, target, flags) => {
      if (d.files.some((file) => file.split('=')[0] === target)) over.push(target);
      return sys.renameat2(from, name, to, target, flags);
    };
    t.equal(d.rotate(keepFiles, realSysBut({ renameat2 })), 0);
    t.same(over, []);
    t.equal(readFileSync(`${d.path}.${keepFiles}`, 'latin1'), keepFiles === 1 ? 'was log' : 'was log.2');
  }
});

t.test('a thread that dies at any step leaves what the next one completes', async (t) => {
  for (let step = 0; ; step++) {
    const d = new Directory(t);
    d.put('log', 'log.1', 'log.2');
    const { calls, count } = failing(step, 'dies after');
    let died = false;
    try {
      d.rotate(3, calls);
    } catch {
      died = true;
    }
    if (!died) {
      t.ok(count() >= 8);
      break;
    }
    // After the last step the new file is in place, and is rotated as any file is.
    const complete = d.files[0] === 'log';
    if (!complete) t.equal(d.rotate(3), 0);
    t.same(d.files, ['log', 'log.1=was log', 'log.2=was log.1', 'log.3=was log.2'], `after step ${step}`);
  }
});

t.test('with the oldest giving way too, attempts that fail lose no other', async (t) => {
  for (let step = 0; ; step++) {
    const d = new Directory(t);
    d.put('log', 'log.1', 'log.2');
    const { calls, count } = failing(step, EACCES);
    const result = d.rotate(2, calls);
    if (count() <= step) break;
    if (result < 0) t.equal(d.rotate(2), 0);
    t.same(d.files, ['log', 'log.1=was log', 'log.2=was log.1'], `step ${step}`);
  }
});

t.test('a file system that cannot refuse to overwrite is worked with', async (t) => {
  const d = new Directory(t);
  d.put('log', 'log.1');
  const calls = realSysBut({
    renameat2: (from, a, to, b, flags) => (flags === 0 ? sys.renameat2(from, a, to, b, 0) : -EINVAL),
  });
  t.equal(d.rotate(3, calls), 0);
  t.same(d.files, ['log', 'log.1=was log', 'log.2=was log.1']);
});

t.test('a link where the new file is to be is not followed', async (t) => {
  for (const [keepFiles, name] of [
    [0, 'log.tmp'],
    [2, 'log.new'],
  ] as const) {
    const d = new Directory(t);
    d.put('victim', 'log');
    symlinkSync('victim', join(d.dir, name));
    t.equal(d.rotate(keepFiles), 0);
    t.equal(readFileSync(join(d.dir, 'victim'), 'latin1'), 'was victim');
    t.equal(readFileSync(d.path, 'latin1'), '');
  }
});

t.test('a link at the path is neither followed nor kept', async (t) => {
  const d = new Directory(t);
  d.put('victim');
  symlinkSync('victim', d.path);
  t.equal(d.rotate(2), -ELOOP);
  t.same(d.files, ['log=was victim', 'victim=was victim'], 'nothing was made');
});

t.test('a link in the directories is not followed', async (t) => {
  const d = new Directory(t);
  mkdirSync(join(d.dir, 'real'));
  symlinkSync('real', join(d.dir, 'link'));
  const fd = replacement(sys, join(d.dir, 'link/log'), { keepFiles: 1 }).advance();
  t.equal(fd, -ELOOP);
  t.same(readdirSync(join(d.dir, 'real')), []);
});

t.test('a directory that everybody can write is refused, also when it has become so', async (t) => {
  const d = new Directory(t);
  d.put('log');
  for (const mode of [0o777, 0o1777, 0o702]) {
    chmodSync(d.dir, mode);
    t.equal(d.rotate(1), -EPERM, mode.toString(8));
  }
  chmodSync(d.dir, 0o775);
  t.same(d.files, ['log=was log']);
  t.equal(d.rotate(1), 0);
});

t.test('a directory that was removed is found again when it is there again', async (t) => {
  for (const keepFiles of [0, 1]) {
    const d = new Directory(t);
    const path = join(d.dir, 'sub/log');
    const way = replacement(sys, path, { keepFiles });
    t.equal(way.advance(), -constants.errno.ENOENT);
    writeFileSync(join(d.dir, 'sub'), '');
    t.equal(way.advance(), -ENOTDIR);
    rmSync(join(d.dir, 'sub'));
    mkdirSync(join(d.dir, 'sub'));
    const fd = way.advance();
    t.ok(fd >= 0);
    closeSync(fd);
    t.same(readdirSync(join(d.dir, 'sub')), ['log']);
  }
});

t.test('something in the way that is no file is told, not removed', async (t) => {
  const d = new Directory(t);
  d.put('log');
  mkdirSync(join(d.dir, 'log.new'));
  t.equal(d.rotate(1), -EISDIR);
  rmSync(join(d.dir, 'log.new'), { recursive: true });
  t.same(d.files, ['log=was log']);
});

t.test(`no fd stays open, whatever fails, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const d = new Directory(t);
  const before = readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 300; i++) {
    writeFileSync(d.path, String(i));
    truncateSync(d.path, random.below(2) * LARGE_FILE_BYTES);
    const { calls } = failing(random.below(14), random.pick([EACCES, ENOSPC, EROFS]));
    d.rotate(random.below(4), calls);
  }
  sys.awaitClose(60_000);
  t.equal(readdirSync('/proc/self/fd').length, before);
  t.notOk(readdirSync(d.dir).some((name) => name.endsWith('.tmp') && statSync(join(d.dir, name)).size > 0));
});
