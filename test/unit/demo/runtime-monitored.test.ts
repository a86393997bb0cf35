/** The demo runtime under a monitor: no status is lost, however short a process lives. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import t from 'tap';
import { endMonitor, type MonitorSpec, startMonitor, waitForExitFile } from '../../../src/demo/monitor.ts';
import { MONITORS, processSpec, REPOSITORY, Scratch } from './support.ts';

const scratch = new Scratch(t);
const EXEC_ROUNDS = 10;

t.ok(MONITORS.length > 0, 'there is a conmon to test with');

for (const conmon of MONITORS) {
  const label = conmon.replace(`${REPOSITORY}/`, '');
  let count = 0;

  const monitorSpec = (args: readonly string[]): MonitorSpec => {
    const directory = (name: string) => {
      const path = scratch.fresh(name);
      mkdirSync(path);
      return path;
    };
    return {
      conmon,
      id: `${label.replaceAll('/', '-').replace(/^-/, '')}-${++count}`,
      name: 'test',
      bundle: scratch.bundle(processSpec(args)),
      runtime: scratch.runtime,
      runtimeRoot: scratch.root,
      logPath: scratch.fresh('log'),
      exitDir: directory('exits'),
      persistDir: directory('persist'),
      socketDir: directory('sockets'),
      terminal: false,
    };
  };
  const signal = () => AbortSignal.timeout(20_000);

  t.test(`${label}: exit statuses and signals are the command's`, async (t) => {
    for (const [script, status] of [
      ['exit 0', '0'],
      ['exit 7', '7'],
      ['exit 255', '255'],
      ['kill -KILL $$', '137'],
      ['kill -TERM $$', '143'],
      ['exec /nonexistent', '127'],
    ] as const) {
      const spec = monitorSpec(['sh', '-c', script]);
      const monitor = await startMonitor(spec);
      scratch.must(['start', spec.id]);
      t.equal(await waitForExitFile(spec, monitor, signal()), status, script);
      t.ok(await endMonitor(monitor), 'conmon ends by itself');
      scratch.must(['delete', spec.id]);
    }
  });

  t.test(`${label}: a container killed before its start has ended by that signal`, async (t) => {
    const spec = monitorSpec(['sh', '-c', 'echo never']);
    const monitor = await startMonitor(spec);
    scratch.must(['kill', spec.id, 'KILL']);
    t.equal(await waitForExitFile(spec, monitor, signal()), '137');
    t.equal(readFileSync(spec.logPath, 'utf8'), '');
    await endMonitor(monitor);
    scratch.must(['delete', spec.id]);
  });

  t.test(`${label}: a failing create reaches the caller with the runtime's words`, async (t) => {
    const spec = monitorSpec(['frobnicate']);
    await t.rejects(startMonitor(spec), /"frobnicate": executable file not found in \$PATH.*isolates nothing/s);
    t.notOk(scratch.containers().includes(spec.id));
  });

  t.test(`${label}: a command that ends before its exec does keeps its status`, async (t) => {
    const spec = monitorSpec(['sleep', '300']);
    const monitor = await startMonitor(spec);
    scratch.must(['start', spec.id]);
    const processFile = scratch.fresh('process');
    writeFileSync(processFile, JSON.stringify(processSpec(['sh', '-c', 'exit 42'])));
    for (let round = 0; round < EXEC_ROUNDS; round++) {
      const message = await execSync(conmon, spec.id, processFile);
      t.match(message, { exit_code: 42 }, `round ${round}`);
    }
    scratch.must(['delete', '--force', spec.id]);
    t.equal(await waitForExitFile(spec, monitor, signal()), '137');
    t.ok(await endMonitor(monitor));
  });
}

/** Runs one command in the container as CRI-O's ExecSync does. @returns the last message on the sync pipe. */
async function execSync(conmon: string, id: string, processFile: string): Promise<unknown> {
  const child = spawn(
    conmon,
    [
      ...['-c', id, '-n', id, '-r', scratch.runtime, '-p', scratch.fresh('pidfile'), '-e', '-l', scratch.fresh('log')],
      ...['--socket-dir-path', scratch.directory, '--sync', '--exec-process-spec', processFile],
      ...['--runtime-arg', `--root=${scratch.root}`],
    ],
    { stdio: ['ignore', 'ignore', 'inherit', 'pipe'], env: { _OCI_SYNCPIPE: '3' }, timeout: 20_000 },
  );
  let text = '';
  (child.stdio[3] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  return JSON.parse(text.trim().split('\n').at(-1) ?? '');
}
