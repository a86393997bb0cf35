/**
 * Runs many containers and execs in namespaces of their own, where everything that is left can be counted, and prints what
 * was there before and after as JSON. A program: `leak-run.ts MONITOR_PATH MONITOR_NAME MEMORY_CGROUP`, in
 * that cgroup, under an init that reaps.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Case } from './case.ts';
import type { Container } from './container.ts';
import { endContainer, idleContainer, noContainer } from './exec.ts';
import type { MonitorName } from './monitors.ts';
import { REPOSITORY } from './native.ts';
import { allProcesses, processInfo } from './proc.ts';
import { findRuntime } from './runtimes.ts';
import { mapBounded, waitFor } from './wait.ts';
import { Workspace } from './workspace.ts';

const AT_ONCE = 4;
const FAKE_CONTAINERS = 150;
const REAL_CONTAINERS = 50;
const FAKE_EXECS = 400;
const REAL_EXECS = 100;
const RECLAIM = '8G';

/** What a machine can run out of. */
export interface Inventory {
  /** Other than init and this program; a zombie counts. */
  readonly processes: readonly string[];
  readonly ownFds: number;
  /** Lines of /proc/net/unix; the network namespace is ours alone. */
  readonly unixSockets: number;
  readonly mounts: number;
  readonly cgroups: readonly string[];
  /** Entries of the directories for temporary files. */
  readonly temporary: readonly string[];
  /** Bytes charged to what runs here, kernel memory too, without this program's own pages. */
  readonly memoryBytes: number;
}

export interface LeakReport {
  readonly before: Inventory;
  readonly after: Inventory;
  readonly wrong: readonly string[];
}

/** The cgroup that this program and everything it starts are in from their first page on. */
class MemoryCgroup {
  readonly #path: string;
  readonly #v1: boolean;

  constructor(path: string) {
    this.#path = path;
    this.#v1 = existsSync(`${path}/memory.force_empty`);
  }

  /** What processes have for themselves, and what the kernel has for them, once it has dropped what it could. */
  usageBytes(): number {
    try {
      writeFileSync(`${this.#path}/${this.#v1 ? 'memory.force_empty' : 'memory.reclaim'}`, RECLAIM);
    } catch {
      // it could not reclaim as much as that: nobody could
    }
    const stat = this.#read('memory.stat');
    const field = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1]);
    return this.#v1 ? field('rss') + Number(this.#read('memory.kmem.usage_in_bytes')) : field('anon') + field('kernel');
  }

  #read(name: string): string {
    return readFileSync(`${this.#path}/${name}`, 'latin1');
  }
}

function others(): number[] {
  return allProcesses().filter((pid) => pid !== 1 && pid !== process.pid);
}

function ownBytes(): number {
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024;
}

async function inventory(memory: MemoryCgroup, mark: string): Promise<Inventory> {
  await waitFor('processes to go', () => others().length === 0, { timeoutMs: 20_000, intervalMs: 20 }).catch(() => {});
  await sleep(200); // what the kernel frees after a grace period
  const roots = readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`);
  const cgroups = ['/sys/fs/cgroup', ...roots].flatMap((root) => {
    try {
      return readdirSync(root).filter((name) => name.includes(mark));
    } catch {
      return [];
    }
  });
  return {
    processes: others().map((pid) => JSON.stringify(processInfo(pid))),
    ownFds: readdirSync('/proc/self/fd').length,
    unixSockets: readFileSync('/proc/net/unix', 'latin1').split('\n').length,
    mounts: readFileSync('/proc/self/mountinfo', 'latin1').split('\n').length,
    cgroups,
    temporary: ['/tmp', '/dev/shm', '/var/tmp', '/run']
      .flatMap((dir) => readdirSync(dir).map((name) => `${dir}/${name}`))
      .sort(),
    memoryBytes: memory.usageBytes() - ownBytes(),
  };
}

/** Runs sessions of every kind. @returns what did not end as it should. */
async function runSessions(
  c: Case,
  counts: { readonly fake: number; readonly real: number; readonly fakeExecs: number; readonly realExecs: number },
): Promise<string[]> {
  const wrong: string[] = [];
  const check = (what: string, got: unknown, expected: unknown): void => {
    if (got !== expected) wrong.push(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(expected)}`);
  };
  const numbers = (count: number) => [...Array(count).keys()];
  const finish = async (container: Container, status: number): Promise<void> => {
    check('status', await container.finished(), status);
    container.conmon.release();
    wrong.push(...container.strayFiles());
  };
  await mapBounded(numbers(counts.fake), AT_ONCE, async (i) => {
    const kind = i % 4;
    const container = c.container({
      style: i % 2 === 0 ? 'crio' : 'podman',
      fake:
        kind === 0
          ? ['console pty', 'container echo x; exit 3']
          : ['orphan exit 1', 'container (sleep 0.05 &); echo x; exit 3'],
      args: kind === 0 ? ['-t'] : kind === 1 ? ['-i'] : [],
      ...(kind === 2 ? { exitCommand: { script: ['exit 0'] } } : {}),
    });
    await container.created();
    await finish(container, 3);
  });
  await mapBounded(numbers(counts.real), AT_ONCE, async (i) => {
    const container = c.container({
      script: `echo x; exit ${i}`,
      ...(i % 3 === 0 ? { process: { args: ['/bin/sh', '-c', `exit ${i}`], terminal: true } } : {}),
    });
    await container.run();
    await finish(container, i);
    await container.delete();
  });
  await mapBounded(numbers(counts.fakeExecs), AT_ONCE, async (i) => {
    const style = i % 2 === 0 ? 'execsync' : 'podman';
    const exec = c.exec(noContainer(c), {
      style,
      fake: i % 10 === 9 ? [`stderr ${c.workspace.dir}/words`, 'exit 1'] : ['container-exit 4'],
      withoutFiles: true,
    });
    const said = await exec.everything();
    check('exec', /-1, "message": "words/.test(said) || /: 4\}\n$/.test(said), true);
    if (style === 'podman') await exec.daemonGone();
    else await exec.ended();
    exec.conmon.release();
    wrong.push(...exec.strayFiles());
  });
  const idle = await idleContainer(c);
  await mapBounded(numbers(counts.realExecs), AT_ONCE, async (i) => {
    const exec = c.exec(idle, { command: `echo x; exit ${i}`, terminal: i % 5 === 0 });
    check('real exec', await exec.everything(), `{"exit_code": ${i}}\n`);
    await exec.ended();
    exec.conmon.release();
  });
  await endContainer(idle);
  idle.conmon.release();
  await idle.delete();
  return wrong;
}

/** One round in a workspace of its own, which is taken away. */
async function round(
  path: string,
  name: MonitorName,
  counts: Parameters<typeof runSessions>[1],
): Promise<{ readonly wrong: readonly string[]; readonly mark: string }> {
  const workspace = new Workspace();
  writeFileSync(`${workspace.dir}/words`, 'words\n');
  const c = new Case(
    undefined as never,
    workspace,
    { name, path, version: '' },
    findRuntime('runc', workspace),
    undefined,
  );
  const wrong = await runSessions(c, counts);
  await workspace.runDeferred();
  wrong.push(...workspace.leftovers());
  workspace.destroy();
  return { wrong, mark: workspace.mark };
}

/** Directories for temporary files in which nothing is but what we make, and what is needed and happened to be there. */
function makeTemporaryDirs(needed: readonly string[]): void {
  const hidden = needed.filter((dir) => dir.startsWith('/tmp/'));
  const fds = hidden.map((dir) => openSync(dir, 'r'));
  for (const dir of ['/tmp', '/run']) execFileSync('/bin/mount', ['-t', 'tmpfs', 'tmpfs', dir]);
  for (const [index, dir] of hidden.entries()) {
    mkdirSync(dir, { recursive: true });
    execFileSync('/bin/mount', ['-c', '--bind', `/proc/${process.pid}/fd/${fds[index]}`, dir]);
    closeSync(fds[index] ?? -1);
  }
}

async function main(path: string, name: MonitorName, cgroup: string): Promise<void> {
  // The test that started us has a time limit; tap's own would end us after 30 seconds.
  t.setTimeout(0);
  makeTemporaryDirs([REPOSITORY, dirname(dirname(path))]);
  const memory = new MemoryCgroup(cgroup);
  // The first sessions fill caches, this program's and the kernel's.
  const first = await round(path, name, { fake: 8, real: 4, fakeExecs: 20, realExecs: 5 });
  const before = await inventory(memory, first.mark);
  const second = await round(path, name, {
    fake: FAKE_CONTAINERS,
    real: REAL_CONTAINERS,
    fakeExecs: FAKE_EXECS,
    realExecs: REAL_EXECS,
  });
  const after = await inventory(memory, second.mark);
  const wrong = [...first.wrong, ...second.wrong];
  process.stdout.write(JSON.stringify({ before, after, wrong } satisfies LeakReport));
}

await main(process.argv[2] ?? '', (process.argv[3] ?? 'ours') as MonitorName, process.argv[4] ?? '');
process.exit(0);
