/**
 * The form of every e2e test: a promise, checked for each conmon under test and for each runtime it names, in a
 * workspace of its own, and after each case the check that nothing was left behind.
 */
import t, { type Test } from 'tap';
import { Container, type ContainerOptions } from './container.ts';
import { Exec, type ExecOptions, type ExecTarget } from './exec.ts';
import { type Monitor, type MonitorName, monitors } from './monitors.ts';
import { findRuntime, type Runtime, type RuntimeName } from './runtimes.ts';
import { Workspace } from './workspace.ts';

export interface PromiseOptions {
  /** Repeat for these runtimes. Without it the case brings fake ones. */
  readonly runtimes?: readonly RuntimeName[];
  /** A conmon that does it otherwise, and why. The case sees it as `differs` and checks what that conmon really does. */
  readonly differs?: Readonly<Partial<Record<MonitorName, string>>>;
  /** A conmon that cannot be held to it at all, and why: the case does not run for it. */
  readonly excludes?: Readonly<Partial<Record<MonitorName, string>>>;
  /** Files may stay, as when conmon is killed. Processes and cgroups never may. */
  readonly keepsFiles?: boolean;
  readonly timeoutMs?: number;
}

export class Case {
  readonly t: Test;
  readonly workspace: Workspace;
  readonly monitor: Monitor;
  /** Why this conmon does it otherwise; undefined = it must keep the promise. */
  readonly differs: string | undefined;
  readonly containers: Container[] = [];
  readonly execs: Exec[] = [];
  readonly #runtime: Runtime | undefined;

  constructor(
    t: Test,
    workspace: Workspace,
    monitor: Monitor,
    runtime: Runtime | undefined,
    differs: string | undefined,
  ) {
    this.t = t;
    this.workspace = workspace;
    this.monitor = monitor;
    this.#runtime = runtime;
    this.differs = differs;
  }

  /** The runtime of this round. Throws in a case that has none. */
  get runtime(): Runtime {
    if (this.#runtime === undefined) {
      throw new Error('this case runs without a real runtime');
    }
    return this.#runtime;
  }

  /** Starts a conmon for a container: under the case's runtime unless the options bring another. */
  container(options: ContainerOptions): Container {
    const container = new Container(this.workspace, this.monitor, this.#runtime, options);
    this.containers.push(container);
    return container;
  }

  /** Starts a conmon for an exec session. */
  exec(container: ExecTarget, options: ExecOptions): Exec {
    const exec = new Exec(this, container, options);
    this.execs.push(exec);
    return exec;
  }
}

/** Tests of execs: ours keeps their promises with a conmon for each exec, and with execs that join the container's. */
const ABOUT_EXECS = /\/exec[^/]*\.test\.ts$/.test(process.argv[1] ?? '');

/** The monitors, ours twice where execs in real containers are tested. */
function variants(options: PromiseOptions): readonly Monitor[] {
  return monitors().flatMap((monitor): readonly Monitor[] => {
    if (monitor.name !== 'ours' || !ABOUT_EXECS || options.runtimes === undefined) return [monitor];
    return [
      { ...monitor, sessions: 'off' },
      { ...monitor, sessions: 'on' },
    ];
  });
}

/** Declares a promise, `title`, and how it is checked. */
export function promise(title: string, options: PromiseOptions, check: (c: Case) => Promise<void>): void {
  for (const monitor of variants(options)) {
    for (const runtimeName of options.runtimes ?? [undefined]) {
      const words = [monitor.name, runtimeName, monitor.sessions === 'on' ? 'joined' : undefined];
      const name = `${title} [${words.filter((word) => word !== undefined).join(', ')}]`;
      const excluded = options.excludes?.[monitor.name];
      if (excluded !== undefined) {
        t.comment(`${name}: not run, ${excluded}`);
        continue;
      }
      t.test(name, { timeout: options.timeoutMs ?? 60_000 }, async (t) => {
        const workspace = new Workspace();
        try {
          const differs = options.differs?.[monitor.name];
          if (differs !== undefined) {
            t.comment(`differs: ${differs}`);
          }
          const runtime = runtimeName === undefined ? undefined : findRuntime(runtimeName, workspace);
          const c = new Case(t, workspace, monitor, runtime, differs);
          try {
            await check(c);
          } catch (error) {
            const started = [...c.containers, ...c.execs];
            for (const { conmon } of started.filter(({ conmon }) => conmon.stdout + conmon.stderr !== '')) {
              t.comment(`conmon stdout: ${JSON.stringify(conmon.stdout)} stderr: ${JSON.stringify(conmon.stderr)}`);
            }
            const running = workspace.leftovers().filter((line) => line.startsWith('process'));
            t.comment(`still running: ${running.length}${running.map((line) => `\n  ${line}`).join('')}`);
            throw error;
          } finally {
            await workspace.runDeferred();
          }
          await workspace.expectNothingLeft();
          if (!options.keepsFiles) {
            t.strictSame(
              [...c.containers, ...c.execs].flatMap((one) => one.strayFiles()),
              [],
              'no stray file is left',
            );
          }
        } finally {
          workspace.destroy();
        }
      });
    }
  }
}
