/**
 * The story of one session, in order: read what the launcher and the command line say, take over as a daemon, run the
 * session's table, end with the container's status. Main thread. Only wiring: what each step does is in its room.
 */

import { constants, openSync } from 'node:fs';
import { absoluteOptions } from './cli/absolute.ts';
import { type Options, parseCommandLine, readRawArgv } from './cli/index.ts';
import { Execs } from './daemon/execs.ts';
import { newSession } from './daemon/new-session.ts';
import { diagPlan, type Prepared, prepare } from './daemon/prepare.ts';
import { afterSecondGo } from './daemon/second-go.ts';
import { Diag } from './diag/diag.ts';
import { errorText } from './diag/error.ts';
import { LOG_ERR, Syslog } from './diag/syslog.ts';
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
import { sys } from './native/sys.ts';
import { syncKey } from './proto/sync-message.ts';
import type { AttachFiles } from './session/attach-files.ts';
import { Environment } from './session/environment.ts';
import { replaceFile } from './session/exit-files.ts';
import { type Launch, parseLaunch, pipeFd } from './session/launch.ts';
import { NotifyRelay } from './session/notify-relay.ts';
import { lowerOomScore } from './session/oom-score.ts';
import { Reaper } from './session/reaper.ts';
import { SyncPipe } from './session/sync-pipe.ts';

declare const CONMON_VERSION: string;
declare const CONMON_COMMIT: string;

/** Bytes of the launcher's status pipe (docs/adr/0003-launcher-hand-over.md). */
const READY = 'R';
const STAY = 'S';
const FORWARDED = { SIGTERM, SIGINT, SIGQUIT } as const;

/** setTimeout's limit: once in 25 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

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
    onRest: () => execs.sweep(diag),
    sharesProcess: () => execs.busy,
    onDone: (status) => execs.leave(status),
  });
  process.on('SIGCHLD', () => reaper.reap());
  for (const [name, signal] of Object.entries(FORWARDED))
    process.on(name, () => session.post({ type: 'signal', signal }));
  // A bug of ours must not end the monitor under a container that is well.
  process.on('uncaughtException', (error) => diag.error(`internal error: ${error.stack ?? error.message}`));
  keepAlive();
  if (stdio !== undefined) disconnectStandardStreams(session.parts.attachFiles);
  handOver(launch, options.sync);
  const attachPipe = new SyncPipe(sys, diag, syncKey(options.apiVersion, options.exec), prepared.attachFd);
  afterSecondGo(options, diag, attachPipe, prepared.startFd, () => {
    session.post({ type: 'start' });
    if (stdio === undefined) disconnectStandardStreams(undefined);
    if (options.exec) return;
    setImmediate(() => execs.welcome(session, diag));
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

/** The caller may wait for the end of conmon's stdout and stderr (contract section 1). Nobody reads its stdin: the attach socket is there. */
function disconnectStandardStreams(attachFiles: AttachFiles | undefined): void {
  const write = openSync('/dev/null', 'w');
  sys.dup3(write, 1, 0);
  sys.dup3(write, 2, 0);
  sys.close(write);
  if (attachFiles?.becomeStdin() === true) return;
  const read = openSync('/dev/null', 'r');
  sys.dup3(read, 0, 0);
  sys.close(read);
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
