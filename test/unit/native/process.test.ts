/** prctl, waitpid, kill, _exit, and what the scheduler says of a process. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, SCHED_BATCH, WNOHANG } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { inChild } from './in-child.ts';
import { ended, report, start } from './report.ts';

const { ECHILD, EINVAL, ENOSYS, ESRCH } = constants.errno;
const { SIGKILL, SIGTERM } = constants.signals;
/** Above PID_MAX_LIMIT: no such process. */
const NO_PID = 0x400001;

t.test('waitpid tells the status of a child once', async (t) => {
  const { waitStatus, pid } = await report(['exit=77']);
  t.equal(waitStatus, 77 << 8);
  t.equal(sys.waitpid(pid, WNOHANG, new Int32Array(1)), -ECHILD);
});

t.test('waitpid tells the signal that ended a child', async (t) => {
  t.equal((await report([`raise=${SIGTERM}`])).waitStatus & 0x7f, SIGTERM);
});

t.test('waitpid with WNOHANG answers 0 while the child runs', async (t) => {
  const pid = start(['pause']);
  const status = new Int32Array(1);
  t.equal(sys.waitpid(pid, WNOHANG, status), 0);
  t.equal(sys.waitpid(-1, WNOHANG, status), 0, 'whichever');
  t.equal(sys.kill(pid, 0), 0);
  t.equal(sys.kill(pid, SIGKILL), 0);
  t.equal((await ended(pid)) & 0x7f, SIGKILL);
  t.equal(sys.kill(pid, 0), -ESRCH);
});

t.test('without a child there is nothing to wait for', async (t) => {
  const status = new Int32Array(1);
  t.equal(sys.waitpid(-1, WNOHANG, status), -ECHILD);
  t.equal(sys.waitpid(NO_PID, WNOHANG, status), -ECHILD);
  t.equal(sys.waitpid(1, 0x12345, status), -EINVAL);
  t.equal(sys.waitpid(-1, WNOHANG, new Int32Array(0)), -EINVAL, 'no room for the status');
});

t.test('kill and getpgid know who is there', async (t) => {
  t.equal(sys.kill(process.pid, 0), 0);
  t.equal(sys.kill(NO_PID, 0), -ESRCH);
  t.equal(sys.kill(process.pid, 999), -EINVAL);
  const group = Number(readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ')[2]);
  t.equal(sys.getpgid(process.pid), group);
  t.equal(sys.getpgid(NO_PID), -ESRCH);
});

t.test('prctl passes numbers and refuses what the kernel refuses', async (t) => {
  t.equal(sys.prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  t.equal(sys.prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
  t.equal(sys.prctl(PR_SET_PDEATHSIG, 999), -EINVAL);
  t.equal(sys.prctl(PR_SET_PDEATHSIG, 0), 0);
});

t.test('the name that ps shows is cut to 15 bytes', async (t) => {
  const comm = () => readFileSync('/proc/self/comm', 'latin1').trim();
  const before = comm();
  t.equal(sys.prctlSetName('conmon-and-much-more'), 0);
  t.equal(comm(), 'conmon-and-much');
  sys.prctlSetName(before);
  t.equal(comm(), before);
});

t.test('exitNow ends the process with its status, and nothing runs after it', async (t) => {
  const code = "process.on('exit', () => { process.exitCode = 3; }); sys.exitNow(42); sys.exitNow(5);";
  t.equal((await inChild(code)).status, 42);
});

t.test('exitNow ends the process although a thread waits in a system call', async (t) => {
  const addon = fileURLToPath(new URL('../../../libexec/conmon/sys.node', import.meta.url));
  const worker = `process.dlopen(module, ${JSON.stringify(addon)});
    module.exports.prctlSetName('waiter');
    module.exports.poll(new Int32Array(0), 0, -1);`;
  const source = `
    import { Worker } from 'node:worker_threads';
    import { readFileSync, readdirSync } from 'node:fs';
    const sleeps = () => readdirSync('/proc/self/task').some((task) => {
      try {
        return readFileSync('/proc/self/task/' + task + '/stat', 'latin1').includes('(waiter) S');
      } catch {
        return false; // the thread has ended since
      }
    });
    new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: [] });
    setInterval(() => { if (sleeps()) sys.exitNow(9); }, 5);`;
  t.equal((await inChild(source)).status, 9);
});

t.test('priority, policy, CPUs and memory of a process', async (t) => {
  const nice = spawn('nice', ['-n', '5', 'chrt', '--batch', '0', 'taskset', '1', 'sleep', '60'], { stdio: 'ignore' });
  t.teardown(() => nice.kill('SIGKILL'));
  const { pid = -1 } = nice;
  await waitFor('sleep', () => readFileSync(`/proc/${pid}/comm`, 'latin1') === 'sleep\n');
  t.equal(sys.getpriority(pid), sys.getpriority(0) - 5);
  t.equal(sys.schedGetscheduler(pid), SCHED_BATCH);
  t.equal(sys.schedGetscheduler(0), 0);
  const mask = new Uint8Array(1024);
  const length = sys.schedGetaffinity(pid, mask);
  t.ok(length >= 8);
  t.same(mask.subarray(0, length), [1, ...new Uint8Array(length - 1)]);
  t.equal(sys.schedGetaffinity(pid, new Uint8Array(12)), -EINVAL, 'no whole words');
  const nodes = sys.memsAllowed(mask);
  const told = /^Mems_allowed:\t\S*?([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  if (nodes === 0) t.equal(mask[0], Number.parseInt(told ?? '', 16) & 0xff);
  else t.equal(nodes, -ENOSYS, 'a kernel without NUMA');
  for (const call of [sys.getpriority, sys.schedGetscheduler]) t.equal(call(NO_PID), -ESRCH);
});
