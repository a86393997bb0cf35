// One exec session as CRI-O's ExecSync runs it, with a trivial process: from exec of conmon to its end, when the output
// is in the log and the status on the sync pipe. Main thread only.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crioEnvironment, execSyncArguments } from './command-line.ts';
import type { Environment, Side } from './environment.ts';
import { parseStarterReport } from './monitor.ts';
import { programPath } from './native.ts';

const run = promisify(execFile);
const limitMs = 40_000;

/** @returns ms from exec to the end. Rejects when status or output are not what the process gave. */
export async function execSession(environment: Environment, side: Side): Promise<number> {
  const dir = await mkdtemp(join(environment.workDir, `${side}-exec-`));
  try {
    const paths = {
      id: randomBytes(32).toString('hex'),
      pidFile: join(dir, 'pid'),
      logPath: join(dir, 'log'),
      runtime: programPath('fake-runtime'),
      socketDir: join(dir, 'attach'),
      processSpec: join(dir, 'process.json'),
    };
    await mkdir(paths.socketDir);
    for (const path of [paths.pidFile, paths.logPath]) await writeFile(path, '');
    await writeFile(paths.processSpec, '{}');
    const argv = [environment.monitors[side], ...execSyncArguments(paths)];
    const { stdout } = await run(programPath('starter'), argv, {
      cwd: dir,
      env: crioEnvironment(),
      timeout: limitMs,
      signal: environment.signal,
    });
    const { times, message } = parseStarterReport(stdout);
    const status: unknown = Reflect.get(Object(JSON.parse(message)), 'exit_code');
    if (status !== 0) throw new Error(`${side}: the session's status is ${message}`);
    const log = await readFile(paths.logPath, 'utf8');
    if (!/^\S+ stdout F alive\n$/.test(log)) throw new Error(`${side}: the session's log holds ${JSON.stringify(log)}`);
    return (times.launcherExitNs - times.execNs) / 1e6;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
