/**
 * What the demo runtime does: create, start, state, exec, kill and delete, each one function that answers or throws.
 * A container here is a plain process of this machine and nothing more.
 */

import { rmSync } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import type { Sys } from '../native/sys.ts';
import { loadPty, openConsole, waitForConsole } from './console.ts';
import { type ContainerStore, writeAtomically } from './container-store.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { identify, isSessionAlive, signalProcess, signalSession, waitUntil } from './process-identity.ts';
import { checkCommand, type ProcessSpec, readBundleConfig, readProcessFile } from './process-spec.ts';
import { makeGate, passGate, startNow, startWaiting } from './waiting-process.ts';

/** What `create` and `exec` have in common. */
interface StdioOptions {
  readonly pidFile: string | undefined;
  readonly consoleSocket: string | undefined;
  /** Fds 3, 4, ... that the process keeps. */
  readonly preserveFds: number;
}

export interface CreateOptions extends StdioOptions {
  readonly bundle: string;
}

export interface ExecOptions extends StdioOptions {
  readonly processFile: string;
}

/** OCI runtime specification 1.0.2, runtime.md "State"; `created` as runc adds it. */
export interface ContainerState {
  readonly ociVersion: string;
  readonly id: string;
  readonly status: string;
  readonly pid: number;
  readonly bundle: string;
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

const KILL_TIMEOUT_MS = 10_000;

/**
 * Starts the container's process up to the point where it waits for {@link startContainer}. When this has answered,
 * exit without another turn of the event loop (./waiting-process.ts says why). A failure leaves nothing behind.
 */
export async function createContainer(
  store: ContainerStore,
  sys: Sys,
  id: string,
  options: CreateOptions,
): Promise<void> {
  const bundle = resolve(options.bundle);
  const config = readBundleConfig(bundle);
  checkConsole(config.process, options.consoleSocket);
  checkCommand(config.process);
  store.claim(id);
  let pid: number | undefined;
  try {
    pid = await startGated(sys, store.gatePath(id), config.process, options);
    const { ociVersion, annotations } = config;
    const created = new Date().toISOString();
    store.write({ id, ociVersion, bundle, annotations, created, init: identifyChild(pid) });
    writePidFile(options.pidFile, pid);
  } catch (error) {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    store.remove(id);
    throw error;
  }
}

/** Lets a created container's process become its command. @throws DemoError when it is not in the state "created". */
export function startContainer(store: ContainerStore, id: string): void {
  const status = store.status(id);
  if (status !== 'created') throw new DemoError(`cannot start a container in the state "${status}"`);
  // Written before the gate goes: should we die in between, the container runs and can still be killed.
  pass(store.gatePath(id), 'start');
  if (!store.removeGate(id)) throw new DemoError(`container ${id} was started by someone else at the same time`);
}

export function containerState(store: ContainerStore, id: string): ContainerState {
  const record = store.require(id);
  const status = store.status(id);
  const { ociVersion, bundle, created, annotations } = record;
  const pid = status === 'stopped' ? 0 : record.init.pid;
  return { ociVersion, id, status, pid, bundle, created, annotations };
}

/**
 * Starts one more process in the container: a plain process again. When this has answered, exit (or wait for the
 * process) as after {@link createContainer}.
 * @returns its pid.
 */
export async function execProcess(store: ContainerStore, sys: Sys, id: string, options: ExecOptions): Promise<number> {
  const status = store.status(id);
  if (status !== 'running' && status !== 'created') {
    throw new DemoError(`cannot exec in a container in the state "${status}"`);
  }
  const spec = readProcessFile(options.processFile);
  checkConsole(spec, options.consoleSocket);
  checkCommand(spec);
  const gatePath = store.scratchPath(id, 'console');
  let pid: number | undefined;
  try {
    pid = spec.terminal
      ? await startGated(sys, gatePath, spec, options)
      : await startNow(sys, spec, options.preserveFds);
    store.noteExec(id, identifyChild(pid));
    writePidFile(options.pidFile, pid);
    if (spec.terminal) pass(gatePath, 'start');
    return pid;
  } catch (error) {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    throw error;
  } finally {
    rmSync(gatePath, { force: true });
  }
}

/** Signals the container's init, or with `all` every process of its session and of its execs' sessions. */
export function killContainer(store: ContainerStore, id: string, signal: number, all: boolean): void {
  const { init } = store.require(id);
  const signalled = all ? signalAll(store, id, signal) > 0 : signalProcess(init, signal);
  if (!signalled) throw new DemoError(`container ${id} is not running`);
}

/** Forgets a container that has ended or was never started; with `force` ends a running one first. */
export async function deleteContainer(store: ContainerStore, id: string, force: boolean): Promise<void> {
  if (force && !store.has(id)) return;
  if (store.read(id) !== undefined) {
    if (store.status(id) === 'running' && !force) {
      throw new DemoError(`cannot delete container ${id}: it is running; kill it first or use --force`);
    }
    await endAll(store, id);
  } else if (!force) {
    throw new DemoError(`container ${id} is still being created; use --force if that has failed`);
  }
  store.remove(id);
}

/** `TERM`, `SIGTERM`, `sigterm` or `15` as a number. @throws DemoError for anything else. */
export function signalNumber(text: string): number {
  const upper = text.toUpperCase();
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const byName = Object.entries(constants.signals).find(([known]) => known === name);
  if (byName !== undefined) return byName[1];
  const number = Number(text);
  if (/^[0-9]+$/.test(text) && number >= 1 && number <= 64) return number;
  throw new DemoError(`unknown signal "${text}"`);
}

async function endAll(store: ContainerStore, id: string): Promise<void> {
  const leaders = () => [store.require(id).init, ...store.execs(id)];
  const ended = await waitUntil(() => {
    signalAll(store, id, constants.signals.SIGKILL);
    return !leaders().some(isSessionAlive);
  }, KILL_TIMEOUT_MS);
  if (!ended) throw new DemoError(`container ${id}: a process did not end on SIGKILL`);
}

function signalAll(store: ContainerStore, id: string, signal: number): number {
  const leaders = [store.require(id).init, ...store.execs(id)];
  return leaders.reduce((sum, leader) => sum + signalSession(leader, signal), 0);
}

/** Starts a waiting process and gives it its terminal, if it wants one. It then waits for the line that starts it. */
async function startGated(sys: Sys, gatePath: string, spec: ProcessSpec, options: StdioOptions): Promise<number> {
  const { consoleSocket, preserveFds } = options;
  const openPty = consoleSocket === undefined ? undefined : await loadPty();
  makeGate(sys, gatePath);
  const pid = await startWaiting(sys, spec, gatePath, openPty !== undefined, preserveFds);
  try {
    if (openPty !== undefined && consoleSocket !== undefined) {
      // After the process was started: the terminal's fds are not close-on-exec and must not reach it.
      const slavePath = openConsole(sys, openPty, consoleSocket, spec);
      pass(gatePath, slavePath);
      waitForConsole(pid, slavePath);
    }
    return pid;
  } catch (error) {
    process.kill(pid, 'SIGKILL');
    throw error;
  }
}

function pass(gatePath: string, line: string): void {
  if (!passGate(gatePath, line)) throw new DemoError('the process ended before it was started');
}

function checkConsole(spec: ProcessSpec, consoleSocket: string | undefined): void {
  if (spec.terminal && consoleSocket === undefined) throw new DemoError('a terminal needs --console-socket');
  if (!spec.terminal && consoleSocket !== undefined) {
    throw new DemoError('--console-socket is given, but process.terminal is not true');
  }
}

/** Our child cannot be gone: libuv has had no chance to reap it. */
function identifyChild(pid: number) {
  const identity = identify(pid);
  if (identity === undefined) throw new DemoError(`process ${pid} is gone`);
  return identity;
}

function writePidFile(path: string | undefined, pid: number): void {
  if (path === undefined) return;
  try {
    writeAtomically(path, String(pid));
  } catch (error) {
    throw new DemoError(`cannot write the pid file ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
