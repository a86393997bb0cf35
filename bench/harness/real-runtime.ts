// The life of one container under a real runtime, runc or crun, started as CRI-O does: create, start, an ExecSync session,
// exit. Main thread only. What it makes goes with its workspace, containers and cgroups too.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeBundle } from '../../test/helpers/bundle.ts';
import { findRuntime, type RuntimeName } from '../../test/helpers/runtimes.ts';
import { Workspace } from '../../test/helpers/workspace.ts';
import { crioArguments, crioEnvironment, execSyncArguments, rootArgument } from './command-line.ts';
import type { Environment, Side } from './environment.ts';
import { checkExecLog, syncStatus } from './exec-session.ts';
import { noticeMs } from './exit-notice.ts';
import { parseStarterReport } from './monitor.ts';
import { programPath } from './native.ts';
import { verifyLines } from './verify.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);
const limitMs = 40_000;

export interface RealLife {
  /** exec of conmon to that of the runtime. */
  readonly toRuntimeMs: number;
  /** exec of conmon to the container's pid on the sync pipe. */
  readonly toSyncMs: number;
  /** exec of conmon to the end of what the engine started. */
  readonly toLauncherExitMs: number;
  /** A whole ExecSync session in the running container. */
  readonly sessionMs: number;
  /** The container's last act to its exit file. */
  readonly exitNoticeMs: number;
}

/** Rejects when a pid, a status, a log or an exit file is not what it should be, or when something stays behind. */
export async function realLife(environment: Environment, side: Side, name: RuntimeName): Promise<RealLife> {
  const workspace = new Workspace();
  try {
    const life = await live(environment, side, name, workspace);
    await workspace.runDeferred();
    await workspace.expectNothingLeft();
    return life;
  } catch (error) {
    await workspace.runDeferred().catch(() => {}); // what failed first is told; destroy takes the rest
    throw error;
  } finally {
    workspace.destroy();
  }
}

async function live(environment: Environment, side: Side, name: RuntimeName, workspace: Workspace): Promise<RealLife> {
  const { signal } = environment;
  const paths = {
    id: randomBytes(32).toString('hex'),
    bundle: workspace.directory('b'),
    logPath: workspace.path('log'),
    runtime: await stamped(findRuntime(name, workspace).path, workspace.path('stamped', name)),
    exitDir: workspace.directory('exits'),
    persistDir: workspace.directory('persist'),
    socketDir: workspace.directory('attach'),
  };
  const program = workspace.path('in-container');
  const exitedAt = workspace.path('exited-at');
  await copyFile(programPath('in-container'), program);
  await mkdir(join(paths.bundle, 'root'), { recursive: true });
  writeBundle(workspace, paths.bundle, paths.id, { args: [program, 'wait', exitedAt] });
  const runtime = async (...args: string[]): Promise<void> => {
    await run(paths.runtime, [rootArgument(paths.bundle), ...args], { timeout: limitMs, signal });
  };
  const start = async (argv: readonly string[]) => {
    const { stdout, stderr } = await run(programPath('starter'), [environment.monitors[side], ...argv], {
      cwd: paths.bundle,
      env: crioEnvironment(),
      timeout: limitMs,
      signal,
    });
    const report = parseStarterReport(stdout);
    const { execNs, syncNs, launcherExitNs } = report.times;
    const toSyncMs = (syncNs - execNs) / 1e6;
    return { report, stderr, execNs, toSyncMs, toLauncherExitMs: (launcherExitNs - execNs) / 1e6 };
  };

  const { report, stderr, execNs, toSyncMs, toLauncherExitMs } = await start(crioArguments(paths));
  if (report.containerPid <= 0) throw new Error(`${side}, ${name}: ${report.message} ${stderr}`.trim());
  workspace.defer(() => runtime('delete', '--force', paths.id));
  const toRuntimeMs = (Number(await readFile(`${paths.runtime}.at`, 'latin1')) - execNs) / 1e6;
  await runtime('start', paths.id);
  const isReady = async (): Promise<boolean> => (await readFile(paths.logPath, 'latin1')).endsWith(' ready\n');
  await waitFor('the container to be ready', isReady, { limitMs, signal });

  const execLog = workspace.path('exec-log');
  const pidFile = workspace.path('exec-pid');
  const processSpec = workspace.path('process.json');
  for (const path of [execLog, pidFile]) await writeFile(path, '');
  const user = { uid: 0, gid: 0 };
  await writeFile(processSpec, JSON.stringify({ user, args: [program, 'say', 'alive'], env: ['PATH=/bin'], cwd: '/' }));
  const exec = await start(
    execSyncArguments({ ...paths, logPath: execLog, pidFile, processSpec, runtimeArgs: [rootArgument(paths.bundle)] }),
  );
  const status = syncStatus(exec.report.message);
  if (status !== 0) throw new Error(`${side}, ${name}: the exec's status is ${exec.report.message} ${exec.stderr}`);
  checkExecLog(side, await readFile(execLog, 'utf8'));

  const exitNoticeMs = await noticeMs(paths.exitDir, paths.id, signal, async () => {
    process.kill(report.containerPid, 'SIGTERM');
    const time = async (): Promise<string> => readFile(exitedAt, 'latin1');
    return Number(
      await waitFor("the container's exit", async () => (await time()) !== '' && time(), { limitMs, signal }),
    );
  });
  const told = await readFile(join(paths.exitDir, paths.id), 'utf8');
  if (told !== '0') throw new Error(`${side}, ${name}: says the container exited with ${told}`);
  await verifyLines(paths.logPath, 1, (line) => line === 'ready');
  return { toRuntimeMs, toSyncMs, toLauncherExitMs, sessionMs: exec.toLauncherExitMs, exitNoticeMs };
}

/** Makes a runtime at `path` that leaves the time when it is first executed in `PATH.at`, and is `runtime` otherwise. */
async function stamped(runtime: string, path: string): Promise<string> {
  await writeFile(`${path}.exec`, runtime);
  await symlink(programPath('stamp-exec'), path);
  return path;
}
