/**
 * The story of one session, in order: read what the launcher and the command line say, take over as a daemon, run the
 * session's table, end with the container's status. Main thread. Only wiring: what each step does is in its room.
 */

import { constants, openSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { absoluteOptions } from './cli/absolute.ts';
import { type FileProbe, fileProbe, type Options, parseCommandLine, readRawArgv } from './cli/index.ts';
import { Diag, type DiagPlan } from './diag/diag.ts';
import { ConmonError, errorText } from './diag/error.ts';
import { LOG_ERR, Syslog } from './diag/syslog.ts';
import type { Host, Joiner, MadeSession, ParsedCall, SessionMaker } from './host/host.ts';
import { openTargets } from './log/open-target.ts';
import {
  O_CLOEXEC,
  O_PATH,
  PR_SET_CHILD_SUBREAPER,
  PR_SET_PDEATHSIG,
  SIGINT,
  SIGKILL,
  SIGQUIT,
  SIGTERM,
} from './native/constants.ts';
import { libexecDir } from './native/libexec.ts';
import { sys, type Watch } from './native/sys.ts';
import { ATTACH_UNUSED_MS } from './proto/attach-messages.ts';
import type { DriverTarget } from './proto/log-messages.ts';
import { syncKey } from './proto/sync-message.ts';
import { AttachFiles } from './session/attach-files.ts';
import { Environment } from './session/environment.ts';
import { replaceFile } from './session/exit-files.ts';
import { type Launch, parseLaunch, pipeFd } from './session/launch.ts';
import { NotifyRelay } from './session/notify-relay.ts';
import { lowerOomScore } from './session/oom-score.ts';
import { Reaper } from './session/reaper.ts';
import { release } from './session/release.ts';
import { type Output, Session, type SessionParts, type StartOutput } from './session/session.ts';
import { SessionSocket } from './session/session-socket.ts';
import { openStdio, type Stdio } from './session/stdio.ts';
import { SyncPipe, withoutWaiting } from './session/sync-pipe.ts';
import type { Pool } from './threads/index.ts';

declare const CONMON_VERSION: string;
declare const CONMON_COMMIT: string;
declare const CONMON_BUILD_ID: string;

/** Bytes of the launcher's status pipe (docs/adr/0003-launcher-hand-over.md). */
const READY = 'R';
const STAY = 'S';
const FORWARDED = { SIGTERM, SIGINT, SIGQUIT } as const;

/** setTimeout's limit: once in 25 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const ACCEPT_PAUSE_MS = 100;

/** As the launcher's read of the start pipe. */
const START_MESSAGE_MAX = 8192;

/** Who calls, and what came with the call: our own launcher, or that of an exec that joins. */
interface Source {
  readonly launch: Launch;
  /** The caller's working directory, which may have been deleted. */
  readonly cwdFd: number;
  readonly environment: Environment;
  /** The fd that the environment variable `name` holds; -1 when it is not set. Throws ConmonError PIPE. */
  pipe(name: string): number;
}

/** Everything that can fail as an option error, done before the caller hears that conmon is ready. */
interface Prepared extends Source {
  readonly syncFd: number;
  /** With --exec-attach only, else -1. */
  readonly attachFd: number;
  readonly startFd: number;
  readonly logs: readonly DriverTarget[];
  readonly stdio: Stdio | undefined;
}

function main(): void {
  const launch = parseLaunch(process.env['CONMON_LAUNCHER'], process.ppid);
  const commandLine = parseCommandLine({
    argv: process.argv.slice(2),
    rawArgv: readRawArgv,
    env: process.env,
    cwd: () => process.cwd(),
    version: CONMON_VERSION,
    commit: CONMON_COMMIT,
  });
  if (commandLine.kind === 'help') {
    const { helpText } = require('./help.cjs') as typeof import('./cli/help.ts');
    void helpText(CONMON_VERSION).then((text) => leave(text, '', 0));
    return;
  }
  if (commandLine.kind === 'exit') {
    if (commandLine.syslog !== undefined) new Syslog(sys).send(LOG_ERR, commandLine.syslog);
    leave(commandLine.stdout, commandLine.stderr, commandLine.status);
    return;
  }
  const options = absoluteOptions(commandLine.options, () => process.cwd());
  const diag = new Diag(sys, diagPlan(options));
  for (const warning of commandLine.warnings) diag.warn(warning);
  // Worker threads ask for the working directory when they start, and cannot without one (Node 26, measured 2026-11).
  const cwdFd = openSync('.', constants.O_DIRECTORY | O_PATH | O_CLOEXEC);
  process.chdir('/');
  const environment = Environment.take(launch.environFd);
  const pipe = (name: string): number => pipeFd(sys, name, process.env[name]);
  runSession(options, diag, prepare({ launch, cwdFd, environment, pipe }, options, diag));
}

/** With a log tag the system's log shows it beside the id, as conmon C does. */
function diagPlan({ logLevel, syslog, cid, logTag }: Options): DiagPlan {
  const name = logTag === undefined ? cid : `${cid}: ${logTag}`;
  return { level: logLevel, syslogName: syslog ? name : undefined };
}

/** Throws ConmonError for what the caller must hear about. */
function prepare(source: Source, options: Options, diag: Diag): Prepared {
  const syncFd = source.pipe('_OCI_SYNCPIPE');
  const startFd = source.pipe('_OCI_STARTPIPE');
  const attachFd = options.execAttach ? source.pipe('_OCI_ATTACHPIPE') : -1;
  if (options.execAttach && attachFd === -1) throw new Error('--attach specified but _OCI_ATTACHPIPE was not');
  const passthrough = options.logTargets.some((target) => target.driver === 'passthrough');
  const rules = { rotate: options.logRotate, allowlistDirs: options.logAllowlistDirs };
  const logs = openTargets(sys, diag, options.logTargets, options, rules);
  try {
    const plan = { stdin: options.stdin, terminal: options.terminal, logged: logs.length > 0 };
    return { ...source, syncFd, startFd, attachFd, logs, stdio: passthrough ? undefined : openStdio(sys, diag, plan) };
  } catch (error) {
    closeTargets(logs);
    throw error;
  }
}

/** For a process that goes on: what no log worker has taken over. */
function closeTargets(logs: readonly DriverTarget[]): void {
  for (const target of logs) if ('fd' in target) sys.close(target.fd);
}

/** Nothing here waits; what goes wrong after the hand-over is told on the sync pipe, by the session. */
function runSession(options: Options, diag: Diag, prepared: Prepared): void {
  const { launch, stdio } = prepared;
  const oomScoreAdj = lowerOomScore(diag);
  const subreaper = sys.prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (subreaper < 0) throw new Error(`Failed to set as subreaper ${sys.strerror(subreaper)}`);
  sys.prctlSetName('conmon');
  writeOwnPidFile(options);
  const reaper = new Reaper(sys, diag);
  const ours = [prepared.syncFd, prepared.startFd, prepared.attachFd, launch.statusFd, launch.environFd];
  // The launcher has read the start pipe; only an exec with attach waits for it once more.
  if (prepared.startFd > 2 && !options.execAttach) sys.close(prepared.startFd);
  const execs = new Execs(reaper, launch);
  const session = newSession(options, diag, prepared, {
    reaper,
    oomScoreAdj,
    leakedFds: launch.entryFds.filter((fd) => !ours.includes(fd)),
    temporaryDir: process.env['TMPDIR'],
    syncPipe: new SyncPipe(sys, diag, syncKey(options.apiVersion, options.exec), prepared.syncFd),
    notifyRelay: openNotifyRelay(options, diag),
    onGone: () => execs.refuse(),
    sharesProcess: () => execs.busy,
    onDone: (status) => execs.leave(status),
  });
  process.on('SIGCHLD', () => reaper.reap());
  for (const [name, signal] of Object.entries(FORWARDED))
    process.on(name, () => session.post({ type: 'signal', signal }));
  // A bug of ours must not end the monitor under a container that is well.
  process.on('uncaughtException', (error) => diag.error(`internal error: ${error.stack ?? error.message}`));
  keepAlive();
  if (stdio !== undefined) disconnectStandardStreams();
  handOver(launch, options.sync);
  const attachPipe = new SyncPipe(sys, diag, syncKey(options.apiVersion, options.exec), prepared.attachFd);
  afterSecondGo(options, diag, attachPipe, prepared.startFd, () => {
    session.post({ type: 'start' });
    if (stdio === undefined) disconnectStandardStreams();
    if (!options.exec) setImmediate(() => execs.welcome(session, diag));
  });
}

/** The parts in which a session that joins differs from one of its own process. */
type OwnParts = Pick<SessionParts, 'reaper' | 'oomScoreAdj' | 'leakedFds' | 'syncPipe' | 'notifyRelay' | 'onDone'> &
  Partial<Pick<SessionParts, 'joined' | 'sharesProcess' | 'onGone'>> & { readonly temporaryDir: string | undefined };

/** Opens the engine's ways to the container; throws ConmonError ATTACH. */
function newSession(options: Options, diag: Diag, prepared: Prepared, own: OwnParts, pool?: () => Pool): Session {
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

/** With passthrough too: a service whose output goes to the journal by itself says when it is ready all the same. */
function openNotifyRelay({ sdnotifySocket, bundle, exec }: Options, diag: Diag): NotifyRelay | undefined {
  if (sdnotifySocket === undefined || bundle === undefined || exec) return undefined;
  return new NotifyRelay(sys, diag, bundle, sdnotifySocket);
}

/** The caller reads it as soon as it knows that conmon is ready. */
function writeOwnPidFile(options: Options): void {
  if (options.conmonPidfile === undefined) return;
  const failure = replaceFile(options.conmonPidfile, String(process.pid));
  if (failure !== undefined) throw new Error(`Failed to write conmon pidfile: ${failure}`);
}

/**
 * An exec with attach: says that the attach socket is there, then waits for the caller's second go, so that its client
 * misses nothing (contract section 3). The end of the start pipe is a go too. @returns how to stop waiting; the fd stays
 * the caller's to close in a process that goes on.
 */
function afterSecondGo(
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

/** The threads' code is loaded behind the runtime. With passthrough there is nothing to read. */
function outputStarter(options: Options, diag: Diag, { logs, stdio }: Prepared, pool?: () => Pool): StartOutput {
  return (onEnded) => {
    if (stdio === undefined) return undefined;
    const threads = require('./threads.cjs') as typeof import('./threads/index.ts');
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

/** Execs of the container that are held by this process too: whether they may come, and what they keep it for. */
class Execs {
  readonly #reaper: Reaper;
  readonly #launch: Launch;
  #socket: SessionSocket | undefined;
  #watch: Watch | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #host: Host | undefined;

  constructor(reaper: Reaper, launch: Launch) {
    this.#reaper = reaper;
    this.#launch = launch;
  }

  get busy(): boolean {
    return this.#host?.busy === true;
  }

  /** Lets them come, once the container's runtime has been started. Their code is loaded for the first one. */
  welcome(container: Session, diag: Diag): void {
    if (process.env['CONMON_SESSIONS'] === 'off' || container.state === 'ending' || container.state === 'ended') return;
    try {
      const socket = new SessionSocket(sys, container.parts.options.cid, process.env['XDG_RUNTIME_DIR']);
      this.#socket = socket;
      this.#listen(socket, container, diag);
    } catch (error) {
      this.refuse();
      diag.debug(`execs cannot join: ${errorText(error)}`);
    }
  }

  #listen(socket: SessionSocket, container: Session, diag: Diag): void {
    const watch = sys.watch(socket.listenFd, () => {
      try {
        this.#host ??= this.#load(container, diag);
        if (this.#host.accept(socket.listenFd)) return;
        // No fds left: who knocks stays in the backlog, where we would be told of it again and again.
        if (this.#watch !== undefined) sys.unwatch(this.#watch);
        this.#watch = undefined;
        this.#pause = setTimeout(() => this.#listen(socket, container, diag), ACCEPT_PAUSE_MS);
      } catch (error) {
        this.refuse(); // conmon was taken away, or replaced, under the container: the launcher starts one of its own
        diag.warn(`execs cannot join: ${errorText(error)}`);
      }
    });
    if (typeof watch === 'number')
      throw new ConmonError('SESSIONS', 'Failed to watch session socket', { reason: sys.strerror(watch) });
    this.#watch = watch;
  }

  refuse(): void {
    clearTimeout(this.#pause);
    if (this.#watch !== undefined) sys.unwatch(this.#watch);
    this.#watch = undefined;
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** The container's session is done. */
  leave(status: number): void {
    if (this.#host) this.#host.containerDone(status);
    else sys.exitNow(status);
  }

  #load(container: Session, diag: Diag): Host {
    const host = require('./host.cjs') as typeof import('./host/index.ts');
    if (host.build !== CONMON_BUILD_ID)
      throw new ConmonError('SESSIONS', 'conmon was replaced while the container ran');
    let shared: Pool | undefined;
    const pool = (): Pool => {
      const threads = require('./threads.cjs') as typeof import('./threads/index.ts');
      shared ??= new threads.SharedPool(sys, diag);
      return shared;
    };
    return new host.Host({
      sys,
      diag,
      container,
      build: CONMON_BUILD_ID,
      nofileHard: this.#launch.nofileHard,
      laterPath: join(libexecDir, 'later'),
      maker: {
        parse: parseJoiner,
        diagPlan,
        make: (joiner, options) => makeJoined(joiner, options, this.#reaper, pool),
      },
      leave: (status) => sys.exitNow(status),
    });
  }
}

/** The command line of an exec that joins. Throws with what its own conmon would say, and will. */
const parseJoiner: SessionMaker['parse'] = (argv, rawArgv, environment, cwd): ParsedCall => {
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(cwd(), path));
  const probe: FileProbe = {
    canExecute: (path) => fileProbe.canExecute(absolute(path)),
    canEnter: (path) => fileProbe.canEnter(absolute(path)),
  };
  const commandLine = parseCommandLine({
    argv,
    rawArgv: () => [...rawArgv],
    env: new Proxy({}, { get: (_, name) => (typeof name === 'string' ? environment.get(name) : undefined) }),
    cwd,
    probe,
    version: CONMON_VERSION,
    commit: CONMON_COMMIT,
  });
  if (commandLine.kind !== 'run') throw new ConmonError('JOIN', 'its command line is no session');
  return { options: absoluteOptions(commandLine.options, cwd), warnings: commandLine.warnings };
};

/** The session of an exec that joins; as runSession does for one of its own process, but nothing of the process changes. */
function makeJoined(joiner: Joiner, options: Options, reaper: Reaper, pool: () => Pool): MadeSession {
  const { diag, environment, launch } = joiner;
  const prepared = prepare(joiner, options, diag);
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
    closeTargets(logs);
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
    session = newSession(
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
    if (session.output === undefined) closeTargets(logs);
  };
  return {
    session,
    begin: () => {
      stopWaiting = afterSecondGo(options, diag, attachPipe, startFd, () => session.post({ type: 'start' }));
    },
    cancel: () => {
      session.parts.attachFiles?.removeSocket();
      release(session);
      close();
    },
    close,
  };
}

/** Tells the launcher to leave, or with --sync to stay; then conmon does not outlive it. */
function handOver(launch: Launch, sync: boolean): void {
  if (sync) {
    sys.prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (process.ppid !== launch.launcherPid) sys.exitNow(1); // it was killed before we could ask for its signal
  }
  const byte = Buffer.from(sync ? STAY : READY);
  // Nobody to hear it: the caller has killed what it started, and wants no container.
  if (sys.write(launch.statusFd, byte, 0, 1) < 0) sys.exitNow(1);
  sys.close(launch.statusFd);
}

/** The caller may wait for the end of conmon's stdout and stderr (contract section 1). */
function disconnectStandardStreams(): void {
  const read = openSync('/dev/null', 'r');
  const write = openSync('/dev/null', 'w');
  sys.dup3(read, 0, 0);
  sys.dup3(write, 1, 0);
  sys.dup3(write, 2, 0);
  sys.close(read);
  sys.close(write);
}

/** Signal handlers do not keep Node running, and a session without a worker has nothing else. */
function keepAlive(): void {
  setInterval(() => {}, LONGEST_TIMER_MS);
}

/** Ends before a session has begun. */
function leave(stdout: string, stderr: string, status: number): void {
  const out = Buffer.from(stdout);
  const err = Buffer.from(stderr);
  sys.write(1, out, 0, out.length);
  sys.write(2, err, 0, err.length);
  sys.exitNow(status);
}

try {
  main();
} catch (error) {
  leave('', `[conmon:e]: ${errorText(error)}\n`, 1);
}
