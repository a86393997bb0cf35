// The results as they come: one JSON object a line in bench/results/DATE-MODE.ndjson.
// Main thread only; each line is written at once, so that an interrupted bench leaves what it has.

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
