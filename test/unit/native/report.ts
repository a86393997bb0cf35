/**
 * Starts report.c with our spawn and reads what it says. Whoever is still there at the end of a test is killed by pid.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { O_CLOEXEC, WNOHANG } from '../../../src/native/constants.ts';
import { type SpawnSpec, sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { pipe } from './fake-sys.ts';

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const FLAGS = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-static'];

/** Path of the compiled report.c: made once for this source, under build/test. */
export const REPORT = ((): string => {
  const source = join(REPOSITORY, 'test/unit/native/report.c');
  const digest = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const target = join(REPOSITORY, 'build/test', `native-report-${digest}`);
  if (existsSync(target)) return target;
  mkdirSync(join(REPOSITORY, 'build/test'), { recursive: true });
  const temporary = `${target}.${process.pid}`;
  try {
    execFileSync(process.env['CC'] ?? 'gcc', [...FLAGS, '-o', temporary, source], { timeout: 60_000 });
    renameSync(temporary, target);
  } finally {
    rmSync(temporary, { force: true });
  }
  return target;
})();

/** Strings as spawn takes them. */
export function block(...strings: readonly string[]): Buffer {
  return Buffer.from(strings.map((text) => `${text}\0`).join(''), 'latin1');
}

/** A spec that executes report.c with `operations`; nothing but fds 0 to 2 of ours, no environment. */
export function spec(operations: readonly string[] = [], changes: Partial<SpawnSpec> = {}): SpawnSpec {
  return {
    path: REPORT,
    argv: block('report', ...operations),
    envp: Buffer.alloc(0),
    fdMap: Int32Array.of(0, 0, 1, 1, 2, 2),
    keepFds: new Int32Array(0),
    deathSignal: 0,
    listenPidOffset: -1,
    oomScoreAdj: '',
    nofileSoft: 0,
    nofileHard: 0,
    ...changes,
  };
}

/** The lines that report.c wrote. */
export class Report {
  readonly #lines: readonly string[];

  constructor(text: string) {
    this.#lines = text.split('\n');
  }

  all(name: string): readonly string[] {
    return this.#lines.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1));
  }

  one(name: string): string {
    const [value] = this.all(name);
    if (value === undefined) throw new Error(`the report has no ${name}`);
    return value;
  }

  number(name: string): number {
    return Number(this.one(name));
  }

  /** Numbers of the open fds, ascending, and what each is. */
  get fds(): Map<number, string> {
    const fds = this.all('fd').map((line): [number, string] => {
      const [fd, , ...target] = line.split(' ');
      return [Number(fd), target.join(' ').trim()];
    });
    return new Map(fds.toSorted(([a], [b]) => a - b));
  }
}

/** Waits for the end of a child of ours, at most 20 s, without blocking the thread. @returns the wait status. */
export async function ended(pid: number): Promise<number> {
  const status = new Int32Array(1);
  await waitFor(`process ${pid} to end`, () => {
    const result = sys.waitpid(pid, WNOHANG, status);
    if (result < 0) throw new Error(`waitpid(${pid}): ${sys.strerror(result)}`);
    return result === pid;
  });
  return status[0] ?? -1;
}

/** Starts report.c without a report. Throws when it cannot be started: a negative pid would be a process group. */
export function start(operations: readonly string[], changes: Partial<SpawnSpec> = {}): number {
  const pid = sys.spawn(spec(['quiet', ...operations], changes));
  if (pid <= 0) throw new Error(`spawn: ${sys.strerror(pid)}`);
  return pid;
}

export interface ReportPlan {
  /** What becomes fd 0 of the process. */
  readonly stdin?: number;
  /** More pairs of the fd map. */
  readonly mapMore?: readonly number[];
}

/** Runs report.c to its end with its stdout in a pipe. Throws when it cannot be started. */
export async function report(
  operations: readonly string[] = [],
  { stdin = 0, mapMore = [], ...changes }: Partial<SpawnSpec> & ReportPlan = {},
): Promise<{ pid: number; waitStatus: number; report: Report }> {
  const out = pipe(O_CLOEXEC);
  try {
    const pid = sys.spawn(
      spec(operations, { fdMap: Int32Array.of(0, stdin, 1, out.writeFd, 2, 2, ...mapMore), ...changes }),
    );
    if (pid < 0) throw new Error(`spawn: ${sys.strerror(pid)}`);
    const waitStatus = await ended(pid);
    const bytes = Buffer.alloc(1 << 16);
    const length = sys.read(out.readFd, bytes, 0, sys.fionread(out.readFd));
    return { pid, waitStatus, report: new Report(bytes.toString('latin1', 0, length)) };
  } finally {
    sys.close(out.readFd);
    sys.close(out.writeFd);
  }
}

/** A fresh path under the system's directory for temporary files. */
export function temporaryPath(name: string): string {
  return join(tmpdir(), `conmon-native-${process.pid}-${name}`);
}
