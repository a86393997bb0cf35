// One monitor under test with its fake container: start as CRI-O does, measure, stop, leave nothing behind.
// Main thread only. It ends processes by pid and start time, and never by name.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  type ArgumentOptions,
  type ContainerPaths,
  conmonPidfile,
  crioArguments,
  crioEnvironment,
} from './command-line.ts';
import { ContainerSocket, numberIn } from './container.ts';
import type { Environment, Side } from './environment.ts';
import { programPath } from './native.ts';
import { isAlive, monitorTree, ownCpuNs, readProcess, treeCpuNs } from './procfs.ts';
import { pause, waitFor } from './wait.ts';

const run = promisify(execFile);

const answerLimitMs = 30_000;
const endLimitMs = 10_000;
/** Two samples this far apart with the same CPU clock: the monitor is at rest. */
const restMs = 25;
const restLimitMs = 3_000;

/** Times of a start, CLOCK_MONOTONIC ns. */
export interface StartTimes {
  readonly execNs: number;
  readonly runtimeNs: number;
  readonly syncNs: number;
  readonly launcherExitNs: number;
}

export interface Monitor {
  readonly times: StartTimes;
  readonly daemonPid: number;
  readonly containerPid: number;
  readonly container: ContainerSocket;
  readonly logPath: string;
  /** All the paths that the monitor was given. */
  readonly paths: ContainerPaths;
  /** CPU of the monitor from exec until it is at rest with a running container; the runtime is not in it. */
  readonly startCpuNs: number;
  /** CPU of the monitor's tree so far, ns; the launcher, which has ended, is not in it. */
  cpuNs(): Promise<number>;
  /** Pids of the monitor, without the container. */
  pids(): Promise<readonly number[]>;
  /**
   * Lets the container exit with `status`, waits for the exit file and for the daemon to end.
   * Rejects when the exit file does not say `status`.
   */
  finish(status: number): Promise<void>;
  /** Waits for the daemon's end, and before that for an exit file that says `status`; something else ends the container. */
  ended(status: number): Promise<void>;
  /** Ends whatever still runs and removes all files. Safe after finish and after any failure. */
  dispose(): Promise<void>;
}

/** Starts a monitor for one container, as CRI-O does but for `options`. Whatever fails, nothing is left behind. */
export async function startMonitor(
  environment: Environment,
  side: Side,
  options: ArgumentOptions = {},
): Promise<Monitor> {
  const dir = await mkdtemp(join(environment.workDir, `${side}-`));
  const found: Started = { daemon: undefined, container: undefined, socket: undefined };
  const dispose = async (): Promise<void> => {
    await found.socket?.close();
    for (const process of [found.container, found.daemon]) await endProcess(process);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    return await start(environment, side, options, dir, found, dispose);
  } catch (error) {
    await findDaemon(dir, found);
    await dispose();
    throw error;
  }
}

export interface ProcessName {
  readonly pid: number;
  readonly startTicks: number;
}

interface Started {
  daemon: ProcessName | undefined;
  container: ProcessName | undefined;
  socket: ContainerSocket | undefined;
}

async function start(
  environment: Environment,
  side: Side,
  options: ArgumentOptions,
  dir: string,
  found: Started,
  dispose: () => Promise<void>,
): Promise<Monitor> {
  const { signal } = environment;
  const paths = {
    id: randomBytes(32).toString('hex'),
    bundle: join(dir, 'b'),
    logPath: join(dir, 'log'),
    runtime: programPath('fake-runtime'),
    exitDir: join(dir, 'exits'),
    persistDir: join(dir, 'persist'),
    socketDir: join(dir, 'attach'),
  };
  for (const path of [paths.bundle, paths.exitDir, paths.persistDir, paths.socketDir]) await mkdir(path);
  const socket = await ContainerSocket.listen(paths.bundle, signal);
  found.socket = socket;

  const argv = [environment.monitors[side], ...crioArguments(paths, options)];
  const { stdout, stderr } = await run(programPath('starter'), argv, {
    cwd: paths.bundle,
    env: crioEnvironment(),
    timeout: answerLimitMs + 5_000,
    signal,
  });
  const report = parseStarterReport(stdout);
  if (report.containerPid <= 0) throw new Error(`${side} started no container: ${report.message} ${stderr}`.trim());
  found.container = await nameOf(report.containerPid);
  const daemon = await findDaemon(dir, found);
  if (daemon === undefined) throw new Error(`${side} has no running daemon: ${stderr}`);
  const ready = await socket.receive(answerLimitMs);
  if (numberIn(ready, 'pid') !== report.containerPid) {
    throw new Error(`${side} told pid ${report.containerPid}, the container is ${numberIn(ready, 'pid')}`);
  }

  const ended = async (status: number): Promise<void> => {
    const exitFile = join(paths.exitDir, paths.id);
    const text = await waitFor(`exit file of ${side}`, () => readIfThere(exitFile), { limitMs: endLimitMs, signal });
    if (text !== String(status)) throw new Error(`${side} says the container exited with ${text}, not ${status}`);
    await waitForEnd(`end of ${side}`, daemon);
  };
  const pids = (): Promise<readonly number[]> => monitorTree(daemon.pid, report.containerPid);
  return {
    times: { ...report.times, runtimeNs: numberIn(ready, 'runtime') },
    daemonPid: daemon.pid,
    containerPid: report.containerPid,
    container: socket,
    logPath: paths.logPath,
    paths,
    startCpuNs: report.launcherCpuNs + (await cpuNsAtRest(daemon.pid, signal)),
    cpuNs: async () => treeCpuNs(await pids()),
    pids,
    finish: async (status) => {
      await socket.send(`exit status=${status}`);
      await ended(status);
    },
    ended,
    dispose,
  };
}

interface StarterReport {
  readonly times: Omit<StartTimes, 'runtimeNs'>;
  readonly launcherCpuNs: number;
  /** CPU of everything that the monitor was, without what it reaped; -1 unless the starter was asked for it. */
  readonly treeCpuNs: number;
  readonly containerPid: number;
  readonly message: string;
}

/** Parses what bench/native/starter.c prints. A message that is no JSON with a pid gives pid -1. */
export function parseStarterReport(text: string): StarterReport {
  const report: unknown = JSON.parse(text);
  const number = (key: string): number => {
    const value: unknown = Reflect.get(Object(report), key);
    if (typeof value !== 'number') throw new Error(`starter gave no ${key}: ${text}`);
    return value;
  };
  const message = String(Reflect.get(Object(report), 'message'));
  return {
    times: { execNs: number('execNs'), syncNs: number('syncNs'), launcherExitNs: number('launcherExitNs') },
    launcherCpuNs: number('launcherCpuUs') * 1000,
    treeCpuNs: number('treeCpuNs'),
    containerPid: pidOfMessage(message),
    message,
  };
}

function pidOfMessage(message: string): number {
  try {
    const pid: unknown = Reflect.get(Object(JSON.parse(message)), 'pid');
    return typeof pid === 'number' ? pid : -1;
  } catch {
    return -1; // nothing, or something cut short, came over the sync pipe
  }
}

/** The daemon's own CPU (not that of the runtime, its child) once it has stopped using any. */
export async function cpuNsAtRest(daemonPid: number, signal: AbortSignal): Promise<number> {
  let beforeNs = -1;
  const deadlineMs = performance.now() + restLimitMs;
  for (;;) {
    const nowNs = await ownCpuNs([daemonPid]);
    if (nowNs === beforeNs || performance.now() > deadlineMs) return nowNs;
    beforeNs = nowNs;
    await pause(restMs, signal);
  }
}

async function findDaemon(dir: string, found: Started): Promise<ProcessName | undefined> {
  const text = await readIfThere(conmonPidfile(join(dir, 'b')));
  if (text !== undefined && found.daemon === undefined) found.daemon = await nameOf(Number(text));
  return found.daemon;
}

async function nameOf(pid: number): Promise<ProcessName | undefined> {
  const found = await readProcess(pid);
  return found === undefined ? undefined : { pid, startTicks: found.startTicks };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    return text === '' ? undefined : text;
  } catch {
    return undefined; // not yet
  }
}

async function waitForEnd(what: string, { pid, startTicks }: ProcessName): Promise<void> {
  await waitFor(what, async () => !(await isAlive(pid, startTicks)), { limitMs: endLimitMs });
}

/** Kills it, unless it has ended, and waits for that. */
export async function endProcess(name: ProcessName | undefined): Promise<void> {
  if (name === undefined || !(await isAlive(name.pid, name.startTicks))) return;
  try {
    process.kill(name.pid, 'SIGKILL');
  } catch {
    return; // it ended in between
  }
  await waitForEnd(`end of killed process ${name.pid}`, name);
}
