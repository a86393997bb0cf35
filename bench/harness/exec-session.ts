// One exec session with a trivial process, as CRI-O's ExecSync or as Podman runs it, in a container that runs or in none.
// What it gives is checked: status, output, whose child the runtime was. Main thread only.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crioEnvironment, execSyncArguments, podmanExecArguments, rootArgument } from './command-line.ts';
import { numberIn, parseReply } from './container.ts';
import type { Environment, Side } from './environment.ts';
import { type Monitor, parseStarterReport } from './monitor.ts';
import { programPath } from './native.ts';

const run = promisify(execFile);
const limitMs = 40_000;

export interface ExecPlan {
  /** The container, under its monitor; undefined = one that nobody monitors, which no exec can join. */
  readonly container?: Monitor;
  /** Whether the exec is to join the container's daemon: it is checked. Default: not. */
  readonly joins?: boolean;
  /** CONMON_SESSIONS=off. */
  readonly alone?: boolean;
  /** Default: a k8s-file. */
  readonly log?: 'none';
  /** Where its files are; default: the bench's directory. */
  readonly parentDir?: string;
  /** Started as Podman does, without a log, its exit command due after so many seconds; default: as ExecSync. */
  readonly podmanExitDelaySeconds?: number;
  /** The process stays until `release` is called. */
  readonly held?: boolean;
}

/** What one exec took. */
export interface ExecFigures {
  /** exec of conmon to the runtime's main. */
  readonly toRuntimeMs: number;
  /** exec of conmon to its end. */
  readonly sessionMs: number;
  /**
   * CPU of the processes that conmon was, which have all ended; not that of a daemon that was joined, nor the runtime's, but
   * for `alone`: that launcher reaps its daemon, which has reaped the runtime (about 2 ms), and the kernel adds them up.
   */
  readonly cpuNs: number;
}

export interface Exec {
  /** The parent of conmon. */
  readonly starterPid: number;
  /** Rejects when status or output are not what the process gave, or when the runtime was somebody else's child. */
  readonly done: Promise<ExecFigures>;
  /** The pid that the runtime told; undefined until then. */
  processPid(): Promise<number | undefined>;
  /** What is in the log so far. */
  logged(): Promise<string>;
  /** Lets a held process end. */
  release(): Promise<void>;
}

/** Runs one exec to its end. Whatever fails, its files are gone. */
export async function execSession(environment: Environment, side: Side, plan: ExecPlan = {}): Promise<ExecFigures> {
  return (await startExec(environment, side, plan)).done;
}

/** Starts one exec. Its files go when `done` is settled. */
export async function startExec(environment: Environment, side: Side, plan: ExecPlan): Promise<Exec> {
  const dir = await mkdtemp(join(plan.parentDir ?? environment.workDir, `${side}-exec-`));
  const logPath = join(dir, 'log');
  const paths = {
    id: plan.container?.paths.id ?? randomBytes(32).toString('hex'),
    pidFile: join(dir, 'pid'),
    logPath: plan.log ?? logPath,
    runtime: programPath('fake-runtime'),
    socketDir: join(dir, 'attach'),
    processSpec: join(dir, 'process.json'),
    runtimeArgs: plan.container === undefined ? [] : [rootArgument(plan.container.paths.bundle)],
    bundle: join(dir, 'b'),
    exitDir: join(dir, 'exits'),
    persistDir: join(dir, 'persist'),
  };
  for (const path of [paths.socketDir, paths.bundle, paths.exitDir, paths.persistDir]) await mkdir(path);
  for (const path of [paths.pidFile, logPath]) await writeFile(path, '');
  await writeFile(paths.processSpec, '{}');
  const hold = plan.held === true ? await holdAt(`${paths.pidFile}.hold`) : undefined;

  const delay = plan.podmanExitDelaySeconds;
  const argv =
    delay === undefined
      ? ['--tree', environment.monitors[side], ...execSyncArguments(paths)]
      : ['--lines', '2', environment.monitors[side], ...podmanExecArguments(paths, delay)];
  const starter = run(programPath('starter'), argv, {
    cwd: dir,
    env: { ...crioEnvironment(), ...(plan.alone === true ? { CONMON_SESSIONS: 'off' } : {}) },
    timeout: limitMs,
    signal: environment.signal,
  });
  const finish = async (): Promise<ExecFigures> => {
    try {
      const { stdout } = await starter;
      const { times, launcherCpuNs, treeCpuNs, message } = parseStarterReport(stdout);
      const status = delay === undefined ? syncStatus(message) : podmanStatus(message);
      if (status !== 0) throw new Error(`${side}: the exec's status is ${JSON.stringify(message)}`);
      if (delay === undefined && plan.log === undefined) checkExecLog(side, await readFile(logPath, 'utf8'));
      const note = parseReply(await readFile(`${paths.pidFile}.at`, 'utf8'));
      checkParent(side, numberIn(note, 'parent'), plan);
      return {
        toRuntimeMs: (numberIn(note, 'at') - times.execNs) / 1e6,
        sessionMs: (times.launcherExitNs - times.execNs) / 1e6,
        cpuNs: plan.alone === true ? launcherCpuNs : treeCpuNs,
      };
    } finally {
      await hold?.close();
      await rm(dir, { recursive: true, force: true });
    }
  };
  const done = finish();
  done.catch(() => {}); // who waits for it is told
  return {
    starterPid: starter.child.pid ?? -1,
    done,
    processPid: async () => Number(await readFile(paths.pidFile, 'utf8')) || undefined,
    logged: async () => readFile(logPath, 'utf8'),
    release: async () => hold?.close(),
  };
}

/** The status in what ExecSync reads; undefined when there is none. */
export function syncStatus(message: string): unknown {
  return valueIn(message, 'exit_code');
}

/** The status in what Podman reads, a pid and a status, each in a line; undefined unless both are there. */
export function podmanStatus(messages: string): unknown {
  const [pid = '', status = '', ...rest] = messages.trimEnd().split('\n');
  const told = valueIn(pid, 'data');
  return rest.length === 0 && typeof told === 'number' && told > 0 ? valueIn(status, 'data') : undefined;
}

function valueIn(message: string, key: string): unknown {
  try {
    return Reflect.get(Object(JSON.parse(message)), key);
  } catch {
    return undefined; // nothing, or something cut short
  }
}

/** Throws unless the log holds what the process of an exec writes, and nothing else. */
export function checkExecLog(side: Side, log: string): void {
  if (!/^\S+ stdout F alive\n$/.test(log)) throw new Error(`${side}: the exec's log holds ${JSON.stringify(log)}`);
}

/** A figure of an exec that went another way than it was to go does not count. */
function checkParent(side: Side, parentPid: number, plan: ExecPlan): void {
  const joined = parentPid === plan.container?.daemonPid;
  if (joined !== (plan.joins ?? false))
    throw new Error(`${side}: the exec has ${joined ? '' : 'not '}joined its container's daemon`);
}

/** A fifo whose readers wait until the handle is closed. */
async function holdAt(path: string): Promise<FileHandle> {
  await run('mkfifo', [path], { timeout: limitMs });
  return open(path, constants.O_RDWR); // it has a reader at once: opening does not wait
}
