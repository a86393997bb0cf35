/**
 * Compiles the small C programs of test/helpers/native, static, once per source: the result stays in build/test.
 * It never installs a compiler; the project needs one to build anyway.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const compiled = new Map<string, string>();

/** @returns the path of the executable made from `native/NAME.c`. Throws with the compiler's output when it fails. */
export function nativeHelper(
  name: 'fake-runtime' | 'launch' | 'cgroup-v1' | 'scribble' | 'notify' | 'with-run' | 'hang',
): string {
  const known = compiled.get(name);
  if (known !== undefined) {
    return known;
  }
  const source = `${REPOSITORY}/test/helpers/native/${name}.c`;
  const digest = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const directory = `${REPOSITORY}/build/test`;
  const target = `${directory}/${name}-${digest}`;
  if (!existsSync(target)) {
    mkdirSync(directory, { recursive: true });
    const temporary = `${target}.${process.pid}`;
    const flags = ['-std=c11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-static'];
    execFileSync(process.env['CC'] ?? 'gcc', [...flags, '-o', temporary, source], { timeout: 60_000 });
    renameSync(temporary, target);
  }
  compiled.set(name, target);
  return target;
}
