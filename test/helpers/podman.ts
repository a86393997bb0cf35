/**
 * Podman cases: one space and one image store a file, each case run under every conmon with the same expectation, so
 * that they must agree. After each case nothing may be left of it: containers, processes, files of engine and conmon.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IPty, spawn as spawnPty } from 'node-pty';
import t, { type Test } from 'tap';
import { EngineSpace, type Result, type Running, type RunOptions, type User } from './engine-space.ts';
import { type Monitor, type MonitorName, monitors } from './monitors.ts';
import { nativeHelper } from './native.ts';
import { waitFor } from './wait.ts';

export const IMAGE = 'localhost/busybox';

const APPLETS =
  'sh echo cat sleep kill ls stty ps head tail seq id true false env touch rm tr od wc date printf tty dd yes mkfifo test';

const CONTAINERS_CONF = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
`;
const STORAGE_CONF = `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`;
const POLICY = '{"default":[{"type":"insecureAcceptAnything"}]}';
/** Where Podman looks for the conmon of everything it starts; a restart by the exit command too, which knows no --conmon. */
const DROP_IN = '/etc/containers/containers.conf.d/10-conmon-ts.conf';

/** Whose Podman it is, and what there is when no container is. */
interface Household {
  readonly space: EngineSpace;
  /** undefined: root. */
  readonly user: User | undefined;
  /** Where containers leave files, nothing of which may stay. */
  readonly watched: readonly string[];
  /** Podman without root keeps a process that holds its namespaces. */
  readonly processes: readonly string[];
}

let opened: Promise<EngineSpace> | undefined;
const households = new Map<boolean, Promise<Household>>();
const ROOTLESS_UID = 1000;

/** The file's space. */
async function openSpace(): Promise<EngineSpace> {
  const space = await EngineSpace.open();
  t.teardown(() => space.close());
  space.write('/etc/containers/containers.conf', CONTAINERS_CONF);
  space.write('/etc/containers/storage.conf', STORAGE_CONF);
  space.write('/etc/containers/policy.json', POLICY);
  space.write('/etc/containers/registries.conf', '');
  return space;
}

/** Root's Podman or a user's, with the image in its store. */
async function openHousehold(rootless: boolean): Promise<Household> {
  opened ??= openSpace();
  const space = await opened;
  const user = rootless ? await space.addUser(ROOTLESS_UID) : undefined;
  const run = user?.runtimeDir ?? '/run';
  const store = user === undefined ? '/var/lib/containers' : `${user.home}/.local/share/containers`;
  const image = makeImage();
  try {
    const { code, stderr } = await space.run(['podman', 'import', '-q', image, IMAGE], {}, user);
    if (code !== 0) throw new Error(`podman import: ${stderr}`);
  } finally {
    rmSync(join(image, '..'), { recursive: true, force: true });
  }
  return {
    space,
    user,
    watched: [`${run}/libpod`, '/run/tmp', `${store}/storage/overlay-containers`],
    processes: space.processes(),
  };
}

/** A tarball of busybox and the sd_notify tool. @returns its path, in a directory of its own. */
export function makeImage(): string {
  const directory = mkdtempSync(join(tmpdir(), 'conmon-image-'));
  const root = join(directory, 'root');
  for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'dev', 'sys', 'run'])
    mkdirSync(join(root, name), { recursive: true });
  // Somebody without root reads it.
  chmodSync(directory, 0o755);
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  copyFileSync(nativeHelper('notify'), join(root, 'bin/notify'));
  for (const applet of APPLETS.split(' ')) symlinkSync('busybox', join(root, 'bin', applet));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n');
  execFileSync('tar', ['-C', root, '-cf', join(directory, 'image.tar'), '.']);
  return join(directory, 'image.tar');
}

export class Podman {
  readonly t: Test;
  readonly space: EngineSpace;
  readonly monitor: Monitor;
  /** Why this conmon does it otherwise; undefined = it must keep the promise. */
  readonly differs: string | undefined;
  readonly #household: Household;
  readonly #prefix: string;

  constructor(t: Test, household: Household, monitor: Monitor, differs: string | undefined, prefix: string) {
    this.t = t;
    this.#household = household;
    this.space = household.space;
    this.monitor = monitor;
    this.differs = differs;
    this.#prefix = prefix;
  }

  /** A container's name, unique in the file. */
  name(word = 'c'): string {
    return `${this.#prefix}-${word}`;
  }

  start(args: readonly string[], options: RunOptions = {}): Running {
    return this.space.start(['podman', ...args], options, this.#household.user);
  }

  async run(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return await this.start(args, options).ended;
  }

  /** Runs and wants success. @returns stdout without the last newline. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options);
    if (code !== 0) throw new Error(`podman ${args.join(' ')}: status ${code}: ${stderr}`);
    return stdout.replace(/\n$/, '');
  }

  async inspect(name: string, format: string): Promise<string> {
    return await this.ok(['inspect', '--format', format, name]);
  }

  /** Waits until `podman inspect` says so. */
  async until(name: string, format: string, wanted: string | RegExp): Promise<void> {
    const matches = (text: string) => (typeof wanted === 'string' ? text === wanted : wanted.test(text));
    let last = '';
    await waitFor(
      `${name}: ${format} to be ${wanted}`,
      async () => {
        last = await this.inspect(name, format);
        return matches(last);
      },
      { timeoutMs: 30_000, intervalMs: 50 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${JSON.stringify(last)}`);
    });
  }

  /** Podman on a terminal of 30 rows and 100 columns. */
  terminal(args: readonly string[]): Terminal {
    const { user } = this.#household;
    return new Terminal(this.t, this.space.enter(['podman', ...args], user), user?.env ?? {});
  }

  /** Waits until nothing is left of the case. */
  async nothingLeft(before: readonly string[]): Promise<void> {
    this.t.equal(await this.ok(['ps', '-aq']), '', 'no container is left');
    let left: string[] = [];
    const { processes } = this.#household;
    await waitFor('everything to go', () => {
      const others = this.space.processes().filter((line) => !processes.some((known) => sameProcess(known, line)));
      left = [...others, ...watchedFiles(this.#household).filter((name) => !before.includes(name))];
      return left.length === 0;
    }).catch((error: Error) => {
      throw new Error(`left behind: ${left.join(', ')}`, { cause: error });
    });
  }
}

/** Lines of EngineSpace.processes: a process that sleeps now may run then. */
function sameProcess(one: string, other: string): boolean {
  return one.split(' ')[0] === other.split(' ')[0];
}

function watchedFiles({ space, watched }: Household): string[] {
  const files = watched.flatMap((directory) => space.files(directory).map((name) => `${directory}/${name}`));
  // The store's own list, which the first container makes.
  return files.filter((path) => !/\/containers\.(json|lock)$/.test(path));
}

/** What somebody who sits before a terminal sees and types. */
export class Terminal {
  readonly #pty: IPty;
  #seen = '';
  #status: number | undefined;

  constructor(t: Test, [file = '', ...args]: readonly string[], more: Readonly<Record<string, string>>) {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', TERM: 'xterm', TMPDIR: '/run/tmp', ...more };
    this.#pty = spawnPty(file, args, { cols: 100, rows: 30, env });
    this.#pty.onData((text) => {
      this.#seen += text;
    });
    this.#pty.onExit(({ exitCode }) => {
      this.#status = exitCode;
    });
    t.teardown(() => {
      if (this.#status === undefined) this.#pty.kill('SIGKILL');
    });
  }

  get seen(): string {
    return this.#seen;
  }

  async expect(wanted: RegExp): Promise<void> {
    await waitFor(String(wanted), () => wanted.test(this.#seen)).catch((error: Error) => {
      throw new Error(`${error.message}; the terminal shows ${JSON.stringify(this.#seen.slice(-500))}`);
    });
  }

  /** Types, then waits for what it brings about. */
  async type(text: string, wanted: RegExp): Promise<void> {
    this.#seen = '';
    this.#pty.write(text);
    await this.expect(wanted);
  }

  /** Keys one by one, with a read in between: Podman 4.3 knows its detach keys only so. */
  async press(...keys: string[]): Promise<void> {
    for (const key of keys) {
      this.#pty.write(key);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows);
  }

  async exited(): Promise<number> {
    const exit = await waitFor('the terminal program to end', () =>
      this.#status === undefined ? undefined : { status: this.#status },
    );
    return exit.status;
  }
}

export interface AgreeOptions {
  /** A conmon that does it otherwise, and why; the case sees it as `differs`. */
  readonly differs?: Readonly<Partial<Record<MonitorName, string>>>;
  /** A user's Podman instead of root's. */
  readonly rootless?: boolean;
  readonly timeoutMs?: number;
}

let cases = 0;

/** Declares a promise about Podman and conmon together, and how it is checked: under each conmon alike. */
export function agree(title: string, check: (podman: Podman) => Promise<void>, options: AgreeOptions = {}): void {
  for (const monitor of monitors()) {
    t.test(`${title} [${monitor.name}]`, { timeout: options.timeoutMs ?? 90_000 }, async (t) => {
      const rootless = options.rootless ?? false;
      const household = households.get(rootless) ?? openHousehold(rootless);
      households.set(rootless, household);
      const { space } = await household;
      space.write(DROP_IN, `[engine]\nconmon_path = ["${monitor.path}"]\n`);
      const differs = options.differs?.[monitor.name];
      if (differs !== undefined) t.comment(`differs: ${differs}`);
      const podman = new Podman(t, await household, monitor, differs, `t${cases++}`);
      const before = watchedFiles(await household);
      try {
        await check(podman);
        await podman.nothingLeft(before);
      } finally {
        // After a failure the next case starts afresh; after a success there is nothing to remove.
        await podman.run(['pod', 'rm', '-a', '-f', '-t', '0']);
        await podman.run(['rm', '-a', '-f', '-t', '0']);
      }
    });
  }
}
