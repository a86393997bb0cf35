/**
 * How an exec that joins becomes a session of this process. A bundle of its own, with all that holds further sessions
 * (src/host); what main has in its bundle for its own session comes from there. Main thread; docs/adr/0035-sessions.md.
 */

import { isAbsolute, join } from 'node:path';
import type { absoluteOptions } from '../cli/absolute.ts';
import type { FileProbe, Options, parseCommandLine } from '../cli/index.ts';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import { Host, type Joiner, type MadeSession, type ParsedCall, type SessionMaker } from '../host/host.ts';
import { buildId, libexecDir } from '../native/libexec.ts';
import type { Sys } from '../native/sys.ts';
import { syncKey } from '../proto/sync-message.ts';
import { isAtHand, isPlaceAtHand, Mounts } from '../session/at-hand.ts';
import type { Reaper } from '../session/reaper.ts';
import { release } from '../session/release.ts';
import type { Session } from '../session/session.ts';
import { SyncPipe, withoutWaiting } from '../session/sync-pipe.ts';
import type { Pool, SharedPool } from '../threads/index.ts';
import type { newSession } from './new-session.ts';
import type { closeTargets, diagPlan, prepare } from './prepare.ts';
import type { afterSecondGo } from './second-go.ts';

declare const CONMON_VERSION: string;
declare const CONMON_COMMIT: string;

/** What this code was built from. */
export const build: string = buildId;

/** How main makes its own session. */
interface Make {
  readonly parseCommandLine: typeof parseCommandLine;
  readonly absoluteOptions: typeof absoluteOptions;
  readonly fileProbe: FileProbe;
  readonly diagPlan: typeof diagPlan;
  readonly prepare: typeof prepare;
  readonly closeTargets: typeof closeTargets;
  readonly newSession: typeof newSession;
  readonly afterSecondGo: typeof afterSecondGo;
}

interface Daemon {
  readonly sys: Sys;
  readonly diag: Diag;
  /** The container's own session. */
  readonly container: Session;
  readonly reaper: Reaper;
  /** Our own limit at entry; -1 = unlimited. */
  readonly nofileHard: number;
  readonly make: Make;
}

export function createHost(daemon: Daemon): Host {
  const { sys, diag, container, nofileHard, make } = daemon;
  const mounts = new Mounts();
  let shared: SharedPool | undefined;
  const pool = (): Pool => {
    if (shared === undefined) {
      const threads = require('./threads.cjs') as typeof import('../threads/index.ts');
      shared = new threads.SharedPool(sys, diag);
    }
    return shared;
  };
  return new Host({
    sys,
    diag,
    container,
    build,
    nofileHard,
    laterPath: join(libexecDir, 'later'),
    maker: {
      parse: (...call) => parseJoiner(sys, mounts, make, ...call),
      diagPlan: make.diagPlan,
      make: (joiner, options) => makeJoined(daemon, mounts, joiner, options, pool),
    },
    leave: (status) => sys.exitNow(status),
    onRest: () => shared?.rest(),
  });
}

/** The command line of an exec that joins. Throws with what its own conmon would say, and will. */
function parseJoiner(
  sys: Sys,
  mounts: Mounts,
  make: Make,
  ...[argv, rawArgv, environment, cwd]: Parameters<SessionMaker['parse']>
): ParsedCall {
  const absolute = (path: string): string => {
    const whole = isAbsolute(path) ? path : join(cwd(), path);
    mustBeAtHand(sys, mounts, whole);
    return whole;
  };
  const probe: FileProbe = {
    canExecute: (path) => make.fileProbe.canExecute(absolute(path)),
    canEnter: (path) => make.fileProbe.canEnter(absolute(path)),
  };
  const commandLine = make.parseCommandLine({
    argv,
    rawArgv: () => [...rawArgv],
    env: new Proxy({}, { get: (_, name) => (typeof name === 'string' ? environment.get(name) : undefined) }),
    cwd,
    probe,
    version: CONMON_VERSION,
    commit: CONMON_COMMIT,
  });
  if (commandLine.kind !== 'run') throw new ConmonError('JOIN', 'its command line is no session');
  return { options: make.absoluteOptions(commandLine.options, cwd), warnings: commandLine.warnings };
}

/** Main is all sessions' here: it must not wait for a file server that is gone, for the sake of one. */
function mustBeAtHand(sys: Sys, mounts: Mounts, path: string): void {
  if (!isAtHand(sys, path, mounts)) throw new ConmonError('JOIN', `${path} may have to be waited for`);
}

/** What this process will open of what the caller has named. */
function touched({ logTargets, containerPidfile, exitCommand, logAllowlistDirs }: Options): readonly string[] {
  const logs = logTargets.map((target) => ('path' in target ? target.path : undefined));
  return [...logs, containerPidfile, exitCommand, ...logAllowlistDirs].filter((path) => path !== undefined);
}

/** Where it will make files. */
function places(options: Options, temporaryDir: string): readonly string[] {
  const { bundle, socketDirPath, fullAttach, exitDir, persistDir, terminal } = options;
  const attach = bundle === undefined || fullAttach ? undefined : socketDirPath;
  const console = terminal ? temporaryDir : undefined;
  return [bundle, attach, exitDir, persistDir, console].filter((path) => path !== undefined);
}

/** The session of an exec that joins; as main does for one of its own process, but nothing of the process changes. */
function makeJoined(
  { sys, reaper, make }: Daemon,
  mounts: Mounts,
  joiner: Joiner,
  options: Options,
  pool: () => Pool,
): MadeSession {
  const { diag, environment, launch } = joiner;
  for (const path of touched(options)) mustBeAtHand(sys, mounts, path);
  for (const path of places(options, environment.get('TMPDIR') ?? '/tmp'))
    if (!isPlaceAtHand(sys, path, mounts)) throw new ConmonError('JOIN', `${path} may have to be waited for`);
  const prepared = make.prepare(joiner, options, diag);
  const { syncFd, attachFd, startFd, stdio, logs } = prepared;
  const key = syncKey(options.apiVersion, options.exec);
  const pipes: SyncPipe[] = [];
  const open = (fd: number): SyncPipe => {
    const way = fd === -1 ? { fd, sys } : withoutWaiting(sys, fd);
    const pipe = new SyncPipe(way.sys, diag, key, way.fd);
    pipes.push(pipe);
    return pipe;
  };
  const closePrepared = (): void => {
    // What came with the call is closed by who called us.
    for (const pipe of pipes) if (!joiner.fds.includes(pipe.fd)) pipe.close();
    make.closeTargets(logs);
    if (stdio) for (const fd of Object.values(stdio)) if (fd >= 0) sys.close(fd);
  };
  const ours = [syncFd, startFd, attachFd];
  const leaked = joiner.fds
    .map((fd, i) => [fd, launch.entryFds[i] ?? -1] as const)
    .filter(([fd]) => !ours.includes(fd));
  let session: Session;
  let attachPipe: SyncPipe;
  try {
    attachPipe = open(attachFd);
    session = make.newSession(
      options,
      diag,
      prepared,
      {
        reaper,
        oomScoreAdj: joiner.oomScoreAdj,
        leakedFds: leaked.map(([fd]) => fd),
        temporaryDir: environment.get('TMPDIR'),
        syncPipe: open(syncFd),
        notifyRelay: undefined,
        joined: {
          runtimeFds: leaked.map(([, number]) => number),
          cgroupFd: joiner.cgroupFd,
          laterPath: joiner.laterPath,
        },
        sharesProcess: () => true,
        onDone: joiner.onDone,
      },
      pool,
    );
  } catch (error) {
    closePrepared();
    throw error;
  }
  // Those of a new number are open beside the caller's, which nobody needs any longer.
  const own = [session.parts.syncPipe.fd, attachPipe.fd];
  const rest = new Set([syncFd, attachFd, ...(options.execAttach ? [] : [startFd])]);
  for (const fd of rest) if (fd !== -1 && !own.includes(fd)) sys.close(fd);
  let stopWaiting = (): void => {};
  const close = (): void => {
    stopWaiting();
    attachPipe.close();
    if (options.execAttach && startFd !== -1) sys.close(startFd);
    if (session.output === undefined) make.closeTargets(logs);
  };
  return {
    session,
    begin: () => {
      stopWaiting = make.afterSecondGo(options, diag, attachPipe, startFd, () => session.post({ type: 'start' }));
    },
    cancel: () => {
      session.parts.attachFiles?.removeSocket();
      release(session);
      close();
    },
    close,
  };
}
