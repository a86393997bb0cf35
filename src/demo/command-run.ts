/**
 * `make run CMD=...` without a terminal: runs the container and passes on what it writes, as the log has it.
 */

import { once } from 'node:events';
import type { ContainerRun } from './container-run.ts';
import { followLog } from './log-follower.ts';

/** Runs the created container to its end. @returns its exit status. @throws the signal's reason when it is aborted. */
export async function runCommand(run: ContainerRun, signal: AbortSignal): Promise<number> {
  await run.start();
  let isOver = false;
  const ended = run.waitForExit(signal).finally(() => {
    isOver = true;
  });
  const followed = followLog(
    run.logPath,
    (isStdout, bytes) => writeAll(isStdout, bytes, signal),
    () => isOver,
  );
  const [status] = await Promise.all([ended, followed]);
  return Number(status);
}

async function writeAll(isStdout: boolean, bytes: Buffer, signal: AbortSignal): Promise<void> {
  const stream = isStdout ? process.stdout : process.stderr;
  signal.throwIfAborted();
  if (!stream.write(bytes)) await once(stream, 'drain', { signal });
}
