/**
 * A session out of its parts, with the engine's ways to its container and the threads for its output. Main thread; for
 * a session of its own process and for one that joins.
 */

import type { Options } from '../cli/index.ts';
import type { Diag } from '../diag/diag.ts';
import { replaceUnwritten } from '../log/unwritten.ts';
import { nowMs } from '../native/clock.ts';
import { giveMemoryBackInTurns } from '../native/garbage.ts';
import { QUIET_MS } from '../native/rest.ts';
import { sys } from '../native/sys.ts';
import { optimiseLate } from '../native/tiering.ts';
import { ATTACH_UNUSED_MS } from '../proto/attach-messages.ts';
import type { RotationPlan } from '../proto/log-messages.ts';
import { AttachFiles } from '../session/attach-files.ts';
import { type Output, Session, type SessionParts, type StartOutput } from '../session/session.ts';
import type { Pool } from '../threads/index.ts';
import { LateOutput, type OutputSteps } from './late-output.ts';
import { closeTargets, diagPlan, type Prepared } from './prepare.ts';

const REST_AFTER_MS = QUIET_MS + 200;

/** The code for threads, once a session has needed it: Node looks for a file's name each time that it is asked. */
let threads: typeof import('../threads/index.ts') | undefined;

/** The parts in which a session that joins differs from one of its own process. */
export type OwnParts = Pick<
  SessionParts,
  'reaper' | 'oomScoreAdj' | 'leakedFds' | 'syncPipe' | 'notifyRelay' | 'onDone'
> &
  Partial<Pick<SessionParts, 'joined' | 'sharesProcess' | 'onGone'>> & {
    readonly temporaryDir: string | undefined;
    /** Called when nobody has said anything for a moment, before memory is given back: what can wait until then. May be called again. */
    readonly onRest?: () => void;
  };

/** Opens the engine's ways to the container; throws ConmonError ATTACH. */
export function newSession(
  options: Options,
  diag: Diag,
  prepared: Prepared,
  own: OwnParts,
  pool?: () => Pool,
): Session {
  const { launch, cwdFd, environment, stdio } = prepared;
  const { onRest, ...parts } = own;
  const rest = (): void => {
    onRest?.();
    giveMemoryBackInTurns();
  };
  return new Session({
    sys,
    diag,
    options,
    launch,
    cwdFd,
    environment,
    stdio,
    attachFiles: options.bundle === undefined || stdio === undefined ? undefined : new AttachFiles(sys, options),
    startOutput: outputStarter(options, diag, prepared, rest, pool),
    ...parts,
    temporaryDir: own.temporaryDir ?? '/tmp',
  });
}

/** With passthrough there is nothing to read. */
function outputStarter(
  options: Options,
  diag: Diag,
  prepared: Prepared,
  rest: () => void,
  pool?: () => Pool,
): StartOutput {
  return (onEnded, onFailed) => {
    const { logs, stdio } = prepared;
    if (stdio === undefined) {
      restLater(options, rest);
      return undefined;
    }
    const steps = outputSteps(options, diag, logs, onEnded, rest, pool);
    // Nobody waits for the pid of such an exec, but for its end: the log comes first.
    if (options.exec && !options.apiVersion) return toTheEnd(steps);
    const replaceLogs = (): void => replaceUnwritten(sys, diag, logs, rotationOf(options));
    return new LateOutput({ sys, diag, steps, close: () => closeTargets(logs), replaceLogs, onEnded, onFailed });
  };
}

/**
 * Gives memory back, once, when a container has run for a moment: behind its log worker, which does the same
 * (docs/adr/0041-memory-is-given-back.md).
 */
function restLater({ exec }: Options, rest: () => void): void {
  if (!exec) setTimeout(rest, REST_AFTER_MS);
}

function rotationOf({ logRotate, logMaxFiles }: Options): RotationPlan {
  return { keepFiles: logRotate ? logMaxFiles : 0 };
}

function toTheEnd(steps: OutputSteps): Output {
  for (let next = steps.next(); ; next = steps.next()) if (next.done === true) return next.value;
}

/** In pieces of 2 ms at most: the runtime may end at any time (docs/adr/0044-the-pid-first.md). */
function* outputSteps(
  options: Options,
  diag: Diag,
  logs: Prepared['logs'],
  onEnded: Parameters<StartOutput>[0],
  rest: () => void,
  pool: (() => Pool) | undefined,
): OutputSteps {
  threads ??= require('./threads.cjs') as typeof import('../threads/index.ts');
  const { mayBeOnMain, loadLogCode, loadPiscina, MainLogs, Output } = threads;
  const onMain = mayBeOnMain(sys, logs);
  if (logs.length > 0 && pool === undefined) {
    yield;
    if (onMain) loadLogCode();
    else {
      process.getBuiltinModule('node:worker_threads');
      yield;
      loadPiscina();
    }
    yield;
  }
  // A log that main writes says when there is time for it.
  if (pool === undefined && !(onMain && logs.length > 0)) restLater(options, rest);
  const mainLogs = () => pool?.().mainLogs ?? new MainLogs(sys, diag, { giveBack: rest });
  const limits = {
    fileMaxBytes: options.logSizeMaxBytes ?? Number.POSITIVE_INFINITY,
    globalMaxBytes: options.logGlobalSizeMaxBytes ?? Number.POSITIVE_INFINITY,
  };
  const plan = {
    targets: logs,
    limits,
    rotation: rotationOf(options),
    syncLog: options.syncLog,
    diag: diagPlan(options),
    mainLogs: onMain ? mainLogs : undefined,
    giveBack: giveMemoryBackInTurns,
  };
  if (pool === undefined && onMain) {
    if (logs.length > 0) nowMs(); // the last thing that the log's first step would load
    optimiseLate();
  }
  const output = new Output(sys, diag, plan, onEnded, pool?.());
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
  };
}
