/**
 * Follows a k8s-file log while it grows and gives back what the container wrote: content to stdout or stderr, joined
 * over partial records. The log is the only source; nothing is read from the container.
 */

import { open } from 'node:fs/promises';
import { K8sLogReader } from './k8s-log.ts';
import { Watched } from './watched.ts';

/** Takes bytes of one of the container's streams; the follower waits for the promise. */
export type LogOutput = (isStdout: boolean, bytes: Buffer) => Promise<void>;

const READ_BYTES = 1 << 18;
const RECHECK_MS = 100;
const NEWLINE = Buffer.from('\n');

/**
 * Gives everything in the log to `output`, in its order. Returns when `isComplete` was true before a read that found
 * nothing more. @throws LogFormatError for a line that is no record.
 */
export async function followLog(path: string, output: LogOutput, isComplete: () => boolean): Promise<void> {
  const watched = new Watched(path);
  const file = await open(path, 'r');
  const reader = new K8sLogReader();
  const chunk = Buffer.alloc(READ_BYTES);
  try {
    for (;;) {
      const complete = isComplete();
      const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
      if (bytesRead > 0) await give(reader, chunk.subarray(0, bytesRead), output);
      else if (complete) break;
      else await watched.next(RECHECK_MS);
    }
    reader.end();
  } finally {
    watched.close();
    await file.close();
  }
}

/** One call of `output` for each run of records of the same stream. */
async function give(reader: K8sLogReader, bytes: Buffer, output: LogOutput): Promise<void> {
  let run: Buffer[] = [];
  let runIsStdout = true;
  for (const record of reader.push(bytes)) {
    if (record.isStdout !== runIsStdout) {
      if (run.length > 0) await output(runIsStdout, Buffer.concat(run));
      run = [];
      runIsStdout = record.isStdout;
    }
    run.push(record.content);
    if (record.isFull) run.push(NEWLINE);
  }
  if (run.length > 0) await output(runIsStdout, Buffer.concat(run));
}
