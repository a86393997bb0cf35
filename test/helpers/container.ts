/**
 * One container under one conmon, started exactly as CRI-O or Podman start it (contract sections 3 and 11), with
 * what an engine does next: wait for the pid, `runtime start`, wait for the exit file, read the log, `runtime delete`.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { type ProcessOptions, writeBundle } from './bundle.ts';
import { ConmonProcess, type SyncMessage } from './conmon.ts';
import { type K8sLog, readLog } from './k8s-log.ts';
import { type Monitor, ownEnvironment } from './monitors.ts';
import { isRunning } from './proc.ts';
import { installFake, type Runtime } from './runtimes.ts';
import { waitFor, within } from './wait.ts';
import type { Workspace } from './workspace.ts';

const run = promisify(execFile);

/** Verbs for `installFake`; a function when they need the container's own paths. */
export type FakeScript = readonly string[] | ((container: Container) => readonly string[]);

export interface ContainerOptions {
  /** Whose arguments, environment and pipes. Default: crio. */
  readonly style?: 'crio' | 'podman';
  /** The container's process; `script` is short for a busybox shell that runs it. */
  readonly process?: ProcessOptions;
  readonly script?: string;
  /** A fake runtime that performs these verbs, in place of a real one. */
  readonly fake?: FakeScript;
  /** What conmon gets as --runtime, when it is neither the real nor a fake one. */
  readonly runtimePath?: string;
  /** Appended to the engine's arguments: the last of a repeated scalar wins. */
  readonly args?: readonly string[];
  /** The values of --log-path, `undefined` for the usual k8s-file. */
  readonly logPaths?: readonly string[];
  /** Verbs of a fake exit command with its arguments; conmon runs it at the end. */
  readonly exitCommand?: { readonly script: FakeScript; readonly args?: readonly string[] };
  /** Added to the engine's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** TMPDIR of the container's own for CRI-O's environment too, to see what becomes of console sockets. */
  readonly ownTmpDir?: boolean;
  /** Taken out of it. */
  readonly unsetEnv?: readonly string[];
  readonly cwd?: string;
  /** Options of native/launch.c. */
  readonly launch?: readonly string[];
  readonly sync?: boolean;
  /** Neither --exit-dir nor --persist-dir. */
  readonly withoutExitDirs?: boolean;
  /** Do not say go on the start pipe. */
  readonly holdStart?: boolean;
  /** Called by another name or path than the monitor's own. */
  readonly conmonPath?: string;
}

let containers = 0;

export class Container {
  readonly cid = randomBytes(32).toString('hex');
  readonly dir: string;
  readonly bundle: string;
  readonly exitDir: string;
  readonly persistDir: string;
  readonly socketDir: string;
  /** TMPDIR of Podman's conmon; CRI-O's has none, and its console sockets go to /tmp. */
  readonly tmpDir: string;
  readonly logPath: string;
  readonly conmonPidfile: string;
  readonly containerPidfile: string;
  readonly runtimePath: string;
  readonly runtimeRoot: string;
  readonly conmon: ConmonProcess;
  readonly monitor: Monitor;
  /** The arguments that conmon was started with. */
  readonly args: readonly string[];
  #containerPid: number | undefined;
  #daemonPid: number | undefined;

  /** Starts conmon at once. What it leaves when the case ends is taken away by the workspace. */
  constructor(workspace: Workspace, monitor: Monitor, runtime: Runtime | undefined, options: ContainerOptions) {
    const name = `c${containers++}`;
    this.monitor = monitor;
    this.dir = workspace.directory(name);
    this.bundle = workspace.directory(name, 'bundle');
    this.exitDir = workspace.directory(name, 'exits');
    this.persistDir = workspace.directory(name, 'persist');
    this.socketDir = workspace.directory(name, 'sock');
    this.tmpDir = workspace.directory(name, 'tmp');
    this.logPath = workspace.path(name, 'logs', 'ctr.log');
    this.conmonPidfile = `${this.bundle}/conmon-pidfile`;
    this.containerPidfile = `${this.bundle}/pidfile`;
    this.runtimeRoot = workspace.directory('root');
    if (options.fake !== undefined) {
      this.runtimePath = installFake(`${this.dir}/runtime`, this.#verbs(options.fake));
    } else {
      this.runtimePath = options.runtimePath ?? runtime?.path ?? '';
      const process = options.process ?? { args: ['/bin/sh', '-c', options.script ?? 'exit 0'] };
      writeBundle(workspace, this.bundle, this.cid, process);
      if (runtime !== undefined) {
        workspace.defer(() => this.delete());
      }
    }
    const style = options.style ?? 'crio';
    this.args = [...this.#engineArgs(style, options, name), ...(options.args ?? [])];
    const engineEnv = style === 'crio' ? crioEnv() : { ...podmanEnv(workspace), TMPDIR: this.tmpDir };
    const env: Record<string, string> = {
      ...engineEnv,
      _OCI_SYNCPIPE: '3',
      _OCI_STARTPIPE: '4',
      ...ownEnvironment(monitor),
      ...options.env,
    };
    if (options.ownTmpDir) {
      env['TMPDIR'] = this.tmpDir;
    }
    for (const variable of options.unsetEnv ?? []) {
      delete env[variable];
    }
    this.conmon = new ConmonProcess({
      path: options.conmonPath ?? monitor.path,
      args: this.args,
      env,
      cwd: options.cwd ?? (style === 'crio' ? this.bundle : workspace.dir),
      launch: options.launch ?? [],
      seqpacket: style === 'podman',
    });
    workspace.defer(() => this.conmon.release());
    // A daemon that a case kills leaves its session socket, as it leaves all of its files.
    workspace.defer(() => rmSync(`/run/conmon/${this.cid}`, { force: true }));
    if (!options.holdStart) {
      this.conmon.go();
    }
  }

  #engineArgs(style: 'crio' | 'podman', options: ContainerOptions, name: string): string[] {
    const logPaths = options.logPaths ?? [style === 'crio' ? this.logPath : `k8s-file:${this.logPath}`];
    const logs = logPaths.flatMap((path) => ['-l', path]);
    const ids = ['-b', this.bundle, '-c', this.cid, '-u', this.cid, '-n', `e2e-${name}`];
    const runtime = ['-r', this.runtimePath];
    const pidfiles = ['-p', this.containerPidfile];
    const dirs = options.withoutExitDirs ? [] : ['--exit-dir', this.exitDir, '--persist-dir', this.persistDir];
    const runtimeRoot = ['--runtime-arg', `--root=${this.runtimeRoot}`];
    const flags = [...(options.process?.terminal ? ['-t'] : []), ...(options.sync ? ['--sync'] : [])];
    if (options.exitCommand !== undefined) {
      const command = installFake(`${this.dir}/exit-command`, this.#verbs(options.exitCommand.script));
      const args = (options.exitCommand.args ?? []).flatMap((arg) => ['--exit-command-arg', arg]);
      flags.push('--exit-command', command, ...args);
    }
    const common = [...dirs, ...logs, '--log-level', 'info', '--syslog', ...runtime, ...runtimeRoot, ...flags];
    return style === 'crio'
      ? [...ids, ...common, '-P', this.conmonPidfile, ...pidfiles, '--socket-dir-path', this.socketDir]
      : ['--api-version', '1', ...ids, ...common, '--full-attach', '--conmon-pidfile', this.conmonPidfile, ...pidfiles];
  }

  #verbs(script: FakeScript): readonly string[] {
    return typeof script === 'function' ? script(this) : script;
  }

  /** A path in the container's own directory. */
  path(name: string): string {
    return `${this.dir}/${name}`;
  }

  /** The key of the sync pipe's messages. */
  get syncKey(): 'data' | 'pid' {
    return this.args.includes('--api-version') ? 'data' : 'pid';
  }

  /**
   * As far as the engine's create goes: the started process returned 0 and the pid came on the sync pipe.
   * @returns the container's pid.
   */
  async created(): Promise<number> {
    if (!this.args.includes('--sync')) {
      await this.startedOk();
    }
    const { json } = await this.conmon.nextMessage();
    const pid = json[this.syncKey];
    if (typeof pid !== 'number' || pid <= 0) {
      throw new Error(`the sync pipe says ${JSON.stringify(json)}; stderr: ${this.conmon.stderr}`);
    }
    this.#containerPid = pid;
    this.#daemonPid = this.args.includes('--sync') ? this.conmon.child.pid : this.#readDaemonPid();
    return pid;
  }

  /** Waits for the process that was started to return 0. */
  async startedOk(): Promise<void> {
    const { code, signal } = await within('the started conmon to return', this.conmon.started);
    if (code !== 0) {
      throw new Error(`conmon returned ${code ?? signal}; stderr: ${this.conmon.stderr}`);
    }
  }

  /** For a create that must fail: the message on the sync pipe. */
  async failureMessage(): Promise<SyncMessage> {
    return await this.conmon.nextMessage();
  }

  get containerPid(): number {
    if (this.#containerPid === undefined) {
      throw new Error('not created yet');
    }
    return this.#containerPid;
  }

  /** conmon's own pid: the daemon's, from --conmon-pidfile, or the started process's with --sync. */
  get daemonPid(): number {
    if (this.#daemonPid === undefined) {
      throw new Error('not created yet');
    }
    return this.#daemonPid;
  }

  #readDaemonPid(): number {
    const text = readFileSync(this.conmonPidfile, 'latin1');
    if (!/^\d+$/.test(text)) {
      throw new Error(`conmon-pidfile holds ${JSON.stringify(text)}`);
    }
    return Number(text);
  }

  /** `runtime start`. */
  async start(): Promise<void> {
    await this.#runtime(['start', this.cid]);
  }

  /** Create and start in one; what most cases need. */
  async run(): Promise<void> {
    await this.created();
    await this.start();
  }

  /** `runtime delete --force`; a container that is not there is fine. */
  async delete(): Promise<void> {
    await this.#runtime(['delete', '--force', this.cid]).catch((error: Error) => {
      if (!/does not exist|not found|No such/i.test(error.message)) {
        throw error;
      }
    });
  }

  async #runtime(args: readonly string[]): Promise<void> {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    await run(this.runtimePath, [`--root=${this.runtimeRoot}`, ...args], { timeout: 20_000, env });
  }

  get exitFile(): string {
    return `${this.exitDir}/${this.cid}`;
  }

  get persistFile(): string {
    return `${this.persistDir}/exit`;
  }

  /** Waits for the exit file in the exit dir, as engines do. @returns the status. Throws when it is no bare number. */
  async exited(timeoutMs?: number): Promise<number> {
    const written = () => existsSync(this.exitFile);
    await waitFor(
      'the exit file',
      () => {
        const gone = this.#daemonPid !== undefined && !isRunning(this.#daemonPid);
        if (!written() && gone && !written()) {
          throw new Error('conmon ended without an exit file');
        }
        return written();
      },
      { intervalMs: 2, ...optional({ timeoutMs }) },
    );
    const text = readFileSync(this.exitFile, 'latin1');
    if (!/^-?\d+$/.test(text)) {
      throw new Error(`the exit file holds ${JSON.stringify(text)}`);
    }
    return Number(text);
  }

  /** Waits until conmon itself is gone. */
  async ended(timeoutMs?: number): Promise<void> {
    await waitFor('conmon to end', () => !isRunning(this.daemonPid), optional({ timeoutMs }));
  }

  /** Waits for the container's end and for conmon's. @returns the status. */
  async finished(timeoutMs?: number): Promise<number> {
    const status = await this.exited(timeoutMs);
    await this.ended(timeoutMs);
    return status;
  }

  log(): K8sLog {
    return readLog(this.logPath);
  }

  /** Names in the exit, persist, socket, temporary and log directories and the bundle that no engine expects after the end. */
  strayFiles(): string[] {
    const expected: [string, RegExp][] = [
      [this.exitDir, new RegExp(`^${this.cid}$`)],
      [this.persistDir, /^(exit|oom)$/],
      // C before 2.2 removes the socket through its link and leaves the link.
      [this.socketDir, this.monitor.name === 'c' ? new RegExp(`^${this.cid}$`) : /^$/],
      [this.tmpDir, /^$/],
      [`${this.dir}/logs`, /^ctr\.log/],
      [this.bundle, /^(config\.json|pidfile|conmon-pidfile|attach|ctl|winsz|oom|notify|restore\.log)$/],
    ];
    return expected.flatMap(([directory, names]) =>
      existsSync(directory)
        ? readdirSync(directory)
            .filter((name) => !names.test(name) || name.endsWith('.tmp'))
            .map((name) => `${directory}/${name}`)
        : [],
    );
  }
}

/** Drops undefined properties, for exactOptionalPropertyTypes. */
function optional(options: { timeoutMs: number | undefined }): { timeoutMs?: number } {
  return options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs };
}

/** CRI-O's environment is as bare as this: no HOME. */
export function crioEnv(): Record<string, string> {
  return { CRI_O_EXTERNAL: 'true', PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
}

/** A user's shell as Podman passes it on. */
export function podmanEnv(workspace: Workspace): Record<string, string> {
  return {
    HOME: '/root',
    USER: 'root',
    LOGNAME: 'root',
    SHELL: '/bin/bash',
    TERM: 'xterm-256color',
    LANG: 'C.UTF-8',
    PWD: workspace.dir,
    OLDPWD: '/',
    SHLVL: '1',
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    XDG_RUNTIME_DIR: workspace.directory('run'),
  };
}
