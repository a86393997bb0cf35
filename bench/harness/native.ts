// The bench's own C programs: compiles bench/native/NAME.c with gcc into build/bench when the source is newer.
// Main thread only. It never installs anything: a missing compiler is reported, with the package that has it.

import { execFile } from 'node:child_process';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const projectRoot = join(import.meta.dirname, '..', '..');

const sourceDir = join(projectRoot, 'bench', 'native');
const outputDir = join(projectRoot, 'build', 'bench');
const headers = ['pattern.h'];
const flags = ['-std=c11', '-O2', '-static', '-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wformat=2', '-Wvla'];

export const programs = [
  'attach-client',
  'await-file',
  'copy-floor',
  'cpu-clock',
  'fake-runtime',
  'hold-memory',
  'in-container',
  'stamp-exec',
  'starter',
  'verify-log',
  'warm-memory',
] as const;

export type Program = (typeof programs)[number];

export function programPath(program: Program): string {
  return join(outputDir, program);
}

/**
 * Compiles one program unless its binary is newer than its sources.
 * @returns the path of the binary. Rejects with the compiler's messages. Safe to call from several processes at once:
 * the binary appears by rename.
 */
export async function buildProgram(program: Program): Promise<string> {
  const source = join(sourceDir, `${program}.c`);
  const output = programPath(program);
  const builtMs = await modifiedMs(output);
  const changedMs = await Promise.all([source, ...headers.map((header) => join(sourceDir, header))].map(modifiedMs));
  if (builtMs > Math.max(...changedMs)) return output;
  await mkdir(dirname(output), { recursive: true });
  const fresh = `${output}.${process.pid}`;
  try {
    await run(process.env['CC'] ?? 'gcc', [...flags, '-o', fresh, source], { timeout: 60_000 });
    await rename(fresh, output);
  } catch (cause) {
    await rm(fresh, { force: true });
    throw new Error(`could not compile ${source} (Debian packages: gcc libc6-dev)`, { cause });
  }
  return output;
}

/** Compiles all programs, one after the other. */
export async function buildPrograms(): Promise<void> {
  for (const program of programs) await buildProgram(program);
}

async function modifiedMs(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return -1; // absent: older than anything
  }
}
