/**
 * The addon's tests once more with the address and undefined-behaviour sanitizers built into the addon. Node itself is
 * not instrumented: the sanitizer's runtime is loaded before it, and leaks, of which Node has its own at exit, are not
 * looked for.
 */
import { type ExecFileException, execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { libexecDir } from '../../src/native/libexec.ts';
import { mapBounded } from '../helpers/wait.ts';
import { SEED } from '../unit/native/fake-sys.ts';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const TESTS = join(REPOSITORY, 'test/unit/native');
const LIMIT_MS = 60_000;
const FLAGS = ['-std=c11', '-O1', '-g', '-fno-omit-frame-pointer', '-fPIC', '-shared'];
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
const COMPILER = process.env['CC'] ?? 'gcc';

/** Path of the sanitizer's runtime; undefined when the compiler has none. */
function runtimeLibrary(): string | undefined {
  const path = execFileSync(COMPILER, ['-print-file-name=libasan.so'], { encoding: 'utf8', timeout: 20_000 }).trim();
  return isAbsolute(path) ? path : undefined;
}

/** What is no part of the addon. */
const PROGRAMS = ['launcher.c', 'join.c', 'later.c', 'seeds.c'];

/** A directory that stands in for libexec/conmon; made once for these sources, under build/test. */
function sanitizedLibexec(): string {
  const directory = join(REPOSITORY, 'native');
  const files = readdirSync(directory).filter((name) => /\.[ch]$/.test(name) && !PROGRAMS.includes(name));
  const digest = createHash('sha256');
  for (const name of files.toSorted()) digest.update(readFileSync(join(directory, name)));
  const target = join(REPOSITORY, 'build/test', `sanitized-${digest.digest('hex').slice(0, 12)}`);
  if (existsSync(target)) return target;
  const temporary = `${target}.${process.pid}`;
  mkdirSync(temporary, { recursive: true });
  try {
    const sources = files.filter((name) => name.endsWith('.c')).map((name) => join(directory, name));
    const headers = ['-isystem', join(process.execPath, '../../include/node')];
    const output = ['-o', join(temporary, 'sys.node')];
    execFileSync(COMPILER, [...FLAGS, ...SANITIZERS, ...headers, ...output, ...sources], { timeout: LIMIT_MS });
    symlinkSync(join(libexecDir, 'kernel.wasm'), join(temporary, 'kernel.wasm'));
    renameSync(temporary, target);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return target;
}

interface Outcome {
  readonly error: ExecFileException | null;
  readonly output: string;
}

/** Runs our Node with the sanitizer's runtime and the addon in `libexec`. */
function run(library: string, libexec: string, ...args: readonly string[]): Promise<Outcome> {
  // What the bundler defines in a bundle is a global here: src/native/libexec.ts then looks where it says.
  const where = `--import=data:text/javascript,globalThis.CONMON_BUNDLE_DIR=${encodeURIComponent(JSON.stringify(libexec))}`;
  const env = { ...process.env, LD_PRELOAD: library, ASAN_OPTIONS: 'detect_leaks=0', TEST_SEED: String(SEED) };
  const options = { env, cwd: REPOSITORY, timeout: LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 26 } as const;
  return new Promise((resolve) => {
    execFile(process.execPath, [where, ...args], options, (error, stdout, stderr) => {
      resolve({ error, output: stdout + stderr });
    });
  });
}

/** The lines that say what went wrong. */
function findings(output: string): string {
  const lines = output.split('\n');
  return lines.filter((line) => /^ *not ok|runtime error|AddressSanitizer|^ +#\d /.test(line)).join('\n');
}

t.test(`the addon's tests pass with sanitizers, seed ${SEED}`, { timeout: 3 * LIMIT_MS }, async (t) => {
  const library = runtimeLibrary();
  if (library === undefined) {
    t.comment(`${COMPILER} has no libasan.so`);
    return;
  }
  const libexec = sanitizedLibexec();
  const code = `await import(${JSON.stringify(new URL('../../src/native/sys.ts', import.meta.url).href)});
    const { readFileSync } = await import('node:fs');
    console.log(readFileSync('/proc/self/maps', 'latin1'));`;
  const maps = await run(library, libexec, '--input-type=module', '--eval', code);
  t.match(maps.output, join(libexec, 'sys.node'), 'the addon with sanitizers is the one in use');
  t.match(maps.output, 'libasan');
  const files = readdirSync(TESTS).filter((name) => name.endsWith('.test.ts'));
  await mapBounded(files, 2, async (name) => {
    const { error, output } = await run(library, libexec, join(TESTS, name));
    t.equal(error, null, `${name}: ${findings(output)}`);
  });
});
