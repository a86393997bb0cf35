/**
 * A session out of its parts, with the engine's ways to its container and the threads for its output. Main thread; for
 * a session of its own process and for one that joins.
 */

import type { Options } from '../cli/index.ts';
import type { Diag } from '../diag/diag.ts';
import { sys } from '../native/sys.ts';
import { ATTACH_UNUSED_MS } from '../proto/attach-messages.ts';
import { AttachFiles } from '../session/attach-files.ts';
import { type Output, Session, type SessionParts, type StartOutput } from '../session/session.ts';
import type { Pool } from '../threads/index.ts';
import { diagPlan, type Prepared } from './prepare.ts';

/** The parts in which a session that joins differs from one of its own process. */
export type OwnParts = Pick<
  SessionParts,
  'reaper' | 'oomScoreAdj' | 'leakedFds' | 'syncPipe' | 'notifyRelay' | 'onDone'
> &
  Partial<Pick<SessionParts, 'joined' | 'sharesProcess' | 'onGone'>> & { readonly temporaryDir: string | undefined };

/** Opens the engine's ways to the container; throws ConmonError ATTACH. */
export function newSession(
  options: Options,
  diag: Diag,
  prepared: Prepared,
  own: OwnParts,
  pool?: () => Pool,
): Session {
  const { launch, cwdFd, environment, stdio } = prepared;
  return new Session({
    sys,
    diag,
    options,
    launch,
    cwdFd,
    environment,
    stdio,
    attachFiles: options.bundle === undefined || stdio === undefined ? undefined : new AttachFiles(sys, options),
    startOutput: outputStarter(options, diag, prepared, pool),
    ...own,
    temporaryDir: own.temporaryDir ?? '/tmp',
  });
}

/** The threads' code is loaded behind the runtime. With passthrough there is nothing to read. */
function outputStarter(options: Options, diag: Diag, { logs, stdio }: Prepared, pool?: () => Pool): StartOutput {
  return (onEnded) => {
    if (stdio === undefined) return undefined;
    const threads = require('./threads.cjs') as typeof import('../threads/index.ts');
    const limits = {
      fileMaxBytes: options.logSizeMaxBytes ?? Number.POSITIVE_INFINITY,
      globalMaxBytes: options.logGlobalSizeMaxBytes ?? Number.POSITIVE_INFINITY,
    };
    const rotation = { keepFiles: options.logRotate ? options.logMaxFiles : 0 };
    const plan = { targets: logs, limits, rotation, syncLog: options.syncLog, diag: diagPlan(options) };
    const output = new threads.Output(sys, diag, plan, onEnded, pool?.());
    return {
      begin: (sources, stdinFd) => output.begin(sources, stdinFd),
      startAttach: ({ listenFd }, onLeft) =>
        output.startAttach(
          {
            listenFd,
            closeStdin: options.stdin && !options.leaveStdinOpen,
            stallTimeoutMs: options.attachStallTimeoutSeconds * 1000,
            unusedMs: ATTACH_UNUSED_MS,
            diag: plan.diag,
          },
          onLeft,
        ),
      reopen: () => output.reopen(),
      end: (drain) => output.end(drain),
      whenClosed: (onClosed) => output.whenClosed(onClosed),
    } satisfies Output;
  };
}
