/** The measures beside the flood, with Debian's C conmon: what they time did happen, and what did not gives no figure. */
import { constants } from 'node:fs';
import { access, chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { attachClient } from '../../../bench/harness/attached-client.ts';
import { numberIn } from '../../../bench/harness/container.ts';
import type { Environment } from '../../../bench/harness/environment.ts';
import { execSession, startExec } from '../../../bench/harness/exec-session.ts';
import { exitNoticeMs } from '../../../bench/harness/exit-notice.ts';
import { HeldExecs } from '../../../bench/harness/held-execs.ts';
import { endProcess, startMonitor } from '../../../bench/harness/monitor.ts';
import { buildPrograms } from '../../../bench/harness/native.ts';
import { monitorTree, processesOf } from '../../../bench/harness/procfs.ts';
import { waitFor } from '../../../bench/harness/wait.ts';

const conmon = '/usr/bin/conmon';
const present = await access(conmon, constants.X_OK).then(
  () => true,
  () => false,
);
const skip = present ? false : `no ${conmon}: apt-get install conmon`;
if (present) await buildPrograms();

async function environmentFor(test: Test, ours = conmon): Promise<Environment> {
  const workDir = await mkdtemp(join(tmpdir(), 'cb-'));
  test.teardown(() => rm(workDir, { recursive: true, force: true }));
  const monitors = { rival: conmon, ours };
  return { monitors, workDir, quick: true, pairs: 1, signal: new AbortController().signal };
}

t.test('an exec session takes some time and leaves no file', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const { toRuntimeMs, sessionMs, cpuNs } = await execSession(environment, 'rival');
  t.ok(toRuntimeMs > 0 && toRuntimeMs < sessionMs && sessionMs < 30_000, `${toRuntimeMs}, ${sessionMs} ms`);
  t.ok(cpuNs > 0 && cpuNs < 30e9, `${cpuNs} ns`);
  t.same(await readdir(environment.workDir), []);
});

t.test('an exec session without its output or status gives no figure', { skip }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cb-spoilt-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const spoilt = join(dir, 'conmon');
  for (const [script, problem] of [
    [`${conmon} "$@"; for a; do [ "$p" = -l ] && : > "$a"; p=$a; done`, /log holds/],
    ['exit 0', /JSON|status/],
  ] as const) {
    await writeFile(spoilt, `#!/bin/sh\n${script}\n`);
    await chmod(spoilt, 0o755);
    await t.rejects(execSession(await environmentFor(t, spoilt), 'ours'), problem);
  }
});

t.test('an exec that was to join and has not gives no figure', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const container = await startMonitor(environment, 'rival');
  t.teardown(() => container.dispose());
  t.ok((await execSession(environment, 'rival', { container })).sessionMs > 0);
  await t.rejects(execSession(environment, 'rival', { container, joins: true }), /not joined/);
  await container.finish(0);
});

t.test('an exec that is held has logged its line, and ends when it is released', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const exec = await startExec(environment, 'rival', { held: true });
  await waitFor('its line', async () => (await exec.logged()).endsWith(' alive\n'), { limitMs: 20_000 });
  const pid = (await exec.processPid()) ?? 0;
  t.ok((await monitorTree(exec.starterPid)).includes(pid), 'its process is there');
  t.notOk((await monitorTree(exec.starterPid, pid)).includes(pid), 'and told from conmon');
  await exec.release();
  t.ok((await exec.done).cpuNs > 0);
  t.same(await readdir(environment.workDir), []);
});

t.test('held execs are counted with their launchers, without what they run', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const container = await startMonitor(environment, 'rival');
  t.teardown(() => container.dispose());
  const held = new HeldExecs(container);
  t.same(await held.pids(), [container.daemonPid]);
  await held.add(environment, 'rival', {}, 2);
  // C: the process that the engine started has one child, and that is what the runtime leaves to it.
  const pids = await held.pids();
  t.equal(pids.length, new Set(pids).size);
  t.ok(pids.length >= 3 && pids.includes(container.daemonPid), pids.join(' '));
  for (const pid of pids) t.match(await readFile(`/proc/${pid}/cmdline`, 'utf8'), /^\/usr\/bin\/conmon/);
  await held.release();
  t.same(await held.pids(), [container.daemonPid]);
  await container.finish(0);
});

t.test('a client that keeps a pace takes its time, and finds what was not written', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const client = await attachClient(environment, monitor, ['flood', '100', '500000', '2']);
  const wrong = await attachClient(environment, monitor, ['flood', '200', '500000', '0']);
  t.teardown(() => client.end());
  t.teardown(() => wrong.end());
  const written = await monitor.container.request('write line=100 total=500000', 30_000);
  const done = await client.done;
  // 0.5 MB at 2 MB/s; the time of the first packet is not in it.
  const ms = (numberIn(done, 'last') - numberIn(written, 'first')) / 1e6;
  t.ok(ms >= 200, `${ms} ms`);
  await t.rejects(wrong.done, /not what was written/);
  await monitor.finish(0);
});

t.test('a container begins to write when it was told to', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const at = Number(process.hrtime.bigint()) + 150_000_000;
  const written = await monitor.container.request(`write line=100 total=1000 at=${at}`, 30_000);
  t.ok(numberIn(written, 'first') >= at);
  await monitor.finish(0);
});

t.test('a conmon that stays for --exit-delay is found by the directory of its exec', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const parentDir = await mkdtemp(join(environment.workDir, 'delayed-'));
  t.teardown(async () => {
    for (const each of await processesOf(parentDir)) await endProcess(each);
  });
  t.same(await processesOf(parentDir), []);
  await execSession(environment, 'rival', { parentDir, log: 'none', podmanExitDelaySeconds: 60 });
  const found = await processesOf(parentDir);
  t.equal(found.length, 2, 'C 2.1.6: itself, and the child in which it waits');
  for (const each of found) await endProcess(each);
  t.same(await processesOf(parentDir), []);
});

t.test("a container's exit is timed to its exit file", { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const ms = await exitNoticeMs(monitor, environment.signal);
  t.ok(ms > 0 && ms < 30_000, `${ms} ms`);
  t.equal(await readFile(join(monitor.paths.exitDir, monitor.paths.id), 'utf8'), '0');
  await monitor.ended(0);
});

t.test('latency is told in ascending quantiles, and every line was logged', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const reply = await monitor.container.request(`latency count=50 gap=100 path=${monitor.logPath}`, 30_000);
  const values = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'].map((name) => numberIn(reply, name));
  t.ok((values[0] ?? 0) > 0);
  t.same(
    values,
    values.toSorted((a, b) => a - b),
  );
  const log = await readFile(monitor.logPath, 'utf8');
  t.equal(log.length, numberIn(reply, 'size'));
  t.equal(log.match(/ F a line of about/g)?.length, 50);
  await monitor.finish(0);
});
