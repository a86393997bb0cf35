/**
 * `make run CMD=...` on a terminal: our terminal in raw mode, and the attach client between it and the container.
 */

import { AttachClient } from '../client/attach-client.ts';
import { type ConversationSys, converse } from '../client/conversation.ts';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '../client/detach-keys.ts';
import { makeRaw, type TerminalSys } from '../client/raw-terminal.ts';
import { WindowSize } from '../client/window-size.ts';
import type { ContainerRun } from './container-run.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { Interrupted } from './interrupted.ts';

const STDIN = 0;

/** Runs the created container to its end. @returns its exit status. @throws the signal's reason when it is aborted. */
export async function runInteractive(
  run: ContainerRun,
  sys: ConversationSys & TerminalSys,
  signal: AbortSignal,
): Promise<number> {
  const window = openWindow(run.ctlPath);
  const client = AttachClient.connect(sys, run.attachPath);
  const resize = () => window.send(...process.stdout.getWindowSize());
  const stop = new AbortController();
  process.stdout.on('resize', resize);
  resize();
  const restore = makeRaw(sys, STDIN);
  const conversation = converse(client, sys, {
    detachKeys: parseDetachKeys(DEFAULT_DETACH_KEYS),
    input: true,
    rawTerminal: true,
    signal: AbortSignal.any([signal, stop.signal]),
  });
  try {
    const [, outcome] = await Promise.all([run.start(), conversation]);
    restore();
    if (outcome === 'hungUp') throw new Interrupted('SIGHUP');
    if (outcome === 'detached') process.stderr.write('\ndetached: the container goes on; Ctrl-C ends it\n');
  } finally {
    restore();
    process.stdout.off('resize', resize);
    // It must not watch an fd that is closed.
    stop.abort();
    await conversation.catch(() => {});
    client.close();
    window.close();
  }
  return Number(await run.waitForExit(signal));
}

function openWindow(ctlPath: string): WindowSize {
  try {
    return new WindowSize(ctlPath);
  } catch (error) {
    throw new DemoError(`cannot open ${ctlPath}: ${reasonOf(error)}`, { cause: error });
  }
}
