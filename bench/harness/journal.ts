// A journald of the bench's own, in a /run of its own (test/helpers/journal.ts), and what it has stored of a container.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { TestJournal } from '../../test/helpers/journal.ts';
import { field } from '../../test/helpers/journal-entry.ts';
import type { Environment } from './environment.ts';
import { PayloadCheck } from './payload.ts';

export interface BenchJournal {
  /** The environment in which both conmons log to this journal. */
  readonly environment: Environment;
  /** CPU of journald so far, ns. */
  readonly pid: number;
  /** Compares what is stored of a container with the payload. @returns how many entries there are. */
  verify(cid: string, lines: readonly string[], totalBytes: number): Promise<number>;
  stop(): Promise<void>;
}

/** Rejects when systemd is not installed. */
export async function startJournal(environment: Environment, dir: string): Promise<BenchJournal> {
  const path = (...names: string[]): string => join(dir, ...names);
  const directory = (...names: string[]): string => {
    mkdirSync(path(...names), { recursive: true });
    return path(...names);
  };
  const journal = new TestJournal({ path, directory, defer: () => {} });
  const { rival, ours } = environment.monitors;
  await journal.start();
  return {
    environment: { ...environment, monitors: { rival: journal.wrap(rival), ours: journal.wrap(ours) } },
    pid: journal.pid,
    verify: async (cid, lines, totalBytes) => {
      const check = new PayloadCheck(lines, totalBytes);
      const entries = await journal.entries(cid);
      for (const entry of entries) check.add(field(entry, 'MESSAGE') ?? '');
      check.end();
      return entries.length;
    },
    stop: () => journal.stop('SIGKILL'),
  };
}
