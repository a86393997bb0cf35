/** The throughput scenario with real processes and Debian's C conmon: only a verified run gives a figure. */
import { constants } from 'node:fs';
import { access, chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Environment } from '../../../bench/harness/environment.ts';
import { floodMonitor } from '../../../bench/harness/flood.ts';
import { startMonitor } from '../../../bench/harness/monitor.ts';
import { buildPrograms } from '../../../bench/harness/native.ts';
import { footprint, isAlive, readProcess } from '../../../bench/harness/procfs.ts';

const conmon = '/usr/bin/conmon';
const present = await access(conmon, constants.X_OK).then(
  () => true,
  () => false,
);
const skip = present ? false : `no ${conmon}: apt-get install conmon`;
if (present) await buildPrograms();

async function environmentFor(test: Test, path: string): Promise<Environment> {
  const workDir = await mkdtemp(join(tmpdir(), 'cb-'));
  test.teardown(() => rm(workDir, { recursive: true, force: true }));
  const monitors = { rival: path, ours: path };
  return { monitors, workDir, quick: true, pairs: 1, signal: new AbortController().signal };
}

/** A conmon that gets `extra` arguments that the caller did not ask for. */
async function spoiltConmon(dir: string, extra: string): Promise<string> {
  const path = join(dir, 'conmon');
  await writeFile(path, `#!/bin/sh\nexec ${conmon} "$@" ${extra}\n`);
  await chmod(path, 0o755);
  return path;
}

t.test('a verified flood gives throughput and CPU, and leaves no file', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  for (const lineBytes of [20, 10_000]) {
    const { metrics } = await floodMonitor(environment, 'rival', { lineBytes, payloadMB: 4 });
    t.equal(metrics['payloadBytes'], 4_000_000);
    t.ok((metrics['payloadMBps'] ?? 0) > 0 && (metrics['cpuSecondsPerGB'] ?? 0) > 0, JSON.stringify(metrics));
    t.ok((metrics['records'] ?? 0) >= 4_000_000 / lineBytes);
  }
  t.same(await readdir(environment.workDir), []);
});

t.test('a monitor that loses part of the log gives no figure and leaves nothing', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const dir = await mkdtemp(join(tmpdir(), 'cb-spoilt-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const monitors = { rival: conmon, ours: await spoiltConmon(dir, '--log-size-max 1000000') };
  const run = floodMonitor({ ...environment, monitors }, 'ours', { lineBytes: 100, payloadMB: 4 });
  await t.rejects(run, /the log is not what was written|not complete/);
  t.same(await readdir(environment.workDir), []);
});

t.test('a conmon that starts nothing is told with its own words', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const dir = await mkdtemp(join(tmpdir(), 'cb-spoilt-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const monitors = { rival: conmon, ours: await spoiltConmon(dir, '--no-such-option') };
  await t.rejects(startMonitor({ ...environment, monitors }, 'ours'), /option parsing failed/);
  t.same(await readdir(environment.workDir), []);
});

t.test('start times are in order, and dispose ends monitor and container', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const { execNs, runtimeNs, syncNs } = monitor.times;
  t.ok(execNs < runtimeNs && runtimeNs < syncNs, `${execNs} ${runtimeNs} ${syncNs}`);
  t.same(await monitor.pids(), [monitor.daemonPid]);
  t.equal((await footprint(await monitor.pids())).threads >= 1, true);
  const processes = [await readProcess(monitor.daemonPid), await readProcess(monitor.containerPid)];
  await monitor.dispose();
  for (const found of processes) {
    if (found === undefined) throw new Error('was not running');
    t.equal(await isAlive(found.pid, found.startTicks), false);
  }
  t.same(await readdir(environment.workDir), []);
});

t.test('a log that is replaced gives a figure, and its last file is what was written last', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const load = { lineBytes: 100, payloadMB: 4, format: 'k8s-tail', extra: ['--log-size-max', '1000000'] } as const;
  const { metrics } = await floodMonitor(environment, 'rival', load);
  t.ok((metrics['payloadMBps'] ?? 0) > 0 && (metrics['logBytes'] ?? 0) <= 1_000_000, JSON.stringify(metrics));
  t.equal(metrics['payloadBytes'], 4_000_000);
});

t.test('an interrupted run ends at once and leaves nothing', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const stop = new AbortController();
  const run = floodMonitor({ ...environment, signal: stop.signal }, 'rival', {
    ...{ lineBytes: 20, payloadMB: 400 },
  });
  setTimeout(() => stop.abort(new Error('interrupted')), 300);
  await t.rejects(run);
  t.same(await readdir(environment.workDir), []);
});

t.test('binary lines, single writes and both streams are verified too, and no log needs none', { skip }, async (t) => {
  const environment = await environmentFor(t, conmon);
  const load = { lineBytes: 100, payloadMB: 0.5 };
  for (const more of [{ content: 'binary' as const }, { chunkBytes: 100 }, { both: true }]) {
    const { metrics } = await floodMonitor(environment, 'rival', { ...load, ...more });
    const streams = 'both' in more ? 2 : 1;
    t.equal(metrics['payloadBytes'], 500_000 * streams);
    t.ok((metrics['records'] ?? 0) >= 5000 * streams, JSON.stringify(more));
  }
  const { metrics } = await floodMonitor(environment, 'rival', { ...load, log: () => 'none', format: 'none' });
  t.ok((metrics['payloadMBps'] ?? 0) > 0);
  t.equal(metrics['logBytes'], 0);
});
