/**
 * One exec session under one conmon, in a container that runs: started as CRI-O's ExecSync or as Podman starts it
 * (contract sections 9 and 11), under the container's runtime or under a fake one.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Case } from './case.ts';
import { ConmonProcess, type Ended } from './conmon.ts';
import { type Container, crioEnv, podmanEnv } from './container.ts';
import { type K8sLog, readLog } from './k8s-log.ts';
import { ownEnvironment } from './monitors.ts';
import { isRunning } from './proc.ts';
import { installFake } from './runtimes.ts';
import { waitFor, within } from './wait.ts';

export interface ExecOptions {
  /**
   * `execsync`: CRI-O's, the legacy key, --sync, pid file and log that exist and are empty. `legacy`: the same without
   * --sync. `podman`: --api-version, a bundle, exit and persist directories, no log.
   */
  readonly style?: 'execsync' | 'legacy' | 'podman';
  /** argv of the process, or a script for the container's shell. */
  readonly command?: readonly string[] | string;
  /** Verbs of a fake runtime in place of the container's; see installFake. */
  readonly fake?: readonly string[] | ((exec: Exec) => readonly string[]);
  readonly terminal?: boolean;
  /** --exec-attach, for style podman: the second go is the case's to give. */
  readonly attach?: boolean;
  /** Appended: the last of a repeated scalar wins. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly launch?: readonly string[];
  readonly exitCommand?: (exec: Exec) => readonly string[];
  /** Do not make the pid file and the log beforehand. */
  readonly withoutFiles?: boolean;
  readonly holdStart?: boolean;
  /** In place of the monitor's own. */
  readonly conmonPath?: string;
}

/** The container that an exec runs in, as conmon sees it. */
export type ExecTarget = Pick<Container, 'cid' | 'runtimePath' | 'runtimeRoot'>;

let execs = 0;

export class Exec {
  readonly dir: string;
  /** Session id, as Podman has one; the exit file's name is the container's id. */
  readonly id = randomBytes(32).toString('hex');
  readonly container: ExecTarget;
  readonly pidFile: string;
  readonly logPath: string;
  readonly exitDir: string;
  readonly persistDir: string;
  readonly socketDir: string;
  readonly conmonPidfile: string;
  readonly runtimePath: string;
  readonly conmon: ConmonProcess;
  readonly args: readonly string[];
  readonly #key: string;
  readonly #joins: boolean;

  constructor(c: Case, container: ExecTarget, options: ExecOptions) {
    const name = `e${execs++}`;
    const { workspace } = c;
    const style = options.style ?? 'execsync';
    this.container = container;
    this.dir = workspace.directory(name);
    this.pidFile = `${this.dir}/exec-pid`;
    this.logPath = `${this.dir}/exec.log`;
    this.exitDir = workspace.directory(name, 'exits');
    this.persistDir = workspace.directory(name, 'persist');
    this.socketDir = workspace.directory(name, 'sock');
    this.conmonPidfile = `${this.dir}/conmon-pidfile`;
    const sessions = options.env?.['CONMON_SESSIONS'] ?? c.monitor.sessions;
    this.#joins = sessions === 'on' && options.fake === undefined;
    this.#key = style === 'podman' ? 'data' : 'exit_code';
    const fake = typeof options.fake === 'function' ? options.fake(this) : options.fake;
    this.runtimePath = fake === undefined ? container.runtimePath : installFake(`${this.dir}/runtime`, fake);
    this.args = [...this.#engineArgs(style, options, workspace), ...(options.args ?? [])];
    if (style !== 'podman' && !options.withoutFiles) {
      writeFileSync(this.pidFile, '');
      writeFileSync(this.logPath, '');
    }
    const env = style === 'podman' ? podmanEnv(workspace) : crioEnv();
    this.conmon = new ConmonProcess({
      path: options.conmonPath ?? c.monitor.path,
      args: this.args,
      env: {
        ...env,
        _OCI_SYNCPIPE: '3',
        _OCI_STARTPIPE: '4',
        ...(options.attach ? { _OCI_ATTACHPIPE: '5' } : {}),
        ...ownEnvironment(c.monitor),
        ...options.env,
      },
      cwd: workspace.dir,
      launch: options.launch ?? [],
      seqpacket: style === 'podman',
      attachPipe: options.attach ?? false,
    });
    workspace.defer(() => this.conmon.release());
    if (!options.holdStart) {
      this.conmon.go();
    }
  }

  #engineArgs(style: 'execsync' | 'legacy' | 'podman', options: ExecOptions, workspace: Case['workspace']): string[] {
    const spec = `${this.dir}/process.json`;
    const args = typeof options.command === 'string' ? ['/bin/sh', '-c', options.command] : options.command;
    const processSpec = {
      terminal: options.terminal ?? false,
      user: { uid: 0, gid: 0 },
      args: args ?? ['/bin/true'],
      env: ['PATH=/bin', `CONMON_E2E=${workspace.mark}`],
      cwd: '/',
      noNewPrivileges: true,
    };
    writeFileSync(spec, JSON.stringify(processSpec));
    const common = [
      ...['-c', this.container.cid, '-n', 'exec', '-r', this.runtimePath, '-p', this.pidFile, '-e'],
      ...['--exec-process-spec', spec, '--log-level', 'info'],
      ...['--runtime-arg', `--root=${this.container.runtimeRoot}`],
      ...(options.terminal ? ['-t'] : []),
    ];
    if (style !== 'podman') {
      const sync = style === 'execsync' ? ['--sync'] : [];
      const log = ['-l', this.logPath, '--log-global-size-max', '16777216'];
      return [...common, ...log, '--socket-dir-path', this.socketDir, ...sync];
    }
    const exitCommand = options.exitCommand
      ? ['--exit-command', installFake(`${this.dir}/exit-command`, options.exitCommand(this))]
      : [];
    const bundle = workspace.directory(this.dir.slice(workspace.dir.length + 1), 'bundle');
    return [
      ...['--api-version', '1', '-u', this.id, '-b', bundle, ...common, '-l', 'none', '--full-attach', '--syslog'],
      ...['--exit-dir', this.exitDir, '--persist-dir', this.persistDir],
      // An exec that joins has no conmon whose pid could be told; Podman does not ask for it either.
      ...(this.#joins ? [] : ['--conmon-pidfile', this.conmonPidfile]),
      ...(options.attach ? ['--exec-attach'] : []),
      ...exitCommand,
    ];
  }

  path(name: string): string {
    return `${this.dir}/${name}`;
  }

  get bundle(): string {
    return `${this.dir}/bundle`;
  }

  get exitFile(): string {
    return `${this.exitDir}/${this.container.cid}`;
  }

  /** The next number on the sync pipe. */
  async number(timeoutMs?: number): Promise<number> {
    const { json } = await this.conmon.nextMessage(timeoutMs);
    const value = json[this.#key];
    if (typeof value !== 'number' || 'message' in json) {
      throw new Error(`the sync pipe says ${JSON.stringify(json)}; stderr: ${this.conmon.stderr}`);
    }
    return value;
  }

  /** The started process's end: conmon's own with --sync. */
  ended(timeoutMs?: number): Promise<Ended> {
    return within('the started conmon to end', this.conmon.started, timeoutMs);
  }

  /** Everything that the sync pipe said, once its other end is closed. */
  async everything(timeoutMs?: number): Promise<string> {
    await this.conmon.syncClosed(timeoutMs);
    return this.conmon.unread;
  }

  /** Waits until the daemon of a session without --sync is gone; one that has joined has none of its own. */
  async daemonGone(timeoutMs?: number): Promise<void> {
    if (this.#joins) {
      return;
    }
    const pid = Number(readFileSync(this.conmonPidfile, 'latin1'));
    await waitFor('conmon to end', () => !isRunning(pid), timeoutMs === undefined ? {} : { timeoutMs });
  }

  log(): K8sLog {
    return readLog(this.logPath);
  }

  /** Names in its directories that no engine expects after the end. */
  strayFiles(): string[] {
    const expected: [string, RegExp][] = [
      [this.exitDir, new RegExp(`^${this.container.cid}$`)],
      [this.persistDir, /^(exit|oom)$/],
      [this.socketDir, /^$/],
      [this.bundle, /^(attach|ctl|winsz|oom)$/],
      [this.dir, /^[a-z-]+(\.(json|log|conf))?$/],
    ];
    return expected.flatMap(([directory, names]) =>
      existsSync(directory)
        ? readdirSync(directory)
            .filter((name) => !names.test(name))
            .map((name) => `${directory}/${name}`)
        : [],
    );
  }
}

/** For execs of a fake runtime, which needs no container. */
export function noContainer(c: Case): ExecTarget {
  return { cid: randomBytes(32).toString('hex'), runtimePath: '', runtimeRoot: c.workspace.directory('root') };
}

/** A real container that waits to be killed, for execs in it. The case ends it. */
export async function idleContainer(c: Case): Promise<Container> {
  const container = c.container({ script: 'trap "exit 0" TERM; while :; do sleep 1000 & wait; done' });
  await container.run();
  return container;
}

/** Kills a container's init and waits for its conmon. */
export async function endContainer(container: Container): Promise<void> {
  process.kill(container.containerPid, 'SIGKILL');
  await container.finished();
}
