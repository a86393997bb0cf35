/**
 * One container under conmon for `make run`, from an empty temporary directory to none: bundle, conmon as CRI-O starts
 * it, the runtime's start, the exit file, and the removal of everything, whatever happened in between.
 */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeBundle } from './bundle.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { endMonitor, type Monitor, type MonitorSpec, startMonitor, waitForExitFile } from './monitor.ts';
import type { OciRuntime } from './oci-runtime.ts';

export interface ContainerSpec {
  readonly conmon: string;
  readonly runtime: OciRuntime;
  readonly args: readonly string[];
  readonly terminal: boolean;
  /** Files and directories of this machine that the command needs besides the usual ones. */
  readonly extraPaths: readonly string[];
}

const NAME = 'conmon-run';
const ID_BYTES = 32;
const SHORT_ID_CHARACTERS = 12;
const RUNTIME_TIMEOUT_MS = 30_000;
const execute = promisify(execFile);

/** A fresh directory that only we can enter. The caller removes it with {@link removeWorkDir}. */
export function makeWorkDir(): string {
  return mkdtempSync(join(tmpdir(), `${NAME}-`));
}

/**
 * Removes a work directory. A file system that is still mounted somewhere below it is left alone, with all of the
 * directory: it would be emptied. @throws DemoError then.
 */
export function removeWorkDir(workDir: string): void {
  const mounted = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .find((mountPoint) => mountPoint.startsWith(`${workDir}/`));
  if (mounted !== undefined) throw new DemoError(`${mounted} is still mounted; ${workDir} is left as it is`);
  rmSync(workDir, { recursive: true, force: true });
}

/** A container that conmon monitors. */
export class ContainerRun {
  readonly monitor: Monitor;
  readonly logPath: string;
  readonly exitFilePath: string;
  /** The SEQPACKET socket that conmon offers to clients, where CRI-O looks for it. */
  readonly attachPath: string;
  readonly ctlPath: string;
  readonly #spec: MonitorSpec;

  private constructor(spec: MonitorSpec, monitor: Monitor) {
    this.#spec = spec;
    this.monitor = monitor;
    this.logPath = spec.logPath;
    this.exitFilePath = join(spec.exitDir, spec.id);
    this.attachPath = join(spec.socketDir, spec.id, 'attach');
    this.ctlPath = join(spec.bundle, 'ctl');
  }

  /** Creates the container; it waits for {@link start}. A failure leaves nothing but files in `workDir`. */
  static async create(container: ContainerSpec, workDir: string): Promise<ContainerRun> {
    const id = randomBytes(ID_BYTES).toString('hex');
    const bundle = join(workDir, 'bundle');
    const directory = (name: string) => {
      mkdirSync(join(workDir, name));
      return join(workDir, name);
    };
    const { args, terminal, extraPaths, conmon, runtime } = container;
    writeBundle({ path: bundle, args, terminal, extraPaths, hostname: id.slice(0, SHORT_ID_CHARACTERS) });
    const spec: MonitorSpec = {
      conmon,
      id,
      name: NAME,
      bundle,
      terminal,
      runtime: runtime.path,
      runtimeRoot: join(workDir, 'state'),
      logPath: join(directory('log'), 'container.log'),
      exitDir: directory('exits'),
      persistDir: directory('persist'),
      socketDir: directory('attach'),
    };
    try {
      return new ContainerRun(spec, await startMonitor(spec));
    } catch (error) {
      // The runtime may have got further than conmon said; that there is nothing to delete is no news.
      await runRuntime(spec, ['delete', '--force', id]).catch(() => {});
      throw error;
    }
  }

  async start(): Promise<void> {
    await runRuntime(this.#spec, ['start', this.#spec.id]);
  }

  /** Waits for the container's end. @returns the exit file's content. @throws the signal's reason when it is aborted. */
  async waitForExit(signal: AbortSignal): Promise<string> {
    return await waitForExitFile(this.#spec, this.monitor, signal);
  }

  /** Ends what still runs and waits for conmon's end. @returns what went wrong, a line each. */
  async end(): Promise<readonly string[]> {
    const problems: string[] = [];
    try {
      await runRuntime(this.#spec, ['delete', '--force', this.#spec.id]);
    } catch (error) {
      problems.push(reasonOf(error));
    }
    if (!(await endMonitor(this.monitor))) {
      problems.push(`conmon (process ${this.monitor.process.pid}) did not end with its container and was killed`);
    }
    return problems;
  }
}

async function runRuntime(spec: MonitorSpec, args: readonly string[]): Promise<void> {
  try {
    await execute(spec.runtime, [`--root=${spec.runtimeRoot}`, ...args], { timeout: RUNTIME_TIMEOUT_MS });
  } catch (error) {
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new DemoError(`${spec.runtime} ${args[0]} failed: ${stderr || reasonOf(error)}`, { cause: error });
  }
}
