/** Who may join: processes that differ in what a runtime inherits are told from those that do not. Real processes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Peers, peerOf } from '../../../src/session/peer.ts';
import { waitFor } from '../../helpers/wait.ts';

const root = process.getuid?.() === 0;

/** A process that sleeps, under the given tools; ended with the test. */
async function sleeper(t: Test, ...tools: readonly string[]): Promise<number> {
  const [program = '', ...args] = [...tools, 'sleep', '60'];
  const child: ChildProcess = spawn(program, args, { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const { pid = -1 } = child;
  await waitFor('sleep', () => {
    const pids = [pid, ...readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').map(Number)];
    return pids.some((each) => each > 0 && readFileSync(`/proc/${each}/comm`, 'latin1') === 'sleep\n');
  });
  return pid;
}

const peers = new Peers(sys);
const check = (pid: number) => peers.check({ pid, pidfd: -1 });
const cgroupOf = (pid: number) => peers.cgroupOf(pid);

t.test('a process like ours may join', async (t) => {
  check(process.pid);
  check(await sleeper(t));
  check(await sleeper(t, 'prlimit', '--nofile=100:1000')); // has its own place in the hand-over
  t.pass();
});

t.test('other limits, priority or credentials are told', async (t) => {
  t.throws(() => check(1e7), 'nobody is there');
  for (const [tools, what] of [
    [['prlimit', '--core=0:0', '--nproc=4000:4000'], 'limits'],
    [['nice', '-n', '3'], 'priority'],
    [['chrt', '--batch', '0'], 'priority'],
    [['setpriv', '--no-new-privs'], 'credentials'],
    [['taskset', '1'], 'credentials'],
    ...(root
      ? ([
          [['setpriv', '--reuid', '65534', '--clear-groups'], 'credentials'],
          [['setpriv', '--groups', '4242'], 'credentials'],
          [['setpriv', '--bounding-set', '-sys_time'], 'credentials'],
        ] as const)
      : []),
  ] as const) {
    const pid = await sleeper(t, ...tools);
    t.throws(() => check(pid), { message: `the launcher has other ${what}` }, tools.join(' '));
  }
});

t.test('our own CPUs are looked at each time', async (t) => {
  const own = () => execFileSync('taskset', ['-p', String(process.pid)], { encoding: 'latin1', timeout: 20_000 });
  const before = own().trim().split(' ').at(-1) ?? '';
  if (/^[1248]0*$/.test(before)) return t.comment('one CPU is all that we have');
  const set = (mask: string) => execFileSync('taskset', ['-p', mask, String(process.pid)], { timeout: 20_000 });
  const pid = await sleeper(t, 'taskset', '1');
  t.throws(() => check(pid), { message: 'the launcher has other credentials' });
  set('1');
  t.teardown(() => set(before));
  check(pid);
  set(before);
  t.throws(() => check(pid), { message: 'the launcher has other credentials' });
  check(await sleeper(t));
});

if (root)
  t.test('every namespace counts', async (t) => {
    for (const flag of ['-m', '-n', '-i', '-u', '-C', '-T', '-U']) {
      const pid = await sleeper(t, 'unshare', flag);
      t.throws(() => check(pid), { message: 'the launcher has other namespaces' }, flag);
    }
  });

t.test('a peer that has gone is told by its pidfd', async (t) => {
  const [a, b] = pair();
  const peer = peerOf(sys, a);
  t.equal(peer.pid, process.pid);
  if (peer.pidfd !== -1) {
    peers.check(peer);
    sys.close(peer.pidfd);
  }
  const readable = sys.eventfd(1, 0); // as a pidfd is once its process has ended
  t.throws(() => peers.check({ pid: process.pid, pidfd: readable }), { message: 'the launcher has gone' });
  for (const fd of [a, b, readable]) sys.close(fd);
  t.throws(() => peerOf(sys, 9999), { message: 'the other end is of another user or place' });
});

function pair(): [number, number] {
  const fds = new Int32Array(2);
  sys.socketpair(SOCK_SEQPACKET, fds);
  return [fds[0] ?? -1, fds[1] ?? -1];
}

t.test('a process in our cgroups needs no other', async (t) => {
  t.equal(cgroupOf(await sleeper(t)), -1);
});

const cgroup2 = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/self/mounts', 'latin1'))?.[1];
if (root && cgroup2 !== undefined)
  t.test('another cgroup of version 2 is found, one of version 1 is refused', async (t) => {
    const pid = await sleeper(t);
    const path = `${cgroup2}/conmon-peer-${process.pid}`;
    mkdirSync(path);
    t.teardown(async () => {
      process.kill(pid, 'SIGKILL');
      await waitFor('an empty cgroup', () => readFileSync(`${path}/cgroup.procs`, 'latin1') === '');
      rmdirSync(path);
    });
    writeFileSync(`${path}/cgroup.procs`, String(pid));
    const fd = cgroupOf(pid);
    t.ok(fd >= 0);
    const child = sys.spawn({
      path: '/bin/true',
      argv: Buffer.from('true\0'),
      envp: Buffer.alloc(0),
      fdMap: new Int32Array(0),
      keepFds: new Int32Array(0),
      deathSignal: 0,
      listenPidOffset: -1,
      oomScoreAdj: '',
      nofileSoft: 0,
      nofileHard: 0,
      cgroupFd: fd,
    });
    t.ok(child > 0, 'a process can be born there');
    sys.waitpid(child, 0, new Int32Array(1));
    sys.close(fd);
    const v1 = '/sys/fs/cgroup/freezer';
    if (!existsSync(`${v1}/cgroup.procs`)) return;
    mkdirSync(`${v1}/conmon-peer-${process.pid}`);
    t.teardown(() => rmdirSync(`${v1}/conmon-peer-${process.pid}`));
    const other = await sleeper(t);
    writeFileSync(`${v1}/conmon-peer-${process.pid}/cgroup.procs`, String(other));
    t.throws(() => cgroupOf(other), { message: 'the launcher is in other cgroups' });
    writeFileSync(`${v1}/cgroup.procs`, String(other));
  });
