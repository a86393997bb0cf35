/**
 * A place for one test file of the demo programs: a temporary directory with a runtime wrapper, a state directory and
 * bundles, and the removal of every container in it at the end, whatever failed.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, buildSync } from 'esbuild';
import type { Test } from 'tap';

export const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');

/** Ours once it is built, and Debian's C conmon: whoever is here. CONMON names another one. */
export const MONITORS: readonly string[] = (
  process.env['CONMON'] ? [process.env['CONMON']] : [join(REPOSITORY, 'bin/conmon'), '/usr/bin/conmon']
).filter((path) => existsSync(path));

const COMMAND_TIMEOUT_MS = 20_000;
/** The sources take four times as long to start, and a test starts the runtime many times. */
const BUNDLE_OPTIONS: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node26',
  supported: { 'dynamic-import': false },
  external: ['node-pty'],
  define: {
    CONMON_BUNDLE_DIR: JSON.stringify(join(REPOSITORY, 'libexec/conmon')),
    'import.meta.url': 'BUNDLE_URL',
    'import.meta.dirname': '__dirname',
  },
  banner: { js: "const BUNDLE_URL = require('node:url').pathToFileURL(__filename).href;" },
};

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** For the fds 3, 4, ... */
  readonly fds?: readonly number[];
}

/** The OCI process object that tests start from. */
export function processSpec(args: readonly string[], changes: object = {}): object {
  return { args, env: ['PATH=/usr/bin:/bin'], cwd: '/', ...changes };
}

export class Scratch {
  readonly directory: string;
  /** An executable: the runtime, bundled as it is when it is installed. */
  readonly runtime: string;
  readonly root: string;
  #count = 0;

  constructor(t: Test) {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-demo-test-')));
    // Containers of other users walk through it.
    chmodSync(this.directory, 0o755);
    this.root = join(this.directory, 'state');
    this.runtime = this.path('runtime');
    const bundle = this.path('runtime.cjs');
    buildSync({ ...BUNDLE_OPTIONS, entryPoints: [join(REPOSITORY, 'src/demo/runtime.ts')], outfile: bundle });
    const environment = `unset NODE_OPTIONS NODE_V8_COVERAGE; NODE_PATH="${REPOSITORY}/node_modules"; export NODE_PATH`;
    const program = `exec "${process.execPath}" "${bundle}" "$@"`;
    writeFileSync(this.runtime, `#!/bin/sh\n${environment}\n${program}\n`, { mode: 0o755 });
    t.teardown(() => {
      for (const id of this.containers()) this.command(['delete', '--force', id]);
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** A path that no earlier call gave. */
  fresh(name: string): string {
    return this.path(`${name}-${++this.#count}`);
  }

  /** The ids that the runtime has something for. */
  containers(): readonly string[] {
    return existsSync(this.root) ? readdirSync(this.root) : [];
  }

  /** @returns the directory of a new bundle with this config.json, or with this process in a good one. */
  bundle(process: object, config: unknown = { ociVersion: '1.0.2', process }): string {
    const path = this.fresh('bundle');
    mkdirSync(path);
    writeFileSync(join(path, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
    return path;
  }

  /** Runs the runtime. Its output goes through files: a container keeps the streams longer than the command lives. */
  command(args: readonly string[], { env = process.env, fds = [] }: CommandOptions = {}): CommandResult {
    const [out, err] = [this.fresh('stdout'), this.fresh('stderr')];
    const [outFd, errFd] = [openSync(out, 'w'), openSync(err, 'w')];
    try {
      const { status } = spawnSync(this.runtime, ['--root', this.root, ...args], {
        stdio: ['ignore', outFd, errFd, ...fds],
        env,
        timeout: COMMAND_TIMEOUT_MS,
      });
      return { status, stdout: readFileSync(out, 'utf8'), stderr: readFileSync(err, 'utf8') };
    } finally {
      closeSync(outFd);
      closeSync(errFd);
    }
  }

  /** As {@link command}, which must succeed. @returns its stdout. */
  must(args: readonly string[], options?: CommandOptions): string {
    const { status, stdout, stderr } = this.command(args, options);
    if (status !== 0) throw new Error(`${args.join(' ')}: status ${status}: ${stderr}`);
    return stdout;
  }

  state(id: string): { readonly status: string; readonly pid: number; readonly [field: string]: unknown } {
    return JSON.parse(this.must(['state', id]));
  }
}

/** Whether the process runs; a zombie that nobody has reaped yet does not. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
