/**
 * The OCI runtimes of the e2e cases: the real runc and crun, our demo runtime, and fake ones that follow a script.
 * It finds them and makes them work on this machine; it never stands between conmon and a runtime's arguments.
 */
import { accessSync, constants, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { nativeHelper, REPOSITORY } from './native.ts';
import type { Workspace } from './workspace.ts';

export type RuntimeName = 'runc' | 'crun' | 'demo';

export interface Runtime {
  readonly name: RuntimeName;
  /** What conmon gets as --runtime. */
  readonly path: string;
}

const DIRECTORIES = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'];
const DEMO_RUNTIME = `${REPOSITORY}/bin/conmon-demo-runtime`;

/** The runtimes that run containers here: runc and crun always, ours once it is built. */
export function realRuntimes(): readonly RuntimeName[] {
  return existsSync(DEMO_RUNTIME) ? ['runc', 'crun', 'demo'] : ['runc', 'crun'];
}

/** Finds a runtime. Throws when its package is missing: that is a failure, not a reason to skip. */
export function findRuntime(name: RuntimeName, workspace: Workspace): Runtime {
  if (name === 'demo') {
    accessSync(DEMO_RUNTIME, constants.X_OK);
    return { name, path: DEMO_RUNTIME };
  }
  const path = DIRECTORIES.map((directory) => `${directory}/${name}`).find((candidate) => existsSync(candidate));
  if (path === undefined) {
    throw new Error(`${name} is not installed (apt-get install ${name})`);
  }
  return { name, path: name === 'crun' && hasHybridCgroups() ? withPlainCgroupV1(path, workspace) : path };
}

/** v1 controllers and a v2 hierarchy side by side, as systemd's "hybrid" mode mounts them. */
function hasHybridCgroups(): boolean {
  return / \/sys\/fs\/cgroup\/unified cgroup2 /.test(readFileSync('/proc/self/mounts', 'utf8'));
}

/** crun before 1.9 refuses hybrid cgroups: it gets a mount namespace without the v2 part, from a wrapper it replaces. */
function withPlainCgroupV1(crun: string, workspace: Workspace): string {
  const wrapper = workspace.path('runtimes', 'crun');
  if (!existsSync(wrapper)) {
    writeFileSync(`${wrapper}.exec`, crun);
    symlinkSync(nativeHelper('cgroup-v1'), wrapper);
  }
  return wrapper;
}

/**
 * Makes an executable at `path` that performs `script` whatever its arguments are, one verb a line:
 * `record DIR`, `stderr FILE`, `stdout FILE`, `copy FROM TO`, `pid-file TEXT`, `console pty|null|two|nothing|hang-up`,
 * `container SHELL`, `container-exit N`, `container-kill N`, `orphan SHELL`, `touch FILE`, `wait-file FILE`, `sleep-ms N`,
 * `hang`, `kill SIGNAL`, `exit N` (see native/fake-runtime.c).
 * Good as a runtime and as an exit command. @returns path.
 */
export function installFake(path: string, script: readonly string[]): string {
  writeFileSync(`${path}.conf`, `${script.join('\n')}\n`);
  symlinkSync(nativeHelper('fake-runtime'), path);
  return path;
}

/** What a fake wrote for `record DIR`. */
export interface Recording {
  readonly argv: readonly string[];
  /** NAME=VALUE, in the order in which they were given. */
  readonly environment: readonly string[];
  /** /proc/self/status. */
  readonly status: string;
  /** /proc/self/limits. */
  readonly limits: string;
  readonly oomScoreAdj: number;
  readonly pid: number;
  readonly ppid: number;
  readonly sid: number;
  readonly pgid: number;
  /** Signal number of PR_GET_PDEATHSIG, 0 = none. */
  readonly pdeathsig: number;
  readonly cwd: string;
  readonly fds: ReadonlyMap<number, { readonly cloexec: boolean; readonly mode: number; readonly target: string }>;
}

/** Reads a recording. @returns undefined while it is not complete. */
export function readRecording(directory: string): Recording | undefined {
  if (!existsSync(`${directory}/done`)) {
    return undefined;
  }
  const read = (name: string) => readFileSync(`${directory}/${name}`, 'utf8');
  const words = (name: string) => read(name).split('\0').slice(0, -1);
  const facts = new Map(
    read('process')
      .trimEnd()
      .split('\n')
      .map((line) => splitOnce(line)),
  );
  const fact = (name: string) => Number(facts.get(name));
  const fds = read('fds')
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '');
  return {
    argv: words('cmdline'),
    environment: words('environ'),
    status: read('status'),
    limits: read('limits'),
    oomScoreAdj: Number(read('oom_score_adj')),
    pid: fact('pid'),
    ppid: fact('ppid'),
    sid: fact('sid'),
    pgid: fact('pgid'),
    pdeathsig: fact('pdeathsig'),
    cwd: facts.get('cwd') ?? '',
    fds: new Map(
      fds.map((line) => {
        const [fd, flags, mode, ...target] = line.split(' ');
        const facts = { cloexec: flags === '1', mode: Number.parseInt(mode ?? '0', 8), target: target.join(' ') };
        return [Number(fd), facts];
      }),
    ),
  };
}

function splitOnce(line: string): [string, string] {
  const at = line.indexOf(' ');
  return [line.slice(0, at), line.slice(at + 1)];
}
