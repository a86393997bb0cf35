/**
 * Runs a piece of TypeScript that uses `sys` in a process of its own: for what would end or change the test's process.
 */
import { execFile } from 'node:child_process';

export interface ChildOutcome {
  /** Exit status, or the name of the signal that ended it. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** `source` is a module; `sys` is imported. At most 20 s. */
export function inChild(source: string, nodeArgs: readonly string[] = []): Promise<ChildOutcome> {
  const sysUrl = new URL('../../../src/native/sys.ts', import.meta.url).href;
  const code = `import { sys } from ${JSON.stringify(sysUrl)};\n${source}`;
  const args = [...process.execArgv.filter(isOurs), ...nodeArgs, '--input-type=module', '--eval', code];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: 20_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ status: error?.signal ?? (typeof error?.code === 'number' ? error.code : 0), stdout, stderr });
    });
  });
}

/** Of the test runner's own flags none is for the child, but the one that names another addon (see test/fault). */
function isOurs(flag: string): boolean {
  return flag.startsWith('--import=data:');
}
