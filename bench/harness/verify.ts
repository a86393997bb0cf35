// Asks bench/native/verify-log whether a log holds exactly what the container wrote.
// Main thread only; a figure of a run that fails here never counts.

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { programPath } from './native.ts';

const run = promisify(execFile);

export interface Verdict {
  readonly logBytes: number;
  readonly records: number;
  /** How many of the records carry the tag P. */
  readonly partial: number;
}

/** How the payload stands in the file: CRI records, the last of them only (the log was replaced), or nothing but the payload. */
export type LogFormat = 'k8s' | 'k8s-tail' | 'raw';

/**
 * Verifies `path` against `totalBytes` of payload in lines of `line` bytes (newline included; `1000b`: binary ones).
 * With `stream` the log may hold records of the other stream too, which are passed over: verify both then.
 * Rejects with what differs first and where.
 */
export async function verifyLog(
  format: LogFormat,
  path: string,
  line: number | string,
  totalBytes: number,
  stream?: 'stdout' | 'stderr',
): Promise<Verdict> {
  const argv = [format, String(line), String(totalBytes), path, ...(stream === undefined ? [] : [stream])];
  const output = await run(programPath('verify-log'), argv, { timeout: 60_000 }).catch((error: unknown) => {
    const text = String(Reflect.get(Object(error), 'stdout') || Reflect.get(Object(error), 'stderr') || error).trim();
    throw new Error(`the log is not what was written: ${text}`, { cause: error });
  });
  const verdict: unknown = JSON.parse(output.stdout);
  const number = (key: string): number => Number(Reflect.get(Object(verdict), key));
  return { logBytes: number('logBytes'), records: number('records'), partial: number('partial') };
}

const recordShape = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d stdout ([FP]) (.*)$/;

/** Verifies that a small k8s-file log holds `count` lines, each of them what `isRight` knows. Rejects otherwise. */
export async function verifyLines(path: string, count: number, isRight: (line: string) => boolean): Promise<void> {
  const records = (await readFile(path, 'latin1')).split('\n');
  if (records.pop() !== '') throw new Error('the log is not what was written: its last record is cut short');
  let lines = 0;
  let held = '';
  for (const record of records) {
    const [, tag, content = ''] = recordShape.exec(record) ?? [];
    held += content;
    if (tag === 'P') continue;
    if (tag === undefined || !isRight(held))
      throw new Error(`the log is not what was written: ${JSON.stringify(record.slice(0, 200))}`);
    lines++;
    held = '';
  }
  if (lines !== count || held !== '')
    throw new Error(`the log is not what was written: ${lines} lines of ${count}${held === '' ? '' : ' and a part'}`);
}
