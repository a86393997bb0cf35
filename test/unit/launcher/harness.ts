/**
 * A private installation of the launcher whose Node is fake-node.c, and a caller that starts it (caller.c).
 * Everything it starts is ended by pid and every directory removed when the test is over, also when it fails.
 */
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { waitFor, within } from '../../helpers/wait.ts';

export const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const WARNINGS = ['-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wformat=2', '-Wvla', '-Wstrict-prototypes'];
const LIMIT_MS = 20_000;

/** What the launcher passes to Node, in front of {@link SEED_FLAG} and the bundle. Source: NODE_FLAGS in native/launcher.c. */
export const NODE_FLAGS = ['--disable-sigusr1', '--v8-pool-size=1', '--max-semi-space-size=1'] as const;

/** The last flag, another one each time. */
export const SEED_FLAG = /^--random-seed=(\d+)$/;

/** What a daemon must answer to for an exec to join it. */
export const BUILD_ID = 'test-build';

const LAUNCHER = ['native/launcher.c', 'native/join.c', 'native/join.h', 'native/seeds.h'];

const COMPILER = process.env['CC'] ?? 'gcc';
const ask = (question: string) => execFileSync(COMPILER, [question], { encoding: 'utf8', timeout: LIMIT_MS }).trim();
const MUSL = `${ask('-dumpmachine').split('-')[0]}-linux-musl`;

interface Build {
  readonly sources: readonly string[];
  readonly flags: readonly string[];
  /** What follows the sources. */
  readonly libraries: readonly string[];
}

/** The two builds that every promise is checked with: as it is shipped (MUSL_FLAGS in the Makefile), and with glibc and what that can check. */
export const BUILDS = {
  static: {
    sources: LAUNCHER,
    flags: [
      ...['-O2', '-fstack-protector-strong', '-fPIE', '-static-pie', '-Wl,-z,relro,-z,now', '-nostdinc', '-nostdlib'],
      ...['-isystem', `/usr/include/${MUSL}`, '-isystem', ask('-print-file-name=include')],
    ],
    libraries: [...['rcrt1.o', 'crti.o', 'libc.a', 'crtn.o'].map((name) => `/usr/lib/${MUSL}/${name}`), '-lgcc'],
  },
  sanitized: {
    sources: LAUNCHER,
    flags: ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
    libraries: [],
  },
} as const satisfies Record<string, Build>;

export type BuildName = keyof typeof BUILDS;

/** @returns the path of an executable that is made once for these sources and these flags, under build/test. */
export function compile(
  sources: readonly string[],
  flags: readonly string[],
  libraries: readonly string[] = [],
): string {
  const paths = sources.map((source) => join(REPOSITORY, source));
  const hash = createHash('sha256').update([...flags, ...libraries].join(' '));
  for (const path of paths) hash.update(readFileSync(path));
  const digest = hash.digest('hex').slice(0, 12);
  const directory = join(REPOSITORY, 'build/test');
  const target = join(directory, `${sources[0]?.replaceAll('/', '-')}-${digest}`);
  if (!existsSync(target)) {
    mkdirSync(directory, { recursive: true });
    const temporary = `${target}.${process.pid}`;
    const command = [
      '-std=c11',
      ...WARNINGS,
      ...flags,
      '-o',
      temporary,
      ...paths.filter((path) => path.endsWith('.c')),
      ...libraries,
    ];
    execFileSync(COMPILER, command, { timeout: 60_000 });
    renameSync(temporary, target);
  }
  return target;
}

const helper = (name: string) => compile([`test/unit/launcher/${name}.c`], ['-O2', '-static']);

/** Strings as they lie in memory: each with its NUL. A Buffer is any bytes. */
export function strings(values: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(values.flatMap((value) => [Buffer.from(value), Buffer.of(0)]));
}

/** What `pid` executes; undefined when it has ended. */
export function executableOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

export interface StartOptions {
  /** Operations of caller.c, in order, before it executes the launcher. */
  readonly caller?: readonly string[];
  /** The launcher's environment. */
  readonly env?: readonly (string | Buffer)[];
  /** The arguments after argv[0]. */
  readonly args?: readonly (string | Buffer)[];
  readonly argv0?: string;
  /** Default: streams 0 to 2 are pipes, nothing else is open. */
  readonly stdio?: StdioOptions;
  /** What is executed instead of ROOT/bin/conmon. */
  readonly path?: string;
}

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What fake-node.c wrote down. Bytes are latin1 strings, one character for one byte. */
export class Dump {
  readonly #fields = new Map<string, string[]>();

  constructor(text: string) {
    for (const line of text.split('\n').filter((candidate) => candidate !== '')) {
      const [name = '', hex = ''] = line.split(' ');
      const values = this.#fields.get(name) ?? [];
      values.push(Buffer.from(hex, 'hex').toString('latin1'));
      this.#fields.set(name, values);
    }
  }

  all(name: string): readonly string[] {
    return this.#fields.get(name) ?? [];
  }

  one(name: string): string {
    const [value] = this.all(name);
    if (value === undefined) {
      throw new Error(`the dump has no ${name}`);
    }
    return value;
  }

  number(name: string): number {
    return Number(this.one(name));
  }

  /** Open fds: number to FD_CLOEXEC flag and target. */
  get fds(): Map<number, { flags: number; target: string }> {
    return new Map(
      this.all('fd').map((line) => {
        const [fd, flags, ...target] = line.split(' ');
        return [Number(fd), { flags: Number(flags), target: target.join(' ') }];
      }),
    );
  }

  /** The value of `name` in CONMON_LAUNCHER. */
  handOver(name: string): string {
    const value = this.all('env').find((entry) => entry.startsWith('CONMON_LAUNCHER='));
    const found = value === undefined ? undefined : new RegExp(` ${name}=([^ ]*)`).exec(value)?.[1];
    if (found === undefined) {
      throw new Error(`${value} has no ${name}`);
    }
    return found;
  }
}

/** A launcher that runs. */
export class Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly outcome: Promise<Outcome>;
  /** Settles when the launcher has ended, whoever still holds its streams. */
  readonly exited: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.child = child;
    this.pid = child.pid ?? -1;
    const output = ['', ''];
    [child.stdout, child.stderr].forEach((stream, i) => {
      stream?.setEncoding('latin1').on('data', (text: string) => {
        output[i] += text;
      });
    });
    this.exited = new Promise((resolve) => child.on('exit', resolve));
    this.outcome = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status, signal) =>
        resolve({ status, signal, stdout: output[0] ?? '', stderr: output[1] ?? '' }),
      );
    });
  }

  /** The outcome, after at most 20 s. */
  ended(): Promise<Outcome> {
    return within('the launcher and its streams to end', this.outcome, LIMIT_MS);
  }

  exit(): Promise<number | null> {
    return within('the launcher to end', this.exited, LIMIT_MS);
  }

  /** The parent's end of an fd that `stdio` made a 'pipe'. */
  pipe(fd: number): NodeJS.WritableStream {
    const stream = this.child.stdio[fd];
    if (!stream || !('write' in stream)) {
      throw new Error(`fd ${fd} is not a pipe to the launcher`);
    }
    return stream;
  }
}

/** ROOT/bin/conmon and ROOT/libexec/conmon/node in a directory of its own, and room for files. */
export class Installation {
  readonly root: string;
  readonly conmon: string;
  readonly node: string;
  readonly #t: Test;
  #files = 0;

  constructor(test: Test, build: BuildName, name = 'root') {
    const base = mkdtempSync(join(tmpdir(), 'conmon-launcher-'));
    test.teardown(() => rmSync(base, { recursive: true, force: true }));
    this.#t = test;
    this.root = join(base, name);
    this.conmon = join(this.root, 'bin/conmon');
    this.node = join(this.root, 'libexec/conmon/node');
    mkdirSync(join(this.root, 'bin'), { recursive: true });
    mkdirSync(join(this.root, 'libexec/conmon'), { recursive: true });
    const { sources, flags, libraries } = BUILDS[build];
    copyFileSync(compile(sources, [...flags, `-DBUILD_ID="${BUILD_ID}"`], libraries), this.conmon);
    copyFileSync(helper('fake-node'), this.node);
  }

  /** A path in this installation that nothing uses yet. */
  file(name = 'file'): string {
    this.#files += 1;
    return join(this.root, `${name}-${this.#files}`);
  }

  #written(values: readonly (string | Buffer)[]): string {
    const path = this.file('strings');
    writeFileSync(path, strings(values));
    return path;
  }

  start(options: StartOptions = {}): Started {
    const { caller = [], env = [], args = [], argv0 = 'conmon', stdio = 'pipe', path = this.conmon } = options;
    const operations = [
      `clean=${Array.isArray(stdio) ? stdio.length : 3}`,
      `env=${this.#written(env)}`,
      `argv=${this.#written([argv0, ...args])}`,
      ...caller,
      `exec=${path}`,
    ];
    const child = spawn(helper('caller'), operations, { stdio, env: {}, cwd: this.root });
    this.#t.teardown(() => child.kill('SIGKILL'));
    return new Started(child);
  }

  run(options: StartOptions = {}): Promise<Outcome> {
    return this.start(options).ended();
  }

  /** The dump in `path` once it is complete. What wrote it is ended with the test: it may outlive the launcher. */
  async dump(path: string): Promise<Dump> {
    const dump = new Dump(
      await waitFor(`${path}`, () => existsSync(path) && readFileSync(path, 'latin1'), { timeoutMs: LIMIT_MS }),
    );
    const pid = dump.number('pid');
    this.#t.teardown(() => {
      if (executableOf(pid) === this.node) {
        process.kill(pid, 'SIGKILL');
      }
    });
    return dump;
  }

  /** Runs the launcher with a Node that dumps what it got and ends with 0. */
  async observe(options: StartOptions = {}): Promise<Dump & { outcome: Outcome }> {
    const path = this.file('dump');
    const outcome = await this.run({ ...options, args: [...(options.args ?? []), `do:dump=${path}`] });
    if (outcome.status !== 0) {
      throw new Error(`the launcher ended with ${outcome.status ?? outcome.signal}: ${outcome.stderr}`);
    }
    return Object.assign(new Dump(readFileSync(path, 'latin1')), { outcome });
  }
}

/** One subtest for each build, with an installation of its own. */
export function promise(
  title: string,
  check: (test: Test, installation: Installation) => Promise<void>,
  builds: readonly BuildName[] = ['static', 'sanitized'],
): void {
  for (const build of builds) {
    t.test(`${title} (${build})`, async (test) => {
      await check(test, new Installation(test, build));
    });
  }
}
