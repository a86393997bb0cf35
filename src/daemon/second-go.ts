/**
 * The second go of an exec with attach (contract section 3). Main thread; nobody is waited for, the fd is watched.
 */

import type { Options } from '../cli/index.ts';
import type { Diag } from '../diag/diag.ts';
import { sys, type Watch } from '../native/sys.ts';
import type { SyncPipe } from '../session/sync-pipe.ts';

/** As the launcher's read of the start pipe. */
const START_MESSAGE_MAX = 8192;

/**
 * An exec with attach: says that the attach socket is there, then waits for the caller's second go, so that its client
 * misses nothing (contract section 3). The end of the start pipe is a go too. @returns how to stop waiting; the fd stays
 * the caller's to close in a process that goes on.
 */
export function afterSecondGo(
  options: Options,
  diag: Diag,
  attachPipe: SyncPipe,
  startFd: number,
  start: () => void,
): () => void {
  const nothing = (): void => {};
  if (options.execAttach) attachPipe.send(0);
  if (!options.execAttach || startFd <= 2) {
    start();
    return nothing;
  }
  let watch: Watch | undefined;
  const stop = (): void => {
    if (watch !== undefined) sys.unwatch(watch);
    watch = undefined;
  };
  const watched = sys.watch(startFd, () => {
    stop();
    const result = sys.read(startFd, new Uint8Array(START_MESSAGE_MAX), 0, START_MESSAGE_MAX);
    if (result < 0) diag.warn(`start-pipe read failed ${sys.strerror(result)}`);
    start();
  });
  if (typeof watched === 'number') {
    diag.warn(`start-pipe read failed ${sys.strerror(watched)}`);
    start();
  } else watch = watched;
  return stop;
}
