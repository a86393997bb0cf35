// The results as they come: one JSON object a line in bench/results/DATE-MODE.ndjson.
// Main thread only; each line is written at once, so that an interrupted bench leaves what it has. And read back.

import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Failure, Sample } from '../harness/environment.ts';
import { projectRoot } from '../harness/native.ts';
import type { Machine } from './machine.ts';

export type ResultLine =
  | ({ readonly type: 'header'; readonly mode: string } & Machine)
  | ({ readonly type: 'sample'; readonly at: string } & Sample)
  | ({ readonly type: 'failure'; readonly at: string } & Failure)
  | { readonly type: 'end'; readonly at: string; readonly complete: boolean };

/** The file of a run that began at `date` (ISO): no colons, they trouble other systems. */
export function resultPath(date: string, mode: string): string {
  return join(projectRoot, 'bench', 'results', `${date.slice(0, 19).replaceAll(':', '-')}-${mode}.ndjson`);
}

export function appendResult(path: string, line: ResultLine): void {
  mkdirSync(dirname(path), { recursive: true });
  appendFileSync(path, `${JSON.stringify(line)}\n`);
}

/** What a file of results says. */
export interface Results {
  readonly mode: string;
  readonly machine: Machine;
  readonly samples: readonly Sample[];
  readonly failures: readonly Failure[];
  /** Whether all that was planned was run; a file without its last line was cut short. */
  readonly complete: boolean;
}

/** Reads what {@link appendResult} wrote. Throws when the header is missing or a line is no JSON. */
export function parseResults(text: string): Results {
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ResultLine); // our own file: its shape is ResultLine
  const header = lines.find((line) => line.type === 'header');
  if (header === undefined) throw new Error('no header: not a result of the bench');
  return {
    mode: header.mode,
    machine: header,
    samples: lines.filter((line) => line.type === 'sample'),
    failures: lines.filter((line) => line.type === 'failure'),
    complete: lines.some((line) => line.type === 'end' && line.complete),
  };
}
