/** Attach socket, fifos and symlink: how they are made, replaced and removed. */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  F_GETFD,
  F_GETFL,
  FD_CLOEXEC,
  O_NONBLOCK,
  POLLIN,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { AttachFiles } from '../../../src/session/attach-files.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { inChild } from '../native/in-child.ts';
import { options } from './options.ts';

const ENOSPC = -28;
const EMFILE = -24;

/** A bundle and a socket directory, and the files made in them. */
function place(t: Test) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-attach-')));
  const [bundle, socketDir] = [join(root, 'bundle'), join(root, 'sock')];
  mkdirSync(bundle);
  mkdirSync(socketDir);
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const made: AttachFiles[] = [];
  const make = (changes: Parameters<typeof options>[0] = {}, with_: Sys = sys): AttachFiles => {
    const files = new AttachFiles(with_, options({ bundle, socketDirPath: socketDir, cuuid: 'cuuid', ...changes }));
    made.push(files);
    return files;
  };
  t.teardown(() => {
    for (const { listenFd, ctlFd, winszFd } of made) for (const fd of [listenFd, ctlFd, winszFd]) sys.close(fd);
  });
  return { root, bundle, socketDir, link: join(socketDir, 'cuuid'), make };
}

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8);

function connect(path: string, type = SOCK_SEQPACKET): number {
  const fd = sys.socket(type | SOCK_CLOEXEC);
  const result = sys.connect(fd, path);
  sys.close(fd);
  return result;
}

t.test('socket 0700, fifos 0660, whatever the umask', async (t) => {
  for (const mask of [0, 0o022, 0o777]) {
    const { bundle, make } = place(t);
    const umask = process.umask(mask);
    try {
      make();
    } finally {
      process.umask(umask);
    }
    t.equal(statSync(join(bundle, 'attach')).isSocket(), true);
    if (mask === 0o777) continue; // a socket without modes is no use, and conmon's own umask is 0022
    t.equal(modeOf(join(bundle, 'attach')), '700');
    for (const name of ['ctl', 'winsz']) {
      t.equal(statSync(join(bundle, name)).isFIFO(), true);
      t.equal(modeOf(join(bundle, name)), '660');
    }
  }
});

t.test('the socket takes SOCK_SEQPACKET clients, at the bundle and through the symlink', async (t) => {
  const { bundle, link, make } = place(t);
  make();
  t.equal(readlinkSync(link), bundle);
  t.equal(connect(join(bundle, 'attach')), 0);
  t.equal(connect(join(link, 'attach')), 0);
  t.ok(connect(join(bundle, 'attach'), SOCK_STREAM) < 0);
});

t.test('all fds are close-on-exec and non-blocking', async (t) => {
  const { listenFd, ctlFd, winszFd } = place(t).make();
  for (const fd of [listenFd, ctlFd, winszFd]) {
    t.equal(sys.fcntl(fd, F_GETFD, 0) & FD_CLOEXEC, FD_CLOEXEC);
    t.equal(sys.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, O_NONBLOCK);
  }
});

t.test('a fifo without writers reports nothing', async (t) => {
  const { bundle, make } = place(t);
  const { ctlFd } = make();
  const quiet = () => sys.poll(Int32Array.of(ctlFd, POLLIN), 1, 0) === 0;
  t.equal(quiet(), true);
  closeSync(openSync(join(bundle, 'ctl'), constants.O_WRONLY));
  t.equal(quiet(), true, 'also after one has left');
});

t.test('old files are replaced; a symlink in their place is not followed', async (t) => {
  const { root, bundle, link, make } = place(t);
  const victim = join(root, 'victim');
  writeFileSync(victim, 'precious');
  chmodSync(victim, 0o600);
  for (const name of ['attach', 'ctl', 'winsz']) symlinkSync(victim, join(bundle, name));
  symlinkSync('/nowhere', link);
  make();
  for (const name of ['attach', 'ctl', 'winsz']) t.equal(lstatSync(join(bundle, name)).isSymbolicLink(), false);
  t.equal(lstatSync(victim).size, 'precious'.length);
  t.equal(modeOf(victim), '600');
  t.equal(readlinkSync(link), bundle);
  make();
  t.equal(connect(join(bundle, 'attach')), 0, 'and once more, over our own');
});

t.test('with --full-attach there is no symlink, and an old one stays', async (t) => {
  const { bundle, link, make } = place(t);
  symlinkSync('/elsewhere', link);
  const files = make({ fullAttach: true });
  t.equal(readlinkSync(link), '/elsewhere');
  t.equal(connect(join(bundle, 'attach')), 0);
  files.removeSocket();
  t.equal(readlinkSync(link), '/elsewhere');
});

t.test('a symlink of exactly 107 bytes is cut by one', async (t) => {
  for (const length of [105, 106, 107, 108, 109]) {
    const { socketDir, bundle, make } = place(t);
    const cuuid = 'c'.repeat(length - socketDir.length - 1);
    const files = make({ cuuid });
    const name = length === 107 ? cuuid.slice(1) : cuuid;
    t.same(readdirSync(socketDir), [name], `${length} bytes`);
    t.equal(readlinkSync(join(socketDir, name)), bundle);
    files.removeSocket();
    t.same(readdirSync(socketDir), []);
  }
});

t.test('a bundle may be deeper than any socket address is long', async (t) => {
  const { root, socketDir, make } = place(t);
  const bundle = join(root, ...new Array<string>(15).fill('d'.repeat(240)));
  mkdirSync(bundle, { recursive: true });
  make({ bundle });
  t.equal(statSync(join(bundle, 'attach')).isSocket(), true, `${bundle.length} bytes`);
  t.equal(connect(join(socketDir, 'cuuid', 'attach')), 0);
});

t.test('at the end socket and symlink go, the fifos stay; remove takes all', async (t) => {
  const { bundle, socketDir, make } = place(t);
  const files = make();
  files.removeSocket();
  t.same(readdirSync(socketDir), []);
  t.same(readdirSync(bundle).toSorted(), ['ctl', 'winsz']);
  files.remove();
  t.same(readdirSync(bundle), []);
  files.remove();
});

t.test('what a later conmon has made under the same paths stays', async (t) => {
  const { bundle, link, make } = place(t);
  const first = make();
  const second = make();
  first.closeSocket();
  first.removeSocket();
  t.equal(connect(join(link, 'attach')), 0, 'found and served');
  first.remove();
  t.same(readdirSync(bundle).toSorted(), ['attach', 'ctl', 'winsz']);
  t.equal(connect(join(link, 'attach')), 0);
  second.remove();
  t.same(readdirSync(bundle), []);
  t.notOk(existsSync(link));
  // A symlink's inode number may be another's at once, in ext4: it is told by its time too.
  const third = make();
  const { ino } = lstatSync(link);
  for (let i = 0; i < 50; i++) {
    rmSync(link);
    symlinkSync(bundle, link);
    if (lstatSync(link).ino === ino) break;
  }
  third.removeSocket();
  t.ok(lstatSync(link).isSymbolicLink());
});

t.test('what cannot be made is named, and nothing of it is left', async (t) => {
  const cases: [string, (p: ReturnType<typeof place>) => void, RegExp][] = [
    ['no socket directory', ({ socketDir }) => rmSync(socketDir, { recursive: true }), /create symlink .*No such file/],
    ['a directory at the symlink’s place', ({ link }) => mkdirSync(link), /create symlink .*File exists/],
    [
      'a directory at the socket’s place',
      ({ bundle }) => mkdirSync(join(bundle, 'attach/x'), { recursive: true }),
      /attach socket .*in use/,
    ],
    [
      'a directory at ctl’s place',
      ({ bundle }) => mkdirSync(join(bundle, 'ctl/x'), { recursive: true }),
      /mkfifo at .*ctl: File exists/,
    ],
    ['no bundle', ({ bundle }) => rmSync(bundle, { recursive: true }), /bundle/],
  ];
  for (const [name, spoil, message] of cases) {
    const p = place(t);
    spoil(p);
    t.throws(() => p.make(), { message }, name);
    const left = existsSync(p.bundle)
      ? readdirSync(p.bundle).filter((file) => !lstatSync(join(p.bundle, file)).isDirectory())
      : [];
    t.same(left, [], name);
    if (existsSync(p.socketDir))
      t.same(
        readdirSync(p.socketDir).filter((file) => file !== 'cuuid' || !statSync(join(p.socketDir, file)).isDirectory()),
        [],
        name,
      );
  }
});

t.test('calls that fail are told with their reason, and nothing is left', async (t) => {
  const cases: [Partial<Sys>, RegExp][] = [
    [{ mkfifo: () => ENOSPC }, /mkfifo at .*ctl: No space left on device/],
    [{ socket: () => EMFILE }, /attach socket.* Too many open files/],
    [{ bind: () => ENOSPC }, /attach socket .*bundle\/attach: No space left on device/],
    [{ listen: () => EMFILE }, /attach socket .*bundle\/attach: Too many open files/],
  ];
  for (const [calls, message] of cases) {
    const { bundle, socketDir, make } = place(t);
    t.throws(() => make({}, realSysBut(calls)), { code: 'ATTACH', message });
    t.same([...readdirSync(bundle), ...readdirSync(socketDir)], []);
  }
});

t.test('a fifo that somebody swaps for something else is refused', async (t) => {
  const { root, make } = place(t);
  const victim = join(root, 'victim');
  writeFileSync(victim, 'precious', { mode: 0o600 });
  const swaps: ((path: string) => void)[] = [(path) => symlinkSync(victim, path), (path) => writeFileSync(path, 'x')];
  for (const swap of swaps) {
    const mkfifo = (path: string) => {
      swap(path);
      return 0;
    };
    t.throws(() => make({}, realSysBut({ mkfifo })));
    t.equal(fstatSync(openSync(victim, 'r')).size, 'precious'.length);
    t.equal(modeOf(victim), '600');
  }
});

/** What a process of its own finds out that makes the files of `place` and runs `script` with them; see `stdinScript`. */
async function asStdin(t: Test, script: string): Promise<unknown> {
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const { bundle, socketDir } = place(t);
  const child = await inChild(`
    import { closeSync, openSync, readlinkSync } from 'node:fs';
    const { AttachFiles } = await import(${url('../../../src/session/attach-files.ts')});
    const { options } = await import(${url('./options.ts')});
    const nameOf = (fd) => readlinkSync('/proc/self/fd/' + fd).replace(/\\[.*/, '');
    const nothing = openSync('/dev/null', 'w');
    const make = (sys) =>
      new AttachFiles(sys, options(${JSON.stringify({ bundle, socketDirPath: socketDir, cuuid: 'cuuid' })}));
    const connects = () => {
      const fd = sys.socket(5 | 0o2000000);
      const result = sys.connect(fd, ${JSON.stringify(`${bundle}/attach`)});
      closeSync(fd);
      return result;
    };
    const found = {};
    ${script}
    sys.write(2, Buffer.from(JSON.stringify(found)), 0, JSON.stringify(found).length);`);
  t.equal(child.status, 0, child.stderr);
  return JSON.parse(child.stderr);
}

t.test('the attach socket becomes stdin, with no other fd; when it is closed /dev/null is there', async (t) => {
  const found = await asStdin(
    t,
    `const files = make(sys);
    const before = files.listenFd;
    sys.dup3(nothing, 1, 0);
    found.became = files.becomeStdin();
    found.listenFd = files.listenFd;
    found.stdin = nameOf(0);
    found.flags = sys.fcntl(0, 1, 0);
    found.beforeIsFree = sys.fcntl(before, 1, 0) < 0;
    found.connects = connects();
    found.readsNothing = sys.read(0, new Uint8Array(8), 0, 8) < 0;
    files.closeSocket();
    files.closeSocket();
    found.stdinThen = nameOf(0);
    found.nextIsStdin = openSync('/dev/zero', 'r') === 0;
    found.connectsThen = connects() < 0;`,
  );
  t.strictSame(found, {
    became: true,
    listenFd: 0,
    stdin: 'socket:',
    flags: FD_CLOEXEC,
    beforeIsFree: true,
    connects: 0,
    readsNothing: true,
    stdinThen: '/dev/null',
    nextIsStdin: false,
    connectsThen: true,
  });
});

t.test('where it cannot become stdin it stays what it is', async (t) => {
  const found = await asStdin(
    t,
    `const files = make({ ...sys, dup3: () => -16 });
    const before = files.listenFd;
    found.became = files.becomeStdin();
    found.same = files.listenFd === before;
    found.connects = connects();`,
  );
  t.strictSame(found, { became: false, same: true, connects: 0 });
});
