// From a container's exit to its exit file, which is when an engine hears of it. Main thread only.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { numberIn } from './container.ts';
import type { Monitor } from './monitor.ts';
import { programPath } from './native.ts';
import { within } from './wait.ts';

const limitMs = 35_000;

/**
 * Watches `exitDir` for the exit file of `id` while `end` makes the container end.
 * @param end gives the time of the container's exit, CLOCK_MONOTONIC ns.
 * @returns ms from that until the exit file was there.
 */
export async function noticeMs(
  exitDir: string,
  id: string,
  signal: AbortSignal,
  end: () => Promise<number>,
): Promise<number> {
  const watcher = spawn(programPath('await-file'), [exitDir, id], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(watcher, 'exit');
  try {
    const lines = createInterface({ input: watcher.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => String((await within('await-file', lines.next(), limitMs, signal)).value);
    if ((await next()) !== 'ready') throw new Error('await-file does not watch');
    const exitNs = await end();
    return (Number(await next()) - exitNs) / 1e6;
  } finally {
    watcher.kill();
    await ended;
  }
}

/** Ends the fake container of `monitor` with status 0. @returns ms until the exit file was there. */
export async function exitNoticeMs(monitor: Monitor, signal: AbortSignal): Promise<number> {
  const { exitDir, id } = monitor.paths;
  return noticeMs(exitDir, id, signal, async () =>
    numberIn(await monitor.container.request('exit status=0', limitMs), 'at'),
  );
}
