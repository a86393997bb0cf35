/**
 * Which OCI runtime runs the container: the one that RUNTIME names, else the first real one on this machine that can
 * create a container here, else the demo runtime. A runtime that is there and cannot is told with its own reason.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { writeBundle } from './bundle.ts';
import { DemoError, reasonOf } from './demo-error.ts';

export interface OciRuntime {
  readonly path: string;
  /** For people: what it is. */
  readonly description: string;
}

export interface RuntimeChoice {
  readonly runtime: OciRuntime;
  /** Why others were passed over, a line each. */
  readonly notes: readonly string[];
}

const NAMES = ['runc', 'crun'];
const DIRECTORIES = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'];
const PROBE_TIMEOUT_MS = 10_000;
const PROBE_ID = 'conmon-run-probe';

/**
 * @param wanted RUNTIME: a path, or a name to look up in PATH. It is taken as it is.
 * @param demoRuntime path of conmon-demo-runtime, for when there is no other.
 * @param workDir an empty directory for trying runtimes out.
 * @param directories where real runtimes are looked for; PATH does not count.
 */
export function chooseRuntime(
  wanted: string | undefined,
  demoRuntime: string,
  workDir: string,
  directories: readonly string[] = DIRECTORIES,
): RuntimeChoice {
  if (wanted !== undefined) return { runtime: describe(findWanted(wanted)), notes: [] };
  const notes: string[] = [];
  for (const name of NAMES) {
    const path = directories.map((directory) => join(directory, name)).find(isExecutable);
    if (path === undefined) continue;
    const reason = whyUnusable(path, join(workDir, name));
    if (reason === undefined) return { runtime: describe(path), notes };
    notes.push(`${path} cannot run containers here: ${reason}`);
  }
  if (!isExecutable(demoRuntime)) throw new DemoError(`${demoRuntime} is missing: run "make build"`);
  const description = 'the embedded demo runtime: a plain process of this machine, no isolation';
  return { runtime: { path: demoRuntime, description }, notes };
}

function findWanted(wanted: string): string {
  const places = wanted.includes('/')
    ? [resolve(wanted)]
    : (process.env['PATH'] ?? '').split(delimiter).map((directory) => resolve(directory, wanted));
  const path = places.find(isExecutable);
  if (path === undefined) throw new DemoError(`RUNTIME=${wanted}: no such program`);
  return path;
}

function describe(path: string): OciRuntime {
  const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: PROBE_TIMEOUT_MS });
  const version = (stdout ?? '').split('\n')[0]?.trim();
  return { path, description: version ? `${version} (${path})` : path };
}

/** Creates a container with it, and deletes that again. @returns undefined when that works. */
function whyUnusable(runtime: string, workDir: string): string | undefined {
  if (process.geteuid?.() !== 0) return 'that takes root';
  const bundle = join(workDir, 'bundle');
  const root = `--root=${join(workDir, 'root')}`;
  writeBundle({ path: bundle, args: ['/bin/sh'], terminal: false, hostname: PROBE_ID, extraPaths: [] });
  const complaints = join(workDir, 'stderr');
  // A file, not a pipe: the container's init would keep the pipe open, and we would wait for its end.
  const stderrFd = openSync(complaints, 'w+');
  try {
    const pidFile = join(workDir, 'pidfile');
    const { status, error } = spawnSync(
      runtime,
      [root, 'create', '--bundle', bundle, '--pid-file', pidFile, PROBE_ID],
      { stdio: ['ignore', 'ignore', stderrFd], timeout: PROBE_TIMEOUT_MS },
    );
    if (error !== undefined) return reasonOf(error);
    return status === 0 ? undefined : lastLine(readFileSync(complaints, 'utf8')) || `status ${status}`;
  } finally {
    closeSync(stderrFd);
    spawnSync(runtime, [root, 'delete', '--force', PROBE_ID], { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS });
  }
}

/** runc's log lines look like `time="..." level=error msg="..."`. */
function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? '';
  return /msg="(.*)"$/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
