/** Who may join, on machines of the test's own: each thing that is looked at, and each way in which it cannot be. */
import { constants } from 'node:fs';
import t from 'tap';
import { EINVAL, ENOENT, O_CLOEXEC, O_PATH, SO_PEERCRED, SO_PEERPIDFD } from '../../../src/native/constants.ts';
import type { Sys } from '../../../src/native/sys.ts';
import { Peers, peerOf } from '../../../src/session/peer.ts';
import { fakeSys } from '../native/fake-sys.ts';

const { O_DIRECTORY } = constants;
const EACCES = -13;
const ESRCH = -3;
const LAUNCHER = 4711;
const THEIR_DIRECTORY = 900;

const STATUS = {
  Name: 'conmon',
  State: 'S (sleeping)',
  Uid: '0\t0\t0\t0',
  Gid: '0\t0\t0\t0',
  Groups: '0 ',
  VmRSS: '1 kB',
  CapInh: '0',
  CapPrm: '1ff',
  CapEff: '1ff',
  CapBnd: '1ff',
  CapAmb: '0',
  NoNewPrivs: '0',
  Seccomp: '0',
  Cpus_allowed: 'f',
  Mems_allowed: '1',
  voluntary_ctxt_switches: '1',
};

const status = (changes: Partial<Record<keyof typeof STATUS, string>> = {}): string =>
  Object.entries({ ...STATUS, ...changes })
    .map(([name, value]) => `${name}:\t${value}\n`)
    .join('');

/** What there is to see of a process: files' contents and links' targets, or errnos. */
type Process = Record<string, string | number>;

const NAMESPACES = ['mnt', 'user', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'time'];

function process_(changes: Process = {}): Process {
  return {
    status: status(),
    limits: 'Limit  Soft  Hard\nMax core file size  0  1\nMax open files  1024  4096\nMax processes  7  7\n',
    'attr/current': 'unconfined\n',
    loginuid: '4294967295',
    nice: 20,
    policy: 0,
    root: '1:2',
    ...Object.fromEntries(NAMESPACES.map((name, i) => [`ns/${name}`, `${name}:[${i}]`])),
    ...changes,
  };
}

/** A machine with two processes on it, and what was asked of it. */
class Machine {
  readonly own = process_();
  readonly theirs: Process;
  readonly asked: string[] = [];
  cpus = 'f';
  mems: string | number = '1';
  gone = false;
  pidfd = 0;
  readonly #open = new Map<number, string | number>();
  #fd = 1000;
  readonly sys: Sys;
  readonly peers: Peers;

  constructor(changes: Process = {}, own: Process = {}) {
    this.theirs = process_(changes);
    Object.assign(this.own, own);
    const put = (bytes: Uint8Array, text: string | number, offset = 0, most = bytes.length) =>
      typeof text === 'number' ? text : Buffer.from(text).copy(bytes, offset, 0, most);
    this.sys = fakeSys({
      openat: (directory, path, flags) => {
        // What main starts meanwhile inherits none of it.
        const isDirectory = path === `/proc/${LAUNCHER}`;
        if (flags !== (isDirectory ? O_PATH | O_DIRECTORY | O_CLOEXEC : O_CLOEXEC)) throw new Error(`flags ${flags}`);
        if (isDirectory) return this.gone ? ENOENT : THEIR_DIRECTORY;
        const content = this.#find(directory, path);
        if (typeof content === 'number') return content;
        this.#open.set(++this.#fd, content);
        return this.#fd;
      },
      read: (fd, bytes, offset, length) => put(bytes, this.#open.get(fd) ?? -9, offset, length),
      close: (fd) => {
        this.closed += fd === THEIR_DIRECTORY ? 1 : 0;
        return this.#open.delete(fd) || fd === THEIR_DIRECTORY ? 0 : -9;
      },
      readlinkat: (directory, path, bytes) => put(bytes, this.#find(directory, path)),
      fstatat: (directory, path, _flags, stat) => {
        const root = this.#find(
          directory,
          directory === THEIR_DIRECTORY ? path.replace(/\/\.$/, '') : `/proc/self/root`,
        );
        if (typeof root === 'number') return root;
        const [device = '0', inode = '0'] = root.split(':');
        stat[0] = BigInt(device);
        stat[1] = BigInt(inode);
        return 0;
      },
      getpriority: (pid) => Number(this.#of(pid)['nice']),
      schedGetscheduler: (pid) => Number(this.#of(pid)['policy']),
      schedGetaffinity: (_pid, bytes) => put(bytes, this.cpus),
      memsAllowed: (bytes) => put(bytes, this.mems),
      poll: () => this.pidfd,
    });
    this.peers = new Peers(this.sys);
  }

  closed = 0;

  get stillOpen(): number {
    return this.#open.size;
  }

  #of(pid: number): Process {
    this.asked.push(pid === 0 ? 'own' : 'theirs');
    return pid === 0 ? this.own : this.theirs;
  }

  #find(directory: number, path: string): string | number {
    const own = path.startsWith('/proc/self/');
    if (own) this.asked.push(path.slice('/proc/self/'.length));
    else if (directory !== THEIR_DIRECTORY) throw new Error(`of nobody: ${path}`);
    return (own ? this.own : this.theirs)[own ? path.slice('/proc/self/'.length) : path] ?? ENOENT;
  }

  check(pidfd = -1): void {
    this.peers.check({ pid: LAUNCHER, pidfd });
  }
}

t.test('what does not matter may differ: another state, other memory, open files, a pidfd that is not ready', (t) => {
  const machine = new Machine({
    status: status({ State: 'R (running)', VmRSS: '2 kB', Name: 'other', voluntary_ctxt_switches: '9' }),
    limits: 'Limit  Soft  Hard\nMax core file size  0  1\nMax open files  5  6\nMax processes  7  7\n',
  });
  machine.check();
  machine.check(5);
  t.equal(machine.stillOpen, 0);
  t.equal(machine.closed, 2);
  t.end();
});

t.test('each thing that a runtime inherits is looked at, and named', (t) => {
  const cases: [Process, string][] = [
    ...NAMESPACES.map((name): [Process, string] => [{ [`ns/${name}`]: `${name}:[99]` }, 'namespaces']),
    [{ 'ns/time': ENOENT }, 'namespaces'],
    ...Object.keys(STATUS)
      .filter((name) => !['Name', 'State', 'VmRSS', 'voluntary_ctxt_switches'].includes(name))
      .map((name): [Process, string] => [{ status: status({ [name]: '77' }) }, 'credentials']),
    [{ limits: 'Max core file size  1  1\n' }, 'limits'],
    [{ nice: 21 }, 'priority'],
    [{ policy: 3 }, 'priority'],
    [{ 'attr/current': 'confined\n' }, 'label'],
    [{ 'attr/current': ENOENT }, 'label'],
    [{ root: '1:3' }, 'root'],
    [{ root: '2:2' }, 'root'],
    [{ loginuid: '1000' }, 'audit'],
  ];
  for (const [changes, what] of cases) {
    const machine = new Machine(changes);
    t.throws(() => machine.check(), { code: 'PEER', message: `the launcher has other ${what}` });
    t.equal(machine.stillOpen, 0);
    t.equal(machine.closed, 1);
  }
  t.end();
});

t.test('a filter of system calls is refused also where both have one: they cannot be compared', (t) => {
  const both = { status: status({ Seccomp: '2' }) };
  t.throws(() => new Machine(both, both).check(), { message: 'the launcher has a seccomp filter' });
  t.end();
});

t.test('what a kernel does not have is no difference; what cannot be seen is one', (t) => {
  for (const missing of [
    { 'ns/time': ENOENT },
    { 'attr/current': ENOENT },
    { 'attr/current': EINVAL },
    { loginuid: ENOENT },
  ])
    new Machine(missing, missing).check();
  for (const [unseen, message] of [
    [{ 'ns/net': EACCES }, /namespace net is not told/],
    [{ 'attr/current': EACCES }, /Failed to read attr\/current/],
    [{ loginuid: EACCES }, /Failed to read loginuid/],
    [{ status: ENOENT }, /Failed to read status/],
    [{ limits: ESRCH }, /Failed to read limits/],
    [{ nice: ESRCH }, /has gone/],
    [{ policy: ESRCH }, /has gone/],
    [{ root: EACCES }, /has gone/],
  ] as const) {
    const machine = new Machine(unseen);
    t.throws(() => machine.check(), { code: 'PEER', message });
    t.equal(machine.closed, 1);
  }
  t.end();
});

t.test('what does not fit is not compared: two that are cut alike may differ behind it', (t) => {
  const fits = { limits: 'x'.repeat(16383) };
  new Machine(fits, fits).check();
  const long = { limits: 'x'.repeat(16384) };
  t.throws(() => new Machine(long, long).check(), { code: 'PEER', message: /Failed to read/ });
  t.end();
});

t.test('a launcher that has gone, before or while it is looked at', (t) => {
  const machine = new Machine();
  for (const pidfd of [1, -9]) {
    machine.pidfd = pidfd;
    t.throws(() => machine.check(5), { message: 'the launcher has gone' });
  }
  machine.check(); // without a pidfd nobody can tell
  machine.gone = true;
  t.throws(() => machine.check(), { code: 'PEER', message: 'the launcher has gone' });
  t.equal(machine.closed, 3, 'what was opened');
  t.end();
});

t.test('of us what others may change is looked at each time, and nothing else', (t) => {
  const machine = new Machine();
  const look = (): readonly string[] => {
    machine.asked.length = 0;
    machine.check();
    return [...new Set(machine.asked)].toSorted();
  };
  look();
  t.same(look(), ['limits', 'own', 'root', 'theirs']);
  machine.cpus = '1';
  machine.own['status'] = status({ Cpus_allowed: '1' });
  t.throws(() => machine.check(), { message: 'the launcher has other credentials' });
  machine.theirs['status'] = status({ Cpus_allowed: '1' });
  t.same(look(), ['limits', 'own', 'root', 'theirs']);
  machine.mems = '3';
  t.same(look(), ['limits', 'own', 'root', 'status', 'theirs']);
  machine.mems = ENOENT; // a kernel without NUMA
  t.same(look(), ['limits', 'own', 'root', 'status', 'theirs']);
  t.same(look(), ['limits', 'own', 'root', 'theirs']);
  (machine as { cpus: string | number }).cpus = EACCES;
  t.throws(() => machine.check(), { code: 'PEER', message: 'our CPUs cannot be told' });
  t.end();
});

t.test('the other end is of our user and group, and can be told, or it is nobody', (t) => {
  const [uid, gid] = [process.geteuid?.() ?? -1, process.getegid?.() ?? -1];
  const ask = (credentials: readonly number[], result = 0, pidfd = 8) =>
    peerOf(
      fakeSys({
        getsockopt: (fd, option, value) => {
          t.equal(fd, 6);
          if (option === SO_PEERPIDFD) {
            value[0] = pidfd;
            return Math.min(pidfd, 0);
          }
          t.equal(option, SO_PEERCRED);
          value.set(credentials);
          return result;
        },
      }),
      6,
    );
  t.same(ask([1, uid, gid]), { pid: 1, pidfd: 8 });
  t.same(ask([1, uid, gid], 0, 0), { pid: 1, pidfd: 0 });
  t.same(ask([1, uid, gid], 0, EINVAL), { pid: 1, pidfd: -1 }, 'before Linux 6.5');
  for (const credentials of [
    [0, uid, gid], // of another pid namespace
    [-1, uid, gid],
    [1, uid + 1, gid],
    [1, uid, gid + 1],
  ])
    t.throws(() => ask(credentials), { code: 'PEER', message: 'the other end is of another user or place' });
  t.throws(() => ask([1, uid, gid], EINVAL), { code: 'PEER' });
  t.end();
});

t.test('cgroups: ours need no other; of version 1, above ours, or of no version 2 they are refused', (t) => {
  const texts = { ours: '', theirs: '' };
  const calls = fakeSys({
    openat: (_directory, path) => (path === `/proc/${process.pid}/cgroup` ? 5 : path === '/proc/77/cgroup' ? 6 : -2),
    read: (fd, bytes) => Buffer.from(fd === 5 ? texts.ours : texts.theirs).copy(bytes),
    close: () => 0,
  });
  const cgroupOf = (ours: string, theirs: string): number => {
    Object.assign(texts, { ours, theirs });
    return new Peers(calls).cgroupOf(77);
  };
  t.equal(cgroupOf('1:cpu:/a\n0::/b\n', '1:cpu:/a\n0::/b\n'), -1);
  for (const [ours, theirs] of [
    ['1:cpu:/a\n0::/b\n', '1:cpu:/c\n0::/b\n'],
    ['1:cpu:/a\n0::/b\n', '1:cpu:/c\n0::/d\n'],
    ['1:cpu:/a\n', '1:cpu:/c\n'],
    ['0::/b\n', ''],
    ['0::/b\n', '0::/../c\n'],
    ['0::/b\n', '0::/..\n'],
  ] as const)
    t.throws(() => cgroupOf(ours, theirs), { code: 'PEER', message: 'the launcher is in other cgroups' }, theirs);
  t.end();
});
