// From a container's exit to its exit file, which is when an engine hears of it. Main thread only.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { numberIn } from './container.ts';
import type { Monitor } from './monitor.ts';
import { programPath } from './native.ts';
import { within } from './wait.ts';

const limitMs = 35_000;

/** Ends the container of `monitor` with status 0. @returns ms until the exit file was there. */
export async function exitNoticeMs(monitor: Monitor, signal: AbortSignal): Promise<number> {
  const { exitDir, id } = monitor.paths;
  const watcher = spawn(programPath('await-file'), [exitDir, id], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(watcher, 'exit');
  try {
    const lines = createInterface({ input: watcher.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => String((await within('await-file', lines.next(), limitMs, signal)).value);
    if ((await next()) !== 'ready') throw new Error('await-file does not watch');
    const exiting = await monitor.container.request('exit status=0', limitMs);
    return (Number(await next()) - numberIn(exiting, 'at')) / 1e6;
  } finally {
    watcher.kill();
    await ended;
  }
}
