/**
 * The files that tell the engine a container's end (contract section 8, step 5). Each appears with its content, by
 * rename, because callers watch for its creation. Main thread.
 */

import { closeSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { failureText } from '../native/sys.ts';

/** Where an exit status goes. */
export interface ExitFilePlan {
  readonly persistDir: string | undefined;
  readonly exitDir: string | undefined;
  readonly cid: string;
}

/**
 * Writes `PERSIST_DIR/exit`, then `EXIT_DIR/CID`: the decimal status, no newline. One that fails does not stop the other.
 * @returns a text for each failure, naming the file.
 */
export function writeExitFiles(plan: ExitFilePlan, status: number): readonly string[] {
  const failures: string[] = [];
  if (plan.persistDir !== undefined) {
    const failure = replaceFile(join(plan.persistDir, 'exit'), String(status));
    if (failure !== undefined) failures.push(`Failed to write ${status} to container exit file: ${failure}`);
  }
  if (plan.exitDir !== undefined) {
    const failure = replaceFile(join(plan.exitDir, plan.cid), String(status));
    if (failure !== undefined) failures.push(`Failed to write ${status} to exit file: ${failure}`);
  }
  return failures;
}

/**
 * Makes `path` hold `content`, whole or not at all; never through a symlink. Mode 0644, as engines that run as another
 * user read it. @returns why it failed, undefined when it did not. Nothing is left behind then.
 */
export function replaceFile(path: string, content: string): string | undefined {
  // A name of its own, not the file's with more behind it: an id may be as long as a name can be.
  const temporary = join(dirname(path), `.conmon-${process.pid}.tmp`);
  discard(temporary); // left by a crash, under a pid that is ours now
  try {
    const fd = openSync(temporary, 'wx', 0o644);
    try {
      writeSync(fd, content);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    return undefined;
  } catch (error) {
    discard(temporary);
    return `${path}: ${failureText(error)}`;
  }
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was never made, or its directory is gone: the failure that is reported is the first one.
  }
}
