/** What the bench reads from /proc: whole process trees, without the container. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { buildProgram } from '../../../bench/harness/native.ts';
import {
  footprint,
  isAlive,
  monitorTree,
  ownCpuNs,
  parseField,
  parseMachineCpu,
  parseStat,
  readProcess,
} from '../../../bench/harness/procfs.ts';
import { waitFor } from '../../../bench/harness/wait.ts';

await buildProgram('cpu-clock');

/** A shell with one child that sleeps; both end with the test. */
async function shellWithChild(test: Test): Promise<{ shell: ChildProcess; pid: number; childPid: number }> {
  const shell = spawn('/bin/sh', ['-c', 'sleep 60 & echo $!; wait'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let childPid = 0;
  test.teardown(async () => {
    if (childPid > 0) process.kill(childPid, 'SIGKILL');
    shell.kill('SIGKILL');
    if (shell.exitCode === null && shell.signalCode === null) await once(shell, 'exit');
  });
  const [text]: unknown[] = await once(shell.stdout, 'data');
  childPid = Number(String(text));
  if (shell.pid === undefined) throw new Error('no shell');
  return { shell, pid: shell.pid, childPid };
}

t.test('a process name with spaces and parentheses does not shift the fields', async (t) => {
  const numbers = Array.from({ length: 49 }, (_, index) => String(index + 4)).join(' ');
  const stat = parseStat(`42 (a) R (b c) S ${numbers}\n`);
  t.same(stat, { pid: 42, state: 'S', parentPid: 4, reapedCpuNs: (16 + 17) * 10_000_000, startTicks: 22 });
});

t.test('the tree holds the daemon and its children, but not the container', async (t) => {
  const { pid, childPid } = await shellWithChild(t);
  t.same([...(await monitorTree(pid, -1))].sort(), [pid, childPid].sort());
  t.same(await monitorTree(pid, childPid), [pid]);
});

t.test('a process is alive until it ends, and another start time is another process', async (t) => {
  const { pid, childPid } = await shellWithChild(t);
  const found = await readProcess(childPid);
  if (found === undefined) throw new Error('no child');
  t.equal(found.parentPid, pid);
  t.equal(await isAlive(childPid, found.startTicks), true);
  t.equal(await isAlive(childPid, found.startTicks + 1), false);
  const shell = spawn('/bin/true', { stdio: 'ignore' });
  const shellPid = shell.pid ?? 0;
  await once(shell, 'exit');
  t.equal(await isAlive(shellPid, 0), false);
  t.equal(await readProcess(2 ** 22 + 1), undefined);
});

t.test('CPU time is that of all threads, and grows only while the process works', async (t) => {
  const before = await ownCpuNs([process.pid]);
  const usage = process.cpuUsage();
  const deadline = performance.now() + 50;
  while (performance.now() < deadline);
  const used = process.cpuUsage(usage);
  const grownNs = (await ownCpuNs([process.pid])) - before;
  t.ok(grownNs >= (used.user + used.system) * 1000, `${grownNs} ns`);
  const { childPid } = await shellWithChild(t);
  await waitFor('a sleeping child', async () => (await readProcess(childPid))?.state === 'S', { limitMs: 5000 });
  t.equal(await ownCpuNs([childPid]), await ownCpuNs([childPid]));
  t.equal(await ownCpuNs([2 ** 22 + 1]), 0, 'an ended process counts nothing');
});

t.test('a footprint adds up over processes and threads', async (t) => {
  const { pid, childPid } = await shellWithChild(t);
  const one = await footprint([childPid]);
  const both = await footprint([pid, childPid]);
  t.equal(one.threads, 1);
  t.equal(both.threads, 2);
  t.ok(both.fds > one.fds);
  t.ok(one.rssKiB >= one.pssKiB && one.pssKiB >= one.privateKiB, 'RSS >= PSS >= private');
  t.ok((await footprint([process.pid])).threads > 1, 'Node has more than one');
});

t.test('a field of a /proc file is found by its whole name', async (t) => {
  const text = 'Private_Clean:          12 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\n';
  t.equal(parseField(text, 'Private_Clean'), 12);
  t.equal(parseField('nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\n', 'voluntary_ctxt_switches'), 3);
  t.throws(() => parseField(text, 'Pss'), /no Pss/);
});

t.test('the machine is busy with everything but idling and waiting; stolen time stands apart', async (t) => {
  const cpu = parseMachineCpu('cpu  1 2 3 4000 5000 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 0 0\n');
  t.same(cpu, { busyNs: (1 + 2 + 3 + 6 + 7) * 10_000_000, stolenNs: 80_000_000 });
});
