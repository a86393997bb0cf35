/**
 * Numbered lines: what a container wrote can be told from any heap of log files, in whatever order they were made.
 * Every line is one write, so that each is one record.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { K8sLogReader, readLog } from './k8s-log.ts';

/** Bytes of a record around its content: timestamp, stream, tag and their blanks, and the newline. */
export const RECORD_FRAME_BYTES = 46;
const RECOVERY =
  /^\[conmon\] dropped (\d+) bytes in (\d+) records from (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) to (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z): (.+)$/;

/** A busybox shell function `say FROM TO`: writes the lines of these numbers, each in a write of its own. */
export const SAY =
  'say() { n=$1; while [ $n -le $2 ]; do echo "$n $((n * 7919 % 100003)) the quick brown fox jumps over the lazy dog"; n=$((n+1)); done; }';

/** Line `n` of {@link SAY}, without its newline. */
export function line(n: number): string {
  return `${n} ${(n * 7919) % 100003} the quick brown fox jumps over the lazy dog`;
}

/** What a record says that tells of a loss. */
export interface Recovery {
  readonly bytes: number;
  readonly records: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: string;
}

export interface Numbered {
  /** The numbers of the lines, in the order in which they are in the files. */
  readonly numbers: readonly number[];
  readonly recoveries: readonly Recovery[];
  /** stderr records that tell of no loss. */
  readonly others: readonly string[];
}

/** Reads one file. Throws when a record is malformed, or a line is not the one that its number says. */
export function readNumbered(bytes: Buffer): Numbered {
  const numbers: number[] = [];
  const recoveries: Recovery[] = [];
  const others: string[] = [];
  const reader = new K8sLogReader((stream, tag, buffer, start, end) => {
    const text = buffer.toString('latin1', start, end);
    const recovery = stream === 'stderr' ? RECOVERY.exec(text) : null;
    if (recovery !== null) {
      const [, lost, records, from, to, reason = ''] = recovery;
      recoveries.push({
        bytes: Number(lost),
        records: Number(records),
        fromMs: Date.parse(from ?? ''),
        toMs: Date.parse(to ?? ''),
        reason,
      });
    } else if (stream === 'stderr') others.push(text);
    else {
      const n = Number.parseInt(text, 10);
      if (tag !== 'F' || text !== line(n)) throw new Error(`not a whole line: ${tag} ${JSON.stringify(text)}`);
      numbers.push(n);
    }
  });
  reader.write(bytes);
  reader.end();
  return { numbers, recoveries, others };
}

/** The log's files in a directory, whatever they were renamed to, in the order of their lines; empty ones are left out. */
export function filesInOrder(
  directory: string,
): readonly { path: string; bytes: number; numbers: readonly number[] }[] {
  return readdirSync(directory)
    .map((name) => join(directory, name))
    .map((path) => ({ path, bytes: statSync(path).size, numbers: numbersOf(path) }))
    .filter(({ numbers }) => numbers.length > 0)
    .toSorted((a, b) => (a.numbers[0] ?? 0) - (b.numbers[0] ?? 0));
}

function numbersOf(path: string): readonly number[] {
  return readLog(path).records.map(({ tag, content }) => {
    const text = content.toString('latin1');
    const n = Number.parseInt(text, 10);
    if (tag !== 'F' || text !== line(n)) throw new Error(`${path}: not a whole line: ${tag} ${JSON.stringify(text)}`);
    return n;
  });
}
