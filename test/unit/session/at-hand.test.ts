/** Whether a path can be opened without waiting: by the kernel's cache, then by the kind of file system. */
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EAGAIN, EINVAL, ENOENT, RESOLVE_CACHED } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { isAtHand, isPlaceAtHand, Mounts } from '../../../src/session/at-hand.ts';
import { realSysBut } from '../native/fake-sys.ts';

const ENOSYS = -38;
const EOPNOTSUPP = -95;

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'conmon-at-hand-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test('what is on a disk of this machine is at hand: there, not there yet, a link', async (t) => {
  const dir = directory(t);
  writeFileSync(join(dir, 'log'), '');
  symlinkSync('/nowhere', join(dir, 'link'));
  mkdirSync(join(dir, 'directory'));
  for (const name of ['log', 'link', 'directory', '.', 'new']) t.equal(isAtHand(sys, join(dir, name)), true, name);
  t.equal(isAtHand(sys, '/'), true);
});

t.test('every look-up of a path is one that the cache must answer, and no fd stays', async (t) => {
  const dir = directory(t);
  const before = readdirSync('/proc/self/fd').length;
  const resolves: number[] = [];
  const openat2: typeof sys.openat2 = (dirFd, path, flags, mode, resolve) => {
    if (path.includes('/')) resolves.push(resolve); // a name in a directory of this machine waits for nobody
    return sys.openat2(dirFd, path, flags, mode, resolve);
  };
  const opened = realSysBut({ openat2 });
  t.equal(isAtHand(opened, join(dir, 'new')), true);
  t.equal(isAtHand(opened, dir), true);
  t.ok(resolves.length >= 2 && resolves.every((resolve) => resolve === RESOLVE_CACHED));
  t.equal(readdirSync('/proc/self/fd').length, before);
});

t.test(
  'what the cache does not know is judged by its directory: gone from the cache, or a file system of elsewhere',
  async (t) => {
    const answers = (file: number, inDirectory: () => number) =>
      realSysBut({ openat2: (_dirFd, path) => (path.endsWith('/file') ? file : inDirectory()) });
    t.equal(
      isAtHand(
        answers(EAGAIN, () => EAGAIN),
        '/a/file',
      ),
      false,
    );
    t.equal(
      isAtHand(
        answers(EAGAIN, () => ENOENT),
        '/a/file',
      ),
      true,
      'that shows without a wait',
    );
    const proc = (): number => sys.openat2(-100, '/proc', 0o10000000, 0, 0);
    t.equal(isAtHand(answers(EAGAIN, proc), '/a/file'), false, 'procfs stands for what is not on the list');
    const root = (): number => sys.openat2(-100, directory(t), 0o10000000, 0, 0);
    t.equal(isAtHand(answers(EAGAIN, root), '/a/file'), true);
  },
);

t.test('somebody who mounts elsewhere during a look-up makes no path one that has to be waited for', async (t) => {
  const dir = directory(t);
  writeFileSync(join(dir, 'file'), '');
  for (const disturbed of [1, 2, 5]) {
    let left = disturbed;
    const openat2: typeof sys.openat2 = (dirFd, path, flags, mode, resolve) =>
      resolve === RESOLVE_CACHED && left-- > 0 ? EAGAIN : sys.openat2(dirFd, path, flags, mode, resolve);
    const fake = realSysBut({ openat2 });
    t.equal(isAtHand(fake, join(dir, 'new')), true, `${disturbed} look-ups`);
    left = disturbed;
    t.equal(isPlaceAtHand(fake, dir), true, `${disturbed} look-ups at a place`);
    left = disturbed;
    t.equal(isPlaceAtHand(fake, '/proc/self'), false, 'which says nothing of whose file system it is');
  }
});

t.test('a kernel that cannot be asked is taken at its word', async (t) => {
  for (const answer of [EINVAL, ENOSYS]) t.equal(isAtHand(realSysBut({ openat2: () => answer }), '/a/file'), true);
});

t.test(
  'of a place where files are made it counts whose file system it is, however well known the place itself',
  async (t) => {
    const dir = directory(t);
    t.equal(isPlaceAtHand(sys, dir), true);
    t.equal(isPlaceAtHand(sys, join(dir, 'new')), true, 'not there yet');
    t.equal(isPlaceAtHand(sys, '/proc'), false, 'procfs stands for what is not on the list');
    symlinkSync('/proc', join(dir, 'link'));
    t.equal(isPlaceAtHand(sys, join(dir, 'link')), false, 'where a link leads to is what counts');
    t.equal(isPlaceAtHand(realSysBut({ openat2: () => EAGAIN }), dir), false);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 10; i++) isPlaceAtHand(sys, '/proc');
    t.equal(readdirSync('/proc/self/fd').length, before, 'no fd stays');
  },
);

t.test('a link that the cache does not follow is where it leads to, however many there are', async (t) => {
  const dir = directory(t);
  writeFileSync(join(dir, 'file'), '');
  mkdirSync(join(dir, 'directory'));
  symlinkSync('/proc', join(dir, 'elsewhere'));
  symlinkSync('elsewhere', join(dir, 'second'));
  symlinkSync('directory/../file', join(dir, 'here'));
  symlinkSync('round', join(dir, 'round'));
  // Of links the cache knows nothing, and of the file behind them.
  const openat2: typeof sys.openat2 = (dirFd, path, flags, mode, resolve) => {
    const known = path === dir || path === '/' || path.endsWith('/directory/..');
    return resolve === RESOLVE_CACHED && !known && path !== '/proc'
      ? EAGAIN
      : sys.openat2(dirFd, path, flags, mode, resolve);
  };
  const fake = realSysBut({ openat2 });
  const before = readdirSync('/proc/self/fd').length;
  for (const name of ['elsewhere', 'second', 'round']) t.equal(isPlaceAtHand(fake, join(dir, name)), false, name);
  t.equal(isAtHand(fake, join(dir, 'round')), false);
  for (const name of ['here', 'file', 'new']) {
    t.equal(isAtHand(fake, join(dir, name)), true, name);
    t.equal(isPlaceAtHand(fake, join(dir, name)), true, name);
  }
  t.equal(readdirSync('/proc/self/fd').length, before, 'no fd stays');
});

t.test(
  'eight links one behind the other are followed, and no more: not those either that lead to themselves',
  async (t) => {
    const dir = directory(t);
    writeFileSync(join(dir, '0'), '');
    mkdirSync(join(dir, 'place0'));
    for (let links = 1; links <= 9; links++) {
      symlinkSync(`${links - 1}`, join(dir, `${links}`));
      symlinkSync(`place${links - 1}`, join(dir, `place${links}`));
    }
    symlinkSync('round', join(dir, 'round'));
    let looks = 0;
    const openat2: typeof sys.openat2 = (dirFd, path, flags, mode, resolve) => {
      if (resolve !== RESOLVE_CACHED || path === dir) return sys.openat2(dirFd, path, flags, mode, resolve);
      looks++;
      return EAGAIN;
    };
    const fake = realSysBut({ openat2 });
    for (const [links, followed] of [
      [1, true],
      [8, true],
      [9, false],
    ] as const) {
      t.equal(isAtHand(fake, join(dir, `${links}`)), followed, `${links} to a file`);
      t.equal(isPlaceAtHand(fake, join(dir, `place${links}`)), followed, `${links} to a place`);
    }
    for (const is of [isAtHand, isPlaceAtHand]) {
      looks = 0;
      t.equal(is(fake, join(dir, 'round')), false);
      t.equal(looks, 9, 'the link itself, and what eight lead to');
    }
  },
);

t.test('a link at the end is followed by the cache alone', async (t) => {
  const flags: number[] = [];
  const openat2: typeof sys.openat2 = (dirFd, path, how, mode, resolve) => {
    flags.push(how);
    return sys.openat2(dirFd, path, how, mode, resolve);
  };
  const dir = directory(t);
  symlinkSync(dir, join(dir, 'link'));
  t.equal(isAtHand(realSysBut({ openat2 }), join(dir, 'link')), true);
  t.ok(
    flags.every((how) => (how & constants.O_NOFOLLOW) === 0),
    'or main would follow it where nobody has looked',
  );
});

t.test('the type of a mount is asked for once, and a number is never taken for another mount', async (t) => {
  const dir = directory(t);
  const fds = [dir, '/proc', join(dir, '.')].map((path) => openSync(path, constants.O_RDONLY));
  t.teardown(() => fds.forEach(closeSync));
  const [here = -1, proc = -1, again = -1] = fds;
  const mounts = new Mounts();
  const type = mounts.typeAt(sys, here);
  t.equal(mounts.typeAt(sys, proc), 'proc');
  t.equal(mounts.typeAt(sys, again), type);
  if (sys.mountId(here) > 0) {
    t.equal(sys.mountId(again), sys.mountId(here));
    t.not(sys.mountId(proc), sys.mountId(here));
    t.equal(mounts.typeAt(realSysBut({ mountId: () => sys.mountId(proc) }), here), 'proc', 'what was asked is known');
  } else t.equal(sys.mountId(here), EOPNOTSUPP, 'Linux before 6.8');
  const unnumbered = realSysBut({ mountId: () => EOPNOTSUPP });
  for (const [fd, name] of [
    [proc, 'proc'],
    [here, type],
    [proc, 'proc'],
  ] as const)
    t.equal(mounts.typeAt(unnumbered, fd), name, 'without numbers each is asked for');
});

t.test('a mount that was in no table is looked for again: it may have been put into one since', async (t) => {
  const fds = [openSync('/proc', constants.O_RDONLY), sys.eventfd(0, 0)];
  t.teardown(() => fds.forEach(closeSync));
  const [proc = -1, nowhere = -1] = fds;
  const mounts = new Mounts();
  const numbered = realSysBut({ mountId: () => 7 });
  t.equal(mounts.typeAt(numbered, nowhere), '', 'an eventfd is on no mount that anybody sees');
  t.equal(mounts.typeAt(numbered, proc), 'proc');
  t.equal(mounts.typeAt(numbered, nowhere), 'proc', 'which is known from then on');
});
