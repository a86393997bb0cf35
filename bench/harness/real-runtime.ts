// A start under a real runtime, runc or crun: create to the pid on the sync pipe, with a busybox container that is never
// started. Main thread only. What it makes goes with its workspace, containers and cgroups too.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeBundle } from '../../test/helpers/bundle.ts';
import { findRuntime, type RuntimeName } from '../../test/helpers/runtimes.ts';
import { Workspace } from '../../test/helpers/workspace.ts';
import { crioArguments, crioEnvironment } from './command-line.ts';
import type { Environment, Side } from './environment.ts';
import { parseStarterReport, type StartTimes } from './monitor.ts';
import { programPath } from './native.ts';

const run = promisify(execFile);
const limitMs = 40_000;

/** Starts and ends one container. Rejects when there is no pid on the sync pipe, or something stays behind. */
export async function startReal(
  environment: Environment,
  side: Side,
  name: RuntimeName,
): Promise<Omit<StartTimes, 'runtimeNs'>> {
  const workspace = new Workspace();
  try {
    const paths = {
      id: randomBytes(32).toString('hex'),
      bundle: workspace.directory('b'),
      logPath: workspace.path('log'),
      runtime: findRuntime(name, workspace).path,
      exitDir: workspace.directory('exits'),
      persistDir: workspace.directory('persist'),
      socketDir: workspace.directory('attach'),
    };
    await mkdir(join(paths.bundle, 'root'), { recursive: true });
    writeBundle(workspace, paths.bundle, paths.id, { args: ['/bin/true'] });
    const argv = [environment.monitors[side], ...crioArguments(paths)];
    const { stdout, stderr } = await run(programPath('starter'), argv, {
      cwd: paths.bundle,
      env: crioEnvironment(),
      timeout: limitMs,
    });
    const report = parseStarterReport(stdout);
    if (report.containerPid <= 0) throw new Error(`${side}, ${name}: ${report.message} ${stderr}`.trim());
    await run(paths.runtime, [`--root=${paths.bundle}`, 'delete', '--force', paths.id], { timeout: limitMs });
    return report.times;
  } finally {
    await workspace.runDeferred();
    await workspace.expectNothingLeft();
    workspace.destroy();
  }
}
