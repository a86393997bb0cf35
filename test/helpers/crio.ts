/**
 * What CRI-O 1.36 does with a conmon, step for step (its internal/oci/runtime_oci.go and server/server.go, read in
 * November 2026): the arguments in its order, its environment, its pipes, the order of its reads and waits. One of these
 * is a CRI-O with its directories; it starts containers and execs into them.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { AttachClient, type ClientOptions } from './attach-client.ts';
import { type ProcessOptions, writeBundle } from './bundle.ts';
import type { Case } from './case.ts';
import { ConmonProcess, type Ended } from './conmon.ts';
import { DirectoryWatch } from './directory-watch.ts';
import { waitFor, within } from './wait.ts';

const run = promisify(execFile);

/** maxExecSyncSize. */
const EXEC_SYNC_MAX = 16_777_216;
/** A record of the k8s-file log: 8192 bytes and what is before them. */
const RECORD_MAX = 8300;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** CRI-O has no timeout for most of what it waits for: these are the test's. */
const WAIT_MS = 30_000;
const START_TIME_FIELD = 19;

export interface CrioContainerOptions {
  readonly script: string;
  readonly terminal?: boolean;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly process?: Partial<ProcessOptions>;
  /** A program in place of the case's runtime. */
  readonly runtimePath?: string;
  readonly logSizeMax?: number;
  readonly noSyncLog?: boolean;
  readonly logToJournald?: boolean;
  readonly restoreFrom?: string;
  /** Called where CRI-O moves conmon to its cgroup, before the start message. One that throws is a failed set-up. */
  readonly beforeStart?: (conmonPid: number) => void;
}

export interface ExecSyncOptions {
  readonly timeoutSeconds?: number;
}

/** ExecSyncResponse, or the error that CRI-O returns in its place. */
export type ExecSyncResult =
  | { readonly kind: 'response'; readonly stdout: string; readonly stderr: string; readonly exitCode: number }
  | { readonly kind: 'error'; readonly message: string };

/** An ExecSync under way. */
export interface ExecSync {
  readonly pid: number;
  readonly logPath: string;
  readonly result: Promise<ExecSyncResult>;
}

export class Crio {
  readonly c: Case;
  readonly exitsDir: string;
  readonly attachDir: string;
  readonly tmpDir: string;
  readonly runtimeRoot: string;
  readonly containers = new Map<string, CrioContainer>();
  #exits: DirectoryWatch | undefined;

  constructor(c: Case) {
    this.c = c;
    this.exitsDir = c.workspace.directory('crio', 'exits');
    this.attachDir = c.workspace.directory('crio', 'attach');
    this.tmpDir = c.workspace.directory('crio', 'tmp');
    this.runtimeRoot = c.workspace.directory('crio', 'root');
    c.workspace.defer(() => this.stopExitMonitor());
  }

  /** conmonmgr.New: CRI-O does not start when this fails. @returns the version. */
  async probe(): Promise<string> {
    const { stdout, stderr } = await run(this.c.monitor.path, ['--version'], { timeout: WAIT_MS });
    const fields = `${stdout}${stderr}`.split(/\s+/);
    const version = fields[2] ?? '';
    if (!/^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/.test(version)) {
      throw new Error(`parse conmon version: ${JSON.stringify(version)} in ${stdout}`);
    }
    return version;
  }

  /** StartExitMonitor: takes note of containers by the files that appear in the exits directory. */
  startExitMonitor(): void {
    this.#exits = new DirectoryWatch(this.exitsDir, ({ kind, name }) => {
      const container = kind === 'create' ? this.containers.get(name) : undefined;
      if (container) {
        container.updateFromExitFile();
        rmSync(join(this.exitsDir, name));
      }
    });
  }

  stopExitMonitor(): void {
    this.#exits?.close();
    this.#exits = undefined;
  }

  /** A restart: whatever ended meanwhile is found by its exit file. */
  restoreContainers(): void {
    for (const container of this.containers.values()) {
      if (container.exitCode === undefined && existsSync(container.exitFilePath)) {
        container.updateFromExitFile();
      }
    }
  }

  container(options: CrioContainerOptions): CrioContainer {
    const container = new CrioContainer(this, options);
    this.containers.set(container.id, container);
    return container;
  }

  /** prepareEnv. */
  env(): Record<string, string> {
    return { CRI_O_EXTERNAL: '1', PATH, _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' };
  }

  /** os.CreateTemp. @returns the path of a file that is there, and empty. */
  tempFile(prefix: string): string {
    const path = join(mkdtempSync(join(this.tmpDir, prefix)), 'file');
    writeFileSync(path, '');
    return path;
  }

  /** Names that must not be there once every container has ended and CRI-O has taken note of it. */
  leftovers(): string[] {
    const left = [this.exitsDir, this.attachDir, this.tmpDir].flatMap((dir) =>
      readdirSync(dir).map((name) => join(dir, name)),
    );
    // C before 2.2 leaves its link, which CRI-O removes with the sandbox.
    return this.c.monitor.name === 'c' ? left.filter((path) => dirname(path) !== this.attachDir) : left;
  }
}

export class CrioContainer {
  readonly crio: Crio;
  readonly id = randomBytes(32).toString('hex');
  readonly options: CrioContainerOptions;
  /** CRI-O's bundlePath and dir. */
  readonly bundlePath: string;
  readonly dir: string;
  readonly logPath: string;
  readonly runtimePath: string;
  initPid = 0;
  initStartTime = '';
  monitorPid = 0;
  monitorStartTime = '';
  exitCode: number | undefined;
  finishedMs = 0;
  oomKilled = false;
  readonly execPids = new Set<number>();
  #conmon: ConmonProcess | undefined;

  constructor(crio: Crio, options: CrioContainerOptions) {
    this.crio = crio;
    this.options = options;
    const { workspace } = crio.c;
    const name = this.id.slice(0, 12);
    this.bundlePath = workspace.directory('crio', name, 'userdata');
    this.dir = workspace.directory('crio', name, 'persist');
    this.logPath = workspace.path('crio', name, 'logs', '0.log');
    this.runtimePath = options.runtimePath ?? crio.c.runtime.path;
    writeBundle(workspace, this.bundlePath, this.id, {
      args: ['/bin/sh', '-c', options.script],
      terminal: options.terminal ?? false,
      ...options.process,
    });
    if (options.runtimePath === undefined) {
      workspace.defer(() => this.delete());
    }
  }

  get exitFilePath(): string {
    return join(this.dir, 'exit');
  }

  /** What conmon said on its streams. */
  get said(): string {
    return `${this.#conmon?.stdout}${this.#conmon?.stderr}`;
  }

  #createArgs(): string[] {
    const { options, crio } = this;
    return [
      ...['-b', this.bundlePath, '-c', this.id, '--exit-dir', crio.exitsDir, '-l', this.logPath, '--log-level', 'info'],
      ...['-n', `k8s_ctr_${this.id.slice(0, 8)}`, '-P', `${this.bundlePath}/conmon-pidfile`],
      ...['-p', `${this.bundlePath}/pidfile`, '--persist-dir', this.dir, '-r', this.runtimePath],
      ...[
        '--runtime-arg',
        `--root=${crio.runtimeRoot}`,
        '--socket-dir-path',
        crio.attachDir,
        '--syslog',
        '-u',
        this.id,
      ],
      ...(options.logSizeMax === undefined ? [] : ['--log-size-max', String(options.logSizeMax)]),
      ...(options.noSyncLog ? ['--no-sync-log'] : []),
      ...(options.logToJournald ? ['--log-path', 'journald:'] : []),
      ...(options.terminal ? ['-t'] : []),
      ...(!options.terminal && options.stdin ? [...(options.stdinOnce ? [] : ['--leave-stdin-open']), '-i'] : []),
      ...(options.restoreFrom === undefined ? [] : ['--restore', options.restoreFrom]),
    ];
  }

  /** CreateContainer. Throws as CRI-O returns its errors; then the log is gone. */
  async create(): Promise<void> {
    const conmon = new ConmonProcess({
      path: this.crio.c.monitor.path,
      args: this.#createArgs(),
      env: this.crio.env(),
      cwd: this.bundlePath,
    });
    this.#conmon = conmon;
    this.crio.c.workspace.defer(() => conmon.release());
    await this.#startMessage(conmon);
    try {
      const ended = await within('cmd.Wait', conmon.started, WAIT_MS);
      if (this.options.terminal) {
        await within('the end of stderr', conmon.stderrClosed, WAIT_MS);
      }
      if (ended.code !== 0) {
        throw new Error(`exit status ${ended.code ?? ended.signal}: ${conmon.stderr}`);
      }
      const { json } = await conmon.nextMessage(WAIT_MS);
      if (json['pid'] === -1) {
        throw new Error(
          `container ${this.options.restoreFrom ? 'restore' : 'create'} failed: ${json['message'] ?? ''}`,
        );
      }
      this.initPid = Number(json['pid']);
      this.initStartTime = pidStartTime(this.initPid);
      this.monitorPid = atoi(readFileSync(`${this.bundlePath}/conmon-pidfile`, 'latin1'));
      this.monitorStartTime = pidStartTime(this.monitorPid);
    } catch (error) {
      rmSync(this.logPath, { force: true });
      throw error;
    }
  }

  /** The set-up before the start message; when it fails, conmon is killed and waited for. */
  async #startMessage(conmon: ConmonProcess): Promise<void> {
    try {
      this.options.beforeStart?.(await pidOf(conmon));
    } catch (error) {
      conmon.child.kill('SIGKILL');
      await within('cmd.Wait', conmon.started, WAIT_MS);
      throw error;
    }
    conmon.go();
  }

  /** CRI-O is gone: nobody reads or holds the pipes any longer. */
  abandon(): void {
    this.#conmon?.release();
  }

  async start(): Promise<void> {
    await this.#runtimeCmd('start', this.id);
  }

  async run(): Promise<void> {
    await this.create();
    await this.start();
  }

  /** Living: the pid is there and its start time is the one that was noted. */
  living(): boolean {
    return isSameProcess(this.initPid, this.initStartTime);
  }

  /** The monitor by which CRI-O knows that somebody will write the exit file. */
  monitorLiving(): boolean {
    return isSameProcess(this.monitorPid, this.monitorStartTime);
  }

  /** updateContainerStatusFromExitFile, and the oom file. */
  updateFromExitFile(): void {
    this.finishedMs = statSync(this.exitFilePath).mtimeMs;
    this.exitCode = atoi(readFileSync(this.exitFilePath, 'latin1'));
    this.oomKilled = existsSync(join(this.bundlePath, 'oom'));
  }

  /** Waits until the exit monitor has taken note. */
  async stopped(): Promise<number> {
    return await waitFor('the exit monitor', () => (this.exitCode === undefined ? undefined : `${this.exitCode}`), {
      timeoutMs: WAIT_MS,
    }).then(Number);
  }

  async monitorEnded(): Promise<void> {
    await waitFor('conmon to end', () => !this.monitorLiving(), { timeoutMs: WAIT_MS });
  }

  /** StopContainer: kill, wait for the end, then SIGINT to the ExecSyncs that still run. */
  async stop(signal = 'KILL'): Promise<void> {
    await this.#runtimeCmd('kill', this.id, signal);
    await waitFor('the container to end', () => !this.living(), { timeoutMs: WAIT_MS, intervalMs: 20 });
    for (const pid of this.execPids) {
      process.kill(pid, 'SIGINT');
    }
  }

  async delete(): Promise<void> {
    await this.#runtimeCmd('delete', '--force', this.id).catch((error: Error) => {
      if (!/does not exist|not found|No such/i.test(error.message)) {
        throw error;
      }
    });
  }

  async #runtimeCmd(...args: readonly string[]): Promise<void> {
    const { CRI_O_EXTERNAL } = this.crio.env();
    const env = { CRI_O_EXTERNAL, PATH };
    await run(this.runtimePath, [`--root=${this.crio.runtimeRoot}`, ...args], { timeout: WAIT_MS, env });
  }

  /** The write to ctl, opened for writing as CRI-O does: it blocks until there is a reader. */
  async control(line: string): Promise<void> {
    const file = await within('a reader of ctl', open(join(this.bundlePath, 'ctl'), constants.O_WRONLY), WAIT_MS);
    try {
      await file.write(line);
    } finally {
      await file.close();
    }
  }

  /**
   * kubelet's rotation: renames the log to `rotated`, then ReopenContainerLog, which waits for a create or write event of
   * the log's name, for ever.
   */
  async rotateLog(rotated: string): Promise<void> {
    renameSync(this.logPath, rotated);
    const watcher = new DirectoryWatch(dirname(this.logPath));
    try {
      await this.control('2 0 0\n');
      await watcher.wait(basename(this.logPath), ['create', 'write'], WAIT_MS);
    } finally {
      watcher.close();
    }
  }

  /** AttachContainer: ctl first, then the socket. */
  async attach(options: ClientOptions = {}): Promise<AttachClient> {
    const file = await within('a reader of ctl', open(join(this.bundlePath, 'ctl'), constants.O_WRONLY), WAIT_MS);
    this.crio.c.workspace.defer(() => file.close());
    const client = await AttachClient.connect(join(this.crio.attachDir, this.id, 'attach'), options);
    this.crio.c.workspace.defer(() => client.close());
    return client;
  }

  /** ExecSyncContainer. */
  execSync(command: readonly string[], options: ExecSyncOptions = {}): ExecSync {
    const { crio } = this;
    const pidFile = crio.tempFile('pidfile');
    const logPath = crio.tempFile(`crio-log-${this.id.slice(0, 12)}`);
    const processFile = crio.tempFile('exec-process-');
    const terminal = this.options.terminal ?? false;
    writeFileSync(processFile, JSON.stringify(this.#processSpec(command, terminal)), { mode: 0o644 });
    const args = [
      ...[
        '-c',
        this.id,
        '-n',
        `k8s_ctr_${this.id.slice(0, 8)}`,
        '-r',
        this.runtimePath,
        '-p',
        pidFile,
        '-e',
        '-l',
        logPath,
      ],
      ...['--socket-dir-path', crio.attachDir, '--log-level', 'info', '--sync'],
      ...['--log-global-size-max', String(EXEC_SYNC_MAX)],
      ...(terminal ? ['-t'] : []),
      ...(options.timeoutSeconds === undefined ? [] : ['-T', String(options.timeoutSeconds)]),
      ...['--exec-process-spec', processFile, '--runtime-arg', `--root=${crio.runtimeRoot}`],
    ];
    const conmon = new ConmonProcess({ path: crio.c.monitor.path, args, env: crio.env(), cwd: '/', syncIsPipe: true });
    crio.c.workspace.defer(() => conmon.release());
    const pid = conmon.child.pid ?? 0;
    this.execPids.add(pid);
    conmon.go();
    const temporary = [pidFile, logPath, processFile].map((path) => dirname(path));
    const result = this.#execResult(conmon, pid, logPath).finally(() => {
      for (const path of temporary) {
        rmSync(path, { recursive: true });
      }
    });
    result.catch(() => {}); // whoever awaits it sees it
    return { pid, logPath, result };
  }

  #processSpec(args: readonly string[], terminal: boolean): object {
    const config = JSON.parse(readFileSync(`${this.bundlePath}/config.json`, 'utf8')) as { readonly process: object };
    return { ...config.process, args, terminal };
  }

  /** cmd.Wait (the end of the process and of both its streams), then the message, then the log. */
  async #execResult(conmon: ConmonProcess, pid: number, logPath: string): Promise<ExecSyncResult> {
    const ended: Ended = await within('cmd.Wait', conmon.started, 2 * WAIT_MS);
    await within('the end of stderr', conmon.stderrClosed, WAIT_MS);
    await within('the end of stdout', conmon.stdoutClosed, WAIT_MS);
    this.execPids.delete(pid);
    let json: Readonly<Record<string, unknown>>;
    try {
      ({ json } = await conmon.nextMessage(WAIT_MS));
    } catch (error) {
      return { kind: 'error', message: `decode: ${(error as Error).message} (${ended.code ?? ended.signal})` };
    }
    const exitCode = json['exit_code'];
    if (exitCode === -1 && json['message'] === 'command timed out') {
      return { kind: 'response', stdout: '', stderr: 'command timed out', exitCode: -1 };
    }
    if (exitCode === -1) {
      return { kind: 'error', message: String(json['message'] ?? '') };
    }
    // TruncateAndReadFile: conmon may log one record more.
    const log = readFileSync(logPath).subarray(0, EXEC_SYNC_MAX);
    if (statSync(logPath).size > EXEC_SYNC_MAX + RECORD_MAX) {
      throw new Error(`${logPath} has ${statSync(logPath).size} bytes`);
    }
    return { kind: 'response', ...parseLog(log), exitCode: Number(exitCode) };
  }
}

/** The container that was exec'd, once it is: cmd.Start has returned. */
async function pidOf(conmon: ConmonProcess): Promise<number> {
  return await waitFor('cmd.Start', () => conmon.child.pid);
}

/** strconv.Atoi: digits and a sign, nothing else. */
function atoi(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) {
    throw new Error(`strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  return Number(text);
}

/** getPidStartTime: field 22 of /proc/PID/stat. Throws when there is no such process. */
function pidStartTime(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const field = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_FIELD];
  if (field === undefined) {
    throw new Error(`/proc/${pid}/stat holds ${stat}`);
  }
  return field;
}

function isSameProcess(pid: number, startTime: string): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const state = stat.slice(stat.lastIndexOf(')') + 2)[0];
    return pidStartTime(pid) === startTime && state !== 'Z' && state !== 'X';
  } catch {
    return false;
  }
}

/**
 * parseLog: a P record loses its newline. Throws where CRI-O only warns, for of conmon's log every line must be well
 * formed, but for one that was cut at the limit.
 */
function parseLog(log: Buffer): { stdout: string; stderr: string } {
  const streams = { stdout: '', stderr: '' };
  for (const line of log.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? []) {
    const match = /^(\S+) (stdout|stderr) ([FP]) (.*\n?)$/s.exec(line);
    if (match === null && !line.endsWith('\n')) {
      continue;
    }
    if (match === null) {
      throw new Error(`Hit invalid log format: ${JSON.stringify(line)}`);
    }
    const [, , stream, tag, content = ''] = match;
    streams[stream as 'stdout' | 'stderr'] += tag === 'P' ? content.replace(/\n$/, '') : content;
  }
  return streams;
}
