/**
 * Runs the Makefile's targets as a packager does, and looks at the trees that come out. Used by the tests of install and
 * packages; it never touches the repository's own bin and libexec.
 */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { Test } from 'tap';
import { REPOSITORY } from './native.ts';

const MAKE_TIMEOUT_MS = 240_000;

/** Runs `make TARGETS... NAME=VALUE...` in the repository. Throws with its output when it fails. */
export function make(targets: readonly string[], variables: Readonly<Record<string, string>>, umask = 0o022): void {
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const before = process.umask(umask);
  try {
    execFileSync('make', ['--no-print-directory', '-C', REPOSITORY, ...targets, ...assignments], {
      encoding: 'utf8',
      timeout: MAKE_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } finally {
    process.umask(before);
  }
}

/** A directory of the test's own, taken away with it. */
export function temporaryRoot(t: Test): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-install-')));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/** Everything below `root` as `MODE PATH`, directories with a slash at the end, links as `link PATH`; sorted by path. */
export function listTree(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const path = join(root, name);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink()) return `link ${name}`;
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
      return `${mode} ${relative(root, path)}${stat.isDirectory() ? '/' : ''}`;
    });
}

/** What a session, `--help` and the licences need, as it lies in libexec/conmon. A new file belongs here, or is not shipped. */
export const PROGRAM_FILES: readonly string[] = [
  '0644 attach-client.cjs',
  '0644 attach.cjs',
  '0644 attach.js',
  '0644 help.cjs',
  '0644 host.cache',
  '0644 host.cjs',
  '0644 host.js',
  '0644 json-envelope.cjs',
  '0644 kernel.wasm',
  '0755 later',
  '0644 licences.txt',
  '0644 log.cache',
  '0644 log.cjs',
  '0644 log.js',
  '0644 main.cache',
  '0644 main.cjs',
  '0644 main.js',
  '0755 node',
  '0644 package.json',
  '0644 piscina.cache',
  '0644 piscina.cjs',
  '0644 piscina.js',
  '0755 preload.so',
  '0644 shared.cache',
  '0644 shared.cjs',
  '0644 shared.js',
  '0755 sys.node',
  '0644 thread.cache',
  '0644 thread.js',
  '0644 threads.cache',
  '0644 threads.cjs',
  '0644 threads.js',
  '0644 worker.js',
];
