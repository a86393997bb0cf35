/**
 * One case's place: a temporary directory whose name marks every process, cgroup and file that the case makes, so that
 * all of it can be found and taken away, also when the case fails or the test process is told to end.
 * It never touches anything that does not carry the mark.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { processesMarked } from './proc.ts';
import { waitFor } from './wait.ts';

const CGROUP_ROOT = '/sys/fs/cgroup';
const open = new Set<Workspace>();

export class Workspace {
  readonly dir: string;
  readonly #deferred: (() => void | Promise<void>)[] = [];

  constructor() {
    this.dir = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-e2e-')));
    // Containers of other users walk through it.
    chmodSync(this.dir, 0o755);
    open.add(this);
  }

  /** The name that everything of this case carries. */
  get mark(): string {
    return basename(this.dir);
  }

  /** A path in here; missing parent directories are made. */
  path(...names: string[]): string {
    const path = join(this.dir, ...names);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /** A directory in here, made when missing. */
  directory(...names: string[]): string {
    const path = join(this.dir, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Runs `task` when the case ends, the last one first, whether it passed or not. */
  defer(task: () => void | Promise<void>): void {
    this.#deferred.push(task);
  }

  /** Runs what was deferred. Every task runs; the first error is thrown at the end. */
  async runDeferred(): Promise<void> {
    const errors: unknown[] = [];
    for (let task = this.#deferred.pop(); task !== undefined; task = this.#deferred.pop()) {
      try {
        await task();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) {
      throw errors[0];
    }
  }

  /** What is still there of this case apart from its own files: processes and cgroups. */
  leftovers(): string[] {
    return [
      ...processesMarked(this.mark).map(({ pid, cmdline }) => `process ${pid}: ${cmdline}`),
      ...this.#cgroups().map((path) => `cgroup ${path}`),
    ];
  }

  /** Waits until nothing is left. Throws with the list when something stays. */
  async expectNothingLeft(timeoutMs = 10_000): Promise<void> {
    let left: string[] = [];
    try {
      await waitFor(
        'leftovers to go',
        () => {
          left = this.leftovers();
          return left.length === 0;
        },
        { timeoutMs, intervalMs: 10 },
      );
    } catch (error) {
      throw new Error(`left behind:\n  ${left.join('\n  ')}`, { cause: error });
    }
  }

  /** Takes everything away: processes by pid, cgroups, files. Synchronous, for the way out of the test process too. */
  destroy(): void {
    for (let attempt = 0; attempt < 50; attempt++) {
      const processes = processesMarked(this.mark);
      for (const { pid } of processes) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // ended by itself
        }
      }
      if (processes.length === 0) {
        break;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
    for (const path of this.#cgroups()) {
      try {
        rmdirSync(path);
      } catch {
        // busy for a moment longer: an empty cgroup harms nobody
      }
    }
    rmSync(this.dir, { recursive: true, force: true });
    open.delete(this);
  }

  #cgroups(): string[] {
    const roots = [CGROUP_ROOT, ...readdirSync(CGROUP_ROOT).map((name) => join(CGROUP_ROOT, name))];
    return roots.flatMap((root) => {
      try {
        return readdirSync(root)
          .filter((name) => name.includes(this.mark))
          .map((name) => join(root, name));
      } catch {
        return [];
      }
    });
  }
}

function destroyAll(): void {
  for (const workspace of open) {
    workspace.destroy();
  }
}

process.once('exit', destroyAll);
for (const signal of ['SIGALRM', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  // First in line, and gone again before tap's own handler counts who else wants the signal (SIGALRM is its timeout).
  process.prependOnceListener(signal, destroyAll);
}
