/**
 * A machine within the machine for real engines: namespaces of their own (mounts, pids, hostname, network, IPC) with a
 * reaping pid 1, /run and the engines' storage on tmpfs. What an engine leaves behind is found here and goes with it;
 * nothing outside is touched but empty cgroups below libpod_parent.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { allProcesses, childrenOf, isRunning, processInfo } from './proc.ts';
import { waitFor } from './wait.ts';

/** Mounts, then says so and waits for its end. Debian's crun refuses the hybrid cgroup layout (its v2 part goes). */
const INIT = `set -e
mount --make-rprivate /
mount --make-rshared /
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
for at in /run /var/lib/containers /etc/containers; do mkdir -p $at; mount -t tmpfs -o mode=0755 tmpfs $at; done
mkdir -p /run/lock /run/tmp /run/user
chmod 1777 /run/tmp
: >/run/ready
exec sleep infinity`;

const ENTER = ['-m', '-p', '-n', '-i', '-u'];

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string;
  /** fds of this process that the program gets as 3, 4, ... */
  readonly fds?: readonly number[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** A program that runs in the space. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Result>;
  #stdout = '';
  #stderr = '';

  constructor(command: readonly string[], { stdin, fds = [], env, timeoutMs = 60_000 }: RunOptions) {
    const [file = '', ...args] = command;
    this.child = spawn(file, args, {
      stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...fds],
      env: { ...BASE_ENV, ...env },
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    if (stdin !== undefined) this.child.stdin?.on('error', () => {}).end(stdin);
    const guard = setTimeout(() => void this.kill(), timeoutMs);
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code) => {
        clearTimeout(guard);
        resolve({ code, stdout: this.#stdout, stderr: this.#stderr });
      }),
    );
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The pid, here, of the program itself: nsenter's child. */
  async pid(): Promise<number> {
    return await waitFor('the program to be started', () => childrenOf(this.child.pid ?? -1)[0]?.pid);
  }

  /** SIGKILL to the program itself; nsenter then ends. */
  async kill(): Promise<void> {
    const pid = childrenOf(this.child.pid ?? -1)[0]?.pid;
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  }
}

/** Somebody without root. */
export interface User {
  readonly uid: number;
  readonly home: string;
  readonly runtimeDir: string;
  readonly env: Readonly<Record<string, string>>;
}

const BASE_ENV = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  TERM: 'xterm',
  LC_ALL: 'C.UTF-8',
  TMPDIR: '/run/tmp',
};

const LONGEST_SERVICE_MS = 600_000;
const spaces = new Set<EngineSpace>();

export class EngineSpace {
  readonly #unshare: ChildProcess;
  /** Pid, here, of the space's pid 1. */
  readonly init: number;
  readonly #pidNamespace: string;
  /** Started to stay. */
  readonly #services = new Set<number>();

  private constructor(unshare: ChildProcess, init: number) {
    this.#unshare = unshare;
    this.init = init;
    this.#pidNamespace = readlinkSync(`/proc/${init}/ns/pid`);
    spaces.add(this);
  }

  static async open(): Promise<EngineSpace> {
    const args = [...ENTER.slice(0, 1), '-p', '-n', '-i', '-u', '-f', '--kill-child', '--mount-proc', '--'];
    const unshare = spawn('unshare', [...args, 'catatonit', '--', 'sh', '-c', INIT], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: BASE_ENV,
    });
    let stderr = '';
    unshare.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const init = await waitFor('the namespaces', () => {
      if (unshare.exitCode !== null) throw new Error(`unshare: ${stderr}`);
      return childrenOf(unshare.pid ?? -1).find(({ comm }) => comm === 'catatonit')?.pid;
    });
    const space = new EngineSpace(unshare, init);
    await waitFor('the mounts', () => {
      if (!isRunning(init)) throw new Error(`the space has ended: ${stderr}`);
      return space.exists('/run/ready');
    });
    return space;
  }

  /** `path` of the space, as it is reached from here. */
  outside(path: string): string {
    return join(`/proc/${this.init}/root`, path);
  }

  exists(path: string): boolean {
    return this.read(path) !== undefined;
  }

  /** undefined when there is no such file. */
  read(path: string): string | undefined {
    try {
      return readFileSync(this.outside(path), 'utf8');
    } catch {
      return undefined;
    }
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(this.outside(path)), { recursive: true });
    writeFileSync(this.outside(path), text);
  }

  /** The command that runs `command` in the space, as `user` when given. */
  enter(command: readonly string[], user?: User): string[] {
    const as =
      user === undefined
        ? []
        : ['setpriv', '--reuid', String(user.uid), '--regid', String(user.uid), '--clear-groups', '--'];
    return ['nsenter', '-t', String(this.init), ...ENTER, '--', ...as, ...command];
  }

  start(command: readonly string[], options: RunOptions = {}, user?: User): Running {
    return new Running(this.enter(command, user), { ...options, env: { ...user?.env, ...options.env } });
  }

  async run(command: readonly string[], options: RunOptions = {}, user?: User): Promise<Result> {
    return await this.start(command, options, user).ended;
  }

  /** journald alone, without the rest of systemd, as the space's own service. */
  async startJournal(): Promise<void> {
    const ready = '/run/systemd/journal/socket';
    const prepared = await this.run([
      'sh',
      '-c',
      'mkdir -p /run/systemd/journal /run/log/journal && chmod 0755 /run/log',
    ]);
    if (prepared.code !== 0) throw new Error(prepared.stderr);
    // It has to name the machine that its files are of.
    if (!/^[0-9a-f]{32}\n$/.test(this.read('/etc/machine-id') ?? '')) {
      const script = `od -An -N16 -tx1 /dev/urandom | tr -d ' \\n' >/run/machine-id; echo >>/run/machine-id
        : >>/etc/machine-id; mount --bind /run/machine-id /etc/machine-id`;
      const { code, stderr } = await this.run(['sh', '-c', script]);
      if (code !== 0) throw new Error(`machine-id: ${stderr}`);
    }
    const service = this.start(['/lib/systemd/systemd-journald'], { timeoutMs: LONGEST_SERVICE_MS });
    void service.ended.then(({ stderr }) => {
      if (spaces.has(this)) throw new Error(`journald has ended: ${stderr}`);
    });
    this.#services.add(await service.pid());
    await waitFor('the journal', () => existsSync(this.outside(ready)));
  }

  /** Makes a user with a home, a runtime directory and sub-ids of its own, for engines without root. */
  async addUser(uid: number): Promise<User> {
    const home = `/run/home-${uid}`;
    const runtimeDir = `/run/user/${uid}`;
    const script = `set -e
      mkdir -p ${home} ${runtimeDir} && chown ${uid}:${uid} ${home} ${runtimeDir} && chmod 0700 ${home} ${runtimeDir}
      { cat /etc/passwd; echo "u${uid}:x:${uid}:${uid}::${home}:/bin/sh"; } >/run/passwd
      echo "u${uid}:100000:65536" >/run/subid
      mount --bind /run/passwd /etc/passwd
      for at in /etc/subuid /etc/subgid; do [ -e $at ] || : >$at; mount --bind /run/subid $at; done`;
    const { code, stderr } = await this.run(['sh', '-c', script]);
    if (code !== 0) throw new Error(`adding user ${uid}: ${stderr}`);
    return { uid, home, runtimeDir, env: { HOME: home, XDG_RUNTIME_DIR: runtimeDir, USER: `u${uid}` } };
  }

  /** `PID COMM` of all that runs in it, beside its pid 1 and that one's sleep. */
  processes(): string[] {
    return allProcesses().flatMap((pid) => {
      const info = processInfo(pid);
      if (info === undefined || pid === this.init || this.#services.has(pid)) return [];
      try {
        if (readlinkSync(`/proc/${pid}/ns/pid`) !== this.#pidNamespace) return [];
      } catch {
        return [];
      }
      return info.ppid === this.init && info.comm === 'sleep' && info.sid === processInfo(this.init)?.sid
        ? []
        : [`${pid} ${info.comm} ${info.state}`];
    });
  }

  /** Files and sockets below `path`, sorted; empty when there is nothing. */
  files(path: string): string[] {
    try {
      return readdirSync(this.outside(path), { recursive: true, encoding: 'utf8' }).sort();
    } catch {
      return [];
    }
  }

  /** Ends everything in it. unshare ignores SIGTERM, and its pid 1 takes all others along. */
  close(): void {
    if (!spaces.delete(this)) return;
    try {
      process.kill(this.init, 'SIGKILL');
    } catch {
      // has ended by itself
    }
    this.#unshare.kill('SIGKILL');
    removeEmptyCgroups();
  }
}

/** Podman keeps its own, empty, cgroups. Another space's are in use and stay. */
function removeEmptyCgroups(): void {
  for (const controller of readdirSync('/sys/fs/cgroup')) removeCgroup(`/sys/fs/cgroup/${controller}/libpod_parent`);
}

/** From the leaves up: a cgroup with children, or with processes, cannot be removed. */
function removeCgroup(path: string): void {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) removeCgroup(join(path, entry.name));
    rmdirSync(path);
  } catch {
    // none there, or in use
  }
}

process.once('exit', () => {
  for (const space of spaces) space.close();
});
for (const signal of ['SIGALRM', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.prependOnceListener(signal, () => {
    for (const space of spaces) space.close();
  });
