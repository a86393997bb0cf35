/**
 * Starts conmon the way CRI-O does and tells when its container has ended: start and sync pipes in the environment,
 * pid files, exit and persist directory, socket directory, log path. It knows conmon's contract and no runtime.
 * Source: CRI-O internal/oci/runtime_oci.go, createContainer.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf, DemoError, reasonOf } from './demo-error.ts';
import { identify, isAlive, type ProcessIdentity, signalProcess, waitUntil } from './process-identity.ts';
import { Watched } from './watched.ts';

export interface MonitorSpec {
  /** Path of the conmon to start. */
  readonly conmon: string;
  readonly id: string;
  readonly name: string;
  readonly bundle: string;
  readonly runtime: string;
  readonly runtimeRoot: string;
  readonly logPath: string;
  readonly exitDir: string;
  readonly persistDir: string;
  readonly socketDir: string;
  readonly terminal: boolean;
}

/** A conmon whose container has been created. */
export interface Monitor {
  readonly process: ProcessIdentity;
  readonly containerPid: number;
}

/** utime + stime of a process and its reaped children, in seconds. */
export interface CpuTime {
  readonly userSeconds: number;
  readonly systemSeconds: number;
}

const SYNC_PIPE_FD = 3;
const START_PIPE_FD = 4;
const RECHECK_MS = 100;
const CREATE_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 5_000;
const CLOCK_TICKS_PER_SECOND = 100;

/**
 * Starts conmon and waits until it says that the container is created. @throws DemoError with conmon's or the
 * runtime's own words when it is not; conmon has then ended.
 */
export async function startMonitor(spec: MonitorSpec): Promise<Monitor> {
  const pidFile = join(spec.bundle, 'conmon-pidfile');
  const child = spawn(spec.conmon, monitorArguments(spec, pidFile), {
    cwd: spec.bundle,
    env: monitorEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
  });
  const failed = once(child, 'error').then(([error]: unknown[]) => {
    throw new DemoError(`cannot start ${spec.conmon}: ${reasonOf(error)}`, { cause: error });
  });
  const created = waitForCreated(child, spec.conmon, pidFile);
  created.catch(() => {});
  try {
    return await Promise.race([failed, created]);
  } catch (error) {
    await endLeftOver(pidFile);
    throw error;
  }
}

/**
 * Waits until conmon has written the container's exit file. The log is complete then.
 * @returns the file's content, a decimal status. @throws DemoError when conmon ends without it.
 */
export async function waitForExitFile(spec: MonitorSpec, monitor: Monitor, signal: AbortSignal): Promise<string> {
  const path = join(spec.exitDir, spec.id);
  const exitDir = new Watched(spec.exitDir);
  try {
    for (;;) {
      signal.throwIfAborted();
      const alive = isAlive(monitor.process);
      const content = readIfThere(path);
      if (content !== undefined) return content;
      if (!alive) throw new DemoError(`conmon ended without an exit file: ${path} is missing`);
      await exitDir.next(RECHECK_MS);
    }
  } finally {
    exitDir.close();
  }
}

/** Waits for conmon to end by itself, and ends it when it does not. @returns whether it ended by itself. */
export async function endMonitor(monitor: Monitor): Promise<boolean> {
  if (await waitUntil(() => !isAlive(monitor.process), END_TIMEOUT_MS)) return true;
  signalProcess(monitor.process, 9);
  await waitUntil(() => !isAlive(monitor.process), END_TIMEOUT_MS);
  return false;
}

/** @returns undefined when the process is gone. */
export function cpuTime(pid: number): CpuTime | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15);
  return {
    userSeconds: (utime + cutime) / CLOCK_TICKS_PER_SECOND,
    systemSeconds: (stime + cstime) / CLOCK_TICKS_PER_SECOND,
  };
}

/** After a failure conmon should end; one that does not would go on without anybody who knows it. */
async function endLeftOver(pidFile: string): Promise<void> {
  const pid = Number(readIfThere(pidFile) ?? '');
  const process = pid > 0 ? identify(pid) : undefined;
  if (process !== undefined) await endMonitor({ process, containerPid: -1 });
}

function monitorArguments(spec: MonitorSpec, pidFile: string): readonly string[] {
  return [
    ...['-b', spec.bundle, '-c', spec.id, '--exit-dir', spec.exitDir, '-l', spec.logPath, '--log-level', 'warning'],
    ...['-n', spec.name, '-P', pidFile, '-p', join(spec.bundle, 'pidfile'), '--persist-dir', spec.persistDir],
    ...['-r', spec.runtime, '--runtime-arg', `--root=${spec.runtimeRoot}`, '--socket-dir-path', spec.socketDir],
    ...['-u', spec.id, ...(spec.terminal ? ['-t'] : [])],
  ];
}

/** CRI-O starts conmon with these variables alone; CONMON_* are the settings that its `monitor_env` would add. */
function monitorEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => name === 'PATH' || name === 'XDG_RUNTIME_DIR' || name.startsWith('CONMON_'),
  );
  return {
    ...Object.fromEntries(kept),
    _OCI_SYNCPIPE: String(SYNC_PIPE_FD),
    _OCI_STARTPIPE: String(START_PIPE_FD),
  };
}

async function waitForCreated(child: ChildProcess, conmon: string, pidFile: string): Promise<Monitor> {
  let complaints = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  const startPipe = child.stdio[START_PIPE_FD] as Writable;
  // conmon may be gone before it reads; what it said is reported below.
  startPipe.on('error', () => {});
  startPipe.end(Buffer.alloc(1));
  const message = readLine(child.stdio[SYNC_PIPE_FD] as Readable);
  const [status] = await once(child, 'exit');
  const line = await Promise.race([message, delay(CREATE_TIMEOUT_MS, '', { ref: false })]);
  const why = complaints.trim();
  if (line === '') {
    throw new DemoError(`${conmon} said nothing on the sync pipe; its status was ${status}${why && `: ${why}`}`);
  }
  const { pid, text } = parseSyncMessage(line);
  if (pid < 0) throw new DemoError(`the container was not created: ${[text.trim(), why].filter(Boolean).join('; ')}`);
  const monitorPid = Number(readFileSync(pidFile, 'latin1'));
  const identity = identify(monitorPid);
  if (identity === undefined) throw new DemoError(`${pidFile} names process ${monitorPid}, which is gone`);
  return { process: identity, containerPid: pid };
}

function parseSyncMessage(line: string): { readonly pid: number; readonly text: string } {
  try {
    const { pid, message = '' } = JSON.parse(line) as { pid?: unknown; message?: unknown };
    if (typeof pid === 'number') return { pid, text: String(message) };
  } catch {
    // Told below, like a message of another shape.
  }
  throw new DemoError(`conmon said on the sync pipe what nobody understands: ${JSON.stringify(line)}`);
}

/** @returns the first line, or '' when the stream ends before one is complete. */
async function readLine(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return text.includes('\n') ? text : '';
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}
