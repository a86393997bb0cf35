/** What a process that we spawn is given: exactly what was asked for, whatever our own process looks like. */
import { spawn as spawnProcess } from 'node:child_process';
import {
  chmodSync,
  constants as files,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { F_GETFD, FD_CLOEXEC, O_CLOEXEC, WNOHANG } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { isRunning, processInfo } from '../../helpers/proc.ts';
import { waitFor, within } from '../../helpers/wait.ts';
import { pipe } from './fake-sys.ts';
import { block, ended, report, spec, start } from './report.ts';

const { EACCES, EBADF, ECHILD, EINVAL, ENOENT, ENOEXEC, ENOTDIR, EPERM } = constants.errno;
const { SIGKILL, SIGTERM } = constants.signals;
const { O_DIRECTORY, O_RDONLY } = files;
const HIGH_FD = 700;

const dir = mkdtempSync(join(tmpdir(), 'conmon-spawn-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

const noChildIsLeft = () => sys.waitpid(-1, WNOHANG, new Int32Array(1)) === -ECHILD;

t.test('arguments and environment arrive as they are', async (t) => {
  const { report: said, pid } = await report([], {
    argv: block('other name', '', 'two words', 'line\nbreak', '\xff\xfe'),
    envp: block('A=1', 'EMPTY=', 'no equals sign', 'A=2', '=odd', 'B=\x80'),
  });
  t.same(said.all('arg'), ['other name', '', 'two words', 'line\\x0abreak', '\\xff\\xfe']);
  t.same(said.all('env'), ['A=1', 'EMPTY=', 'no equals sign', 'A=2', '=odd', 'B=\\x80']);
  t.equal(said.number('pid'), pid);
  t.equal(said.number('ppid'), process.pid);
});

t.test('an empty environment is empty', async (t) => {
  t.same((await report()).report.all('env'), []);
});

t.test('nothing but the mapped and kept fds is open in the child', async (t) => {
  const plain = pipe(0);
  const closing = pipe(O_CLOEXEC);
  for (const fd of [HIGH_FD, HIGH_FD + 1, HIGH_FD + 7]) sys.dup3(plain.readFd, fd, 0);
  t.same([...(await report()).report.fds.keys()], [0, 1, 2]);
  const keep = [closing.readFd, closing.writeFd, HIGH_FD + 1, HIGH_FD + 7].toSorted((a, b) => a - b);
  const { report: said } = await report([], { keepFds: Int32Array.from(keep) });
  t.same([...said.fds.keys()], [0, 1, 2, ...keep]);
  for (const fd of keep) t.match(said.fds.get(fd), /^pipe:/);
  t.same(
    said.all('fd').filter((line) => line.split(' ')[1] !== '0'),
    [],
    'none of them closes at the next exec',
  );
  t.equal(sys.fcntl(closing.readFd, F_GETFD, 0), FD_CLOEXEC, 'ours is as it was');
  for (const fd of [HIGH_FD, HIGH_FD + 1, HIGH_FD + 7]) sys.close(fd);
  for (const { readFd, writeFd } of [plain, closing]) {
    sys.close(readFd);
    sys.close(writeFd);
  }
});

t.test('keeping an fd that is not open keeps nothing', async (t) => {
  const { report: said } = await report([], { keepFds: Int32Array.of(HIGH_FD, HIGH_FD + 5) });
  t.same([...said.fds.keys()], [0, 1, 2]);
});

t.test('the same fd may be mapped to several numbers', async (t) => {
  const out = pipe(O_CLOEXEC);
  const { report: said } = await report([], { fdMap: Int32Array.of(0, 0, 1, out.writeFd, 2, out.writeFd) }).catch(
    () => ({ report: undefined }),
  );
  t.notOk(said?.all('pid').length, 'the report went elsewhere');
  const bytes = Buffer.alloc(8192);
  const text = bytes.toString('latin1', 0, sys.read(out.readFd, bytes, 0, 8192));
  const targets = text.split('\n').filter((line) => /^fd [12] /.test(line));
  t.equal(targets.length, 2);
  t.equal(targets[0]?.split(' ').at(-1), targets[1]?.split(' ').at(-1));
  sys.close(out.readFd);
  sys.close(out.writeFd);
});

t.test('no signal is blocked, ignored or caught, whatever we do with ours', async (t) => {
  const listener = () => {};
  process.on('SIGUSR1', listener);
  process.on('SIGCHLD', listener);
  t.teardown(() => process.off('SIGUSR1', listener).off('SIGCHLD', listener));
  const own = readFileSync('/proc/self/status', 'latin1');
  t.notMatch(own, /SigIgn:\s+0{16}/, 'Node ignores SIGPIPE');
  const { report: said } = await report();
  for (const name of ['SigBlk', 'SigIgn', 'SigCgt']) t.equal(said.one(name), '0'.repeat(16), name);
  t.match(readFileSync('/proc/self/status', 'latin1'), /SigBlk:\s+0{16}/, 'ours are unblocked again');
});

t.test('the child asks for its death signal', async (t) => {
  t.equal((await report([], { deathSignal: SIGKILL })).report.number('pdeathsig'), SIGKILL);
  t.equal((await report([], { deathSignal: SIGTERM })).report.number('pdeathsig'), SIGTERM);
  t.equal((await report()).report.number('pdeathsig'), 0);
});

t.test('a child with SIGKILL as death signal does not outlive a parent that is killed', async (t) => {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const code = `import { start } from ${url('./report.ts')};
    for (const deathSignal of [${SIGKILL}, 0]) console.log(start(['pause'], { deathSignal }));
    setInterval(() => {}, 1000);`;
  const parent = spawnProcess(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pids: number[] = [];
  // Node must reap it before another test waits for any child.
  const gone = new Promise((resolve) => parent.once('exit', resolve));
  t.teardown(async () => {
    parent.kill('SIGKILL');
    for (const pid of pids) sys.kill(pid, SIGKILL);
    await gone;
  });
  const lines = createInterface({ input: parent.stdout });
  const both = (async () => {
    for await (const line of lines) if (pids.push(Number(line)) === 2) return;
  })();
  await within('two children', both);
  t.same(pids.map(isRunning), [true, true]);
  parent.kill('SIGKILL');
  await waitFor('the first child to die', () => !isRunning(pids[0] ?? -1));
  t.equal(isRunning(pids[1] ?? -1), true, 'the one without a death signal lives on');
});

t.test("RLIMIT_NOFILE is the caller's, not the one that Node has raised", async (t) => {
  const own = /Max open files\s+(\d+)\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  t.equal((await report([], { nofileSoft: 64, nofileHard: 128 })).report.one('nofile'), '64:128');
  t.equal((await report([], { nofileSoft: 0, nofileHard: 128 })).report.one('nofile'), '0:128');
  t.equal((await report([], { nofileSoft: 0, nofileHard: 0 })).report.one('nofile'), `${own[1]}:${own[2]}`);
  t.equal(sys.spawn(spec([], { nofileSoft: 2, nofileHard: 1 })), -EINVAL, 'soft above hard');
  t.equal(sys.spawn(spec([], { nofileSoft: -1, nofileHard: -1 })), -EPERM, 'the kernel knows no unlimited one');
  t.ok(noChildIsLeft());
});

t.test('kept fds above a lower limit stay open', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  sys.dup3(readFd, HIGH_FD, O_CLOEXEC);
  const { report: said } = await report([], { keepFds: Int32Array.of(HIGH_FD), nofileSoft: 64, nofileHard: 128 });
  t.ok(said.fds.has(HIGH_FD));
  for (const fd of [HIGH_FD, readFd, writeFd]) sys.close(fd);
});

t.test('the pid is written into the slot, and the other entries are whole', async (t) => {
  const envp = block('A=1', `LISTEN_PID=${'0'.repeat(12)}`, 'B=2');
  const { report: said, pid } = await report([], { envp, listenPidOffset: 'A=1\0LISTEN_PID='.length });
  t.same(said.all('env'), ['A=1', `LISTEN_PID=${pid}`, 'B=2']);
  const last = block(`LISTEN_PID=${'0'.repeat(12)}`);
  t.equal(sys.spawn(spec([], { envp: last, listenPidOffset: 13 })), -EINVAL, 'a slot that is too short');
  const alone = await report([], { envp: last, listenPidOffset: 11 });
  t.same(alone.report.all('env'), [`LISTEN_PID=${alone.pid}`]);
});

t.test("the oom score is the child's alone, and best effort", async (t) => {
  const own = readFileSync('/proc/self/oom_score_adj', 'latin1').trim();
  t.equal((await report([], { oomScoreAdj: '777' })).report.one('oom'), '777');
  t.equal((await report()).report.one('oom'), own);
  for (const nonsense of ['x', '99999', ' '])
    t.equal((await report([], { oomScoreAdj: nonsense })).report.one('oom'), own, JSON.stringify(nonsense));
  t.equal(readFileSync('/proc/self/oom_score_adj', 'latin1').trim(), own);
});

t.test("the child's working directory is the one asked for, ours stays", async (t) => {
  const before = process.cwd();
  const cwdFd = openSync(dir, 'r');
  t.equal((await report([], { cwdFd })).report.one('cwd'), dir);
  t.equal((await report()).report.one('cwd'), before);
  t.equal((await report([], { cwdFd: -1 })).report.one('cwd'), before);
  t.equal(process.cwd(), before);
  sys.close(cwdFd);
  const file = openSync('/dev/null', 'r');
  t.equal(sys.spawn(spec([], { cwdFd: file })), -ENOTDIR);
  sys.close(file);
  t.equal(sys.spawn(spec([], { cwdFd: HIGH_FD })), -EBADF);
  t.ok(noChildIsLeft());
});

t.test('what cannot be executed is an errno and no zombie', async (t) => {
  const file = (name: string, text: string, mode: number) => {
    writeFileSync(join(dir, name), text);
    chmodSync(join(dir, name), mode);
    return join(dir, name);
  };
  const plain = file('plain', '#!/bin/sh\n', 0o644);
  const cases: readonly (readonly [string, number])[] = [
    [join(dir, 'missing'), ENOENT],
    [dir, EACCES],
    [plain, EACCES],
    [`${plain}/x`, ENOTDIR],
    [file('empty', '', 0o755), ENOEXEC],
    [file('orphaned', '#!/no/such/interpreter\n', 0o755), ENOENT],
    ['', ENOENT],
  ];
  for (const [path, errno] of cases) t.equal(sys.spawn(spec([], { path })), -errno, path);
  t.equal(sys.spawn(spec([], { path: `${plain}\0x` })), -EINVAL);
  t.equal(sys.spawn(spec([], { fdMap: Int32Array.of(0, HIGH_FD) })), -EBADF, 'a mapped fd that is closed');
  t.equal(sys.spawn(spec([], { deathSignal: 999 })), -EINVAL);
  t.ok(noChildIsLeft());
});

t.test('blocks that do not end with a NUL are refused', async (t) => {
  t.equal(sys.spawn(spec([], { argv: Buffer.alloc(0) })), -EINVAL, 'no argv[0]');
  t.equal(sys.spawn(spec([], { argv: Buffer.from('report') })), -EINVAL);
  t.equal(sys.spawn(spec([], { envp: Buffer.from('A=1') })), -EINVAL);
  t.equal(sys.spawn(spec([], { fdMap: Int32Array.of(1) })), -EINVAL, 'half a pair');
  t.ok(noChildIsLeft());
});

t.test('fds go to their numbers in whatever order, also where another one of the map lies', async (t) => {
  const [a, b] = [pipe(O_CLOEXEC), pipe(O_CLOEXEC)];
  const names = [a.readFd, b.readFd].map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
  const [low, high] = [HIGH_FD, HIGH_FD + 1];
  sys.dup3(a.readFd, low, O_CLOEXEC);
  sys.dup3(b.readFd, high, O_CLOEXEC);
  const { report: said } = await report([], { mapMore: [low, high, high, low], keepFds: Int32Array.of(low, high) });
  t.same([...said.fds.keys()], [0, 1, 2, low, high]);
  t.same([said.fds.get(low), said.fds.get(high)], names.toReversed(), 'they have changed places');
  for (const fd of [low, high]) t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC, 'ours stay');
  for (const fd of [low, high, a.readFd, a.writeFd, b.readFd, b.writeFd]) sys.close(fd);
});

t.test('a child leads a session and a group of its own when it is asked to', async (t) => {
  for (const newSession of [true, false]) {
    const pid = start(['nap=10000'], { newSession });

    const info = processInfo(pid);
    t.equal(info?.sid === pid && info.pgid === pid, newSession);
    sys.kill(pid, SIGKILL);
    sys.waitpid(pid, 0, new Int32Array(1));
  }
});

const cgroup2 = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/self/mounts', 'latin1'))?.[1];
if (cgroup2 !== undefined && process.getuid?.() === 0)
  t.test('a child is born in the cgroup that it is given', async (t) => {
    const path = join(cgroup2, `conmon-spawn-${process.pid}`);
    mkdirSync(path);
    t.teardown(() => rmdirSync(path));
    const fd = openSync(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const pid = start(['nap=10000'], { cgroupFd: fd });
    t.equal(readFileSync(join(path, 'cgroup.procs'), 'latin1').trim(), String(pid));
    sys.kill(pid, SIGKILL);
    sys.waitpid(pid, 0, new Int32Array(1));
    for (let i = 0; i < 50; i++) t.equal(await ended(start(['exit=7'], { cgroupFd: fd })), 7 << 8);
    t.equal(sys.spawn(spec([], { cgroupFd: fd, path: join(dir, 'missing') })), -ENOENT);
    const { report: said } = await report([], { cgroupFd: fd, argv: block('x', 'y') });
    t.same(said.all('arg'), ['x', 'y']);
    sys.close(fd);
    t.equal(sys.spawn(spec([], { cgroupFd: fd })), -EBADF);
    t.ok(noChildIsLeft());
  });

t.test('a hundred failed and a hundred good starts leave nothing behind', async (t) => {
  const fds = () => readFileSync('/proc/self/status', 'latin1').match(/FDSize:.*/)?.[0];
  const before = fds();
  for (let i = 0; i < 100; i++) sys.spawn(spec([], { path: join(dir, 'missing') }));
  const pids = Array.from({ length: 100 }, () => start(['exit=3']));
  const status = new Int32Array(1);
  for (const pid of pids) {
    t.equal(sys.waitpid(pid, 0, status), pid);
    t.equal(status[0], 3 << 8);
  }
  t.ok(noChildIsLeft());
  t.equal(fds(), before);
});
