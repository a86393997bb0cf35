/**
 * The story of one session, in order: read what the launcher and the command line say, take over as a daemon, run the
 * session's table, end with the container's status. Main thread. Only wiring: what each step does is in its room.
 */

import { constants, openSync, read } from 'node:fs';
import { absoluteOptions } from './cli/absolute.ts';
import { type Options, parseCommandLine, readRawArgv } from './cli/index.ts';
import { Diag, type DiagPlan } from './diag/diag.ts';
import { errorText } from './diag/error.ts';
import { LOG_ERR, Syslog } from './diag/syslog.ts';
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
import { failureText, sys } from './native/sys.ts';
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
import { type Output, Session, type StartOutput } from './session/session.ts';
import { openStdio, type Stdio } from './session/stdio.ts';
import { SyncPipe } from './session/sync-pipe.ts';

declare const CONMON_VERSION: string;
declare const CONMON_COMMIT: string;

/** Bytes of the launcher's status pipe (docs/adr/0003-launcher-hand-over.md). */
const READY = 'R';
const STAY = 'S';
const FORWARDED = { SIGTERM, SIGINT, SIGQUIT } as const;

/** setTimeout's limit: once in 25 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** As the launcher's read of the start pipe. */
const START_MESSAGE_MAX = 8192;

/** Everything that can fail as an option error, done before the caller hears that conmon is ready. */
interface Prepared {
  readonly launch: Launch;
  /** The caller's working directory, which may have been deleted. */
  readonly cwdFd: number;
  readonly environment: Environment;
  readonly syncFd: number;
  /** With --exec-attach only, else -1. */
  readonly attachFd: number;
  readonly startFd: number;
  /** Fds of the caller's that the runtime gets and that are closed before the exit notice. */
  readonly leakedFds: readonly number[];
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
  runSession(options, diag, prepare(launch, options, diag));
}

/** With a log tag the system's log shows it beside the id, as conmon C does. */
function diagPlan({ logLevel, syslog, cid, logTag }: Options): DiagPlan {
  const name = logTag === undefined ? cid : `${cid}: ${logTag}`;
  return { level: logLevel, syslogName: syslog ? name : undefined };
}

/** Throws ConmonError for what the caller must hear about. */
function prepare(launch: Launch, options: Options, diag: Diag): Prepared {
  // Worker threads ask for the working directory when they start, and cannot without one (Node 26, measured 2026-11).
  const cwdFd = openSync('.', constants.O_DIRECTORY | O_PATH | O_CLOEXEC);
  process.chdir('/');
  const environment = Environment.take(launch.environFd);
  const syncFd = pipeFd(sys, '_OCI_SYNCPIPE', process.env['_OCI_SYNCPIPE']);
  const startFd = pipeFd(sys, '_OCI_STARTPIPE', process.env['_OCI_STARTPIPE']);
  const attachFd = options.execAttach ? pipeFd(sys, '_OCI_ATTACHPIPE', process.env['_OCI_ATTACHPIPE']) : -1;
  if (options.execAttach && attachFd === -1) throw new Error('--attach specified but _OCI_ATTACHPIPE was not');
  // The launcher has read the start pipe; only an exec with attach waits for it once more.
  if (startFd > 2 && !options.execAttach) sys.close(startFd);
  const ours = new Set([syncFd, startFd, attachFd, launch.statusFd, launch.environFd]);
  refuseWhatIsNotThereYet(options);
  const logs = openTargets(options.logTargets, options);
  const passthrough = options.logTargets.some((target) => target.driver === 'passthrough');
  return {
    launch,
    cwdFd,
    environment,
    syncFd,
    attachFd,
    startFd: options.execAttach ? startFd : -1,
    leakedFds: launch.entryFds.filter((fd) => !ours.has(fd)),
    logs,
    stdio: passthrough
      ? undefined
      : openStdio(sys, diag, { stdin: options.stdin, terminal: options.terminal, logged: logs.length > 0 }),
  };
}

/** A log that would be cut where it should be kept is no log: better no container. */
function refuseWhatIsNotThereYet(options: Options): void {
  if (options.logRotate) throw new Error('--log-rotate is not supported by this version');
}

/** Nothing here waits; what goes wrong after the hand-over is told on the sync pipe, by the session. */
function runSession(options: Options, diag: Diag, prepared: Prepared): void {
  const { launch, syncFd, stdio } = prepared;
  const oomScoreAdj = lowerOomScore(diag);
  const subreaper = sys.prctl(PR_SET_CHILD_SUBREAPER, 1);
  if (subreaper < 0) throw new Error(`Failed to set as subreaper ${sys.strerror(subreaper)}`);
  sys.prctlSetName('conmon');
  writeOwnPidFile(options);
  const reaper = new Reaper(sys, diag);
  const notifyRelay = openNotifyRelay(options, diag);
  const attachFiles = options.bundle === undefined || stdio === undefined ? undefined : new AttachFiles(sys, options);
  const session = new Session({
    sys,
    diag,
    options,
    launch,
    cwdFd: prepared.cwdFd,
    environment: prepared.environment,
    reaper,
    syncPipe: new SyncPipe(sys, diag, syncKey(options.apiVersion, options.exec), syncFd),
    stdio,
    attachFiles,
    notifyRelay,
    temporaryDir: process.env['TMPDIR'] ?? '/tmp',
    leakedFds: prepared.leakedFds,
    oomScoreAdj,
    startOutput: outputStarter(options, diag, prepared),
    onDone: (status) => sys.exitNow(status),
  });
  process.on('SIGCHLD', () => reaper.reap());
  for (const [name, signal] of Object.entries(FORWARDED))
    process.on(name, () => session.post({ type: 'signal', signal }));
  // A bug of ours must not end the monitor under a container that is well.
  process.on('uncaughtException', (error) => diag.error(`internal error: ${error.stack ?? error.message}`));
  keepAlive();
  if (stdio !== undefined) disconnectStandardStreams();
  handOver(launch, options.sync);
  const start = (): void => {
    session.post({ type: 'start' });
    if (stdio === undefined) disconnectStandardStreams();
  };
  if (options.execAttach) waitForClient(options, diag, prepared, start);
  else start();
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
 * misses nothing (contract section 3). The end of the start pipe is a go too.
 */
function waitForClient(options: Options, diag: Diag, { attachFd, startFd }: Prepared, start: () => void): void {
  new SyncPipe(sys, diag, syncKey(options.apiVersion, options.exec), attachFd).send(0);
  if (startFd <= 2) start();
  else
    read(startFd, Buffer.alloc(START_MESSAGE_MAX), 0, START_MESSAGE_MAX, null, (error) => {
      if (error) diag.warn(`start-pipe read failed ${failureText(error)}`);
      sys.close(startFd);
      start();
    });
}

/** The threads' code is loaded behind the runtime. With passthrough there is nothing to read. */
function outputStarter(options: Options, diag: Diag, { logs, stdio }: Prepared): StartOutput {
  return (onEnded) => {
    if (stdio === undefined) return undefined;
    const threads = require('./threads.cjs') as typeof import('./threads/index.ts');
    const limits = {
      fileMaxBytes: options.logSizeMaxBytes ?? Number.POSITIVE_INFINITY,
      globalMaxBytes: options.logGlobalSizeMaxBytes ?? Number.POSITIVE_INFINITY,
    };
    const rotation = { keepFiles: options.logRotate ? options.logMaxFiles : 0 };
    const plan = { targets: logs, limits, rotation, syncLog: options.syncLog, diag: diagPlan(options) };
    const output = new threads.Output(sys, diag, plan, onEnded);
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
