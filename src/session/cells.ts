/**
 * The cells of the session's table (./state.ts): each does one step of contract sections 1, 3 and 8 and answers the
 * next state. Main thread; none of them waits.
 */

import { ConmonError, errorText } from '../diag/error.ts';
import { POLLIN, PR_SET_CHILD_SUBREAPER, SIGKILL } from '../native/constants.ts';
import type { Watch } from '../native/sys.ts';
import type { ControlCommand } from '../proto/control-line.ts';
import type { Source } from '../proto/log-messages.ts';
import { STDERR, STDOUT } from '../proto/stream.ts';
import { killAdopted, killDescendants } from './adopted.ts';
import type { AttachFiles } from './attach-files.ts';
import { ConsoleSocket } from './console-socket.ts';
import { ControlReader } from './control.ts';
import { toBlock } from './environment.ts';
import { writeExitFiles } from './exit-files.ts';
import { OomWatch, writeOomFiles } from './oom.ts';
import { readPidFile } from './pid-file.ts';
import { closeChildStdio, closeCwd, closeLeakedFds } from './release.ts';
import { runtimeArgs } from './runtime-args.ts';
import { pendingText } from './runtime-stderr.ts';
import type { Output, Session } from './session.ts';
import { spawnInCgroup } from './spawn.ts';
import type { State } from './state.ts';
import { openNullInput } from './stdio.ts';
import { Terminal } from './terminal.ts';
import { turnAway } from './turn-away.ts';
import { exitStatus } from './wait-status.ts';

/** What callers look for when --timeout was reached. */
const TIMED_OUT = Buffer.from('command timed out');
const NO_FDS = new Int32Array(0);
const TURN_AWAY_PAUSE_SECONDS = 1;

/** Nothing to do. */
export function stay(session: Session): State {
  return session.state;
}

/** Opens the engine's ways in, executes the runtime, then starts what can be hidden behind it. */
export function startRuntime(session: Session): State {
  try {
    return executeRuntime(session);
  } catch (error) {
    return failCreate(session, errorText(error));
  }
}

function executeRuntime(session: Session): State {
  const { sys, diag, options, launch, environment, stdio, oomScoreAdj } = session.parts;
  if (options.terminal)
    session.console = ConsoleSocket.open(sys, diag, session.parts.temporaryDir, () =>
      session.post({ type: 'consoleReady' }),
    );
  listenToEngine(session);
  const args = runtimeArgs(options, session.console?.path);
  diag.trace(`calling runtime args: ${args.join(' ')}`);
  const { joined, leakedFds } = session.parts;
  // A joined session's caller knows nothing of this process.
  const conmonPids = joined ? [launch.launcherPid] : [process.pid, launch.launcherPid];
  const { envp, listenPidOffset } = environment.forRuntime(conmonPids, options.replaceListenPid);
  const runtimeFds = joined?.runtimeFds ?? leakedFds;
  session.expectedSince = session.parts.reaper.expect();
  const pid = spawnInCgroup(sys, {
    path: options.runtime,
    argv: toBlock(args),
    envp,
    fdMap: Int32Array.of(
      ...(stdio ? [0, stdio.childStdinFd, 1, stdio.childStdoutFd, 2, stdio.childStderrFd] : [0, 0, 1, 1, 2, 2]),
      ...(joined ? runtimeFds.flatMap((fd, i) => [fd, leakedFds[i] ?? -1]) : []),
    ),
    keepFds: Int32Array.from(runtimeFds),
    deathSignal: SIGKILL,
    listenPidOffset,
    oomScoreAdj,
    nofileSoft: launch.nofileSoft,
    nofileHard: launch.nofileHard,
    cwdFd: session.parts.cwdFd,
    newSession: joined !== undefined,
    cgroupFd: joined?.cgroupFd ?? -1,
  });
  closeChildStdio(session);
  if (options.exitCommand === undefined) closeCwd(session);
  if (pid < 0)
    throw new ConmonError('RUNTIME', `Failed to execute runtime ${options.runtime}:`, { reason: sys.strerror(pid) });
  session.runtimePid = pid;
  session.parts.reaper.watch(pid, (waitStatus) => session.post({ type: 'runtimeExited', waitStatus }));
  if (options.createTimeoutSeconds > 0) session.postLater(options.createTimeoutSeconds, { type: 'createTimeout' });
  session.output = session.parts.startOutput(
    (counters) => {
      if (counters) diag.debug(`log totals: ${JSON.stringify(counters)}`);
      session.post({ type: 'outputEnded' });
    },
    (reason) => session.post({ type: 'outputFailed', reason }),
  );
  session.parts.reaper.reap();
  return 'creating';
}

/** ctl, winsz and the attach socket; who comes before there is a container waits. */
function listenToEngine(session: Session): void {
  const { sys, diag, attachFiles } = session.parts;
  if (attachFiles === undefined) return;
  const onCommand = (command: ControlCommand): void => session.post({ type: 'control', command });
  const ctl = new ControlReader(sys, diag, 'ctl', attachFiles.ctlFd, onCommand);
  const winsz = new ControlReader(sys, diag, 'winsz', attachFiles.winszFd, onCommand);
  let watch: Watch | undefined;
  const stopWatch = (): void => {
    if (watch !== undefined) sys.unwatch(watch);
    watch = undefined;
  };
  session.awaitClient = () => {
    if (watch !== undefined) return;
    const watched = sys.watch(attachFiles.listenFd, () => {
      stopWatch(); // the attach worker listens from now on
      session.post({ type: 'clientWaiting' });
    });
    if (typeof watched === 'number')
      throw new ConmonError('ATTACH', 'Failed to watch attach socket', { reason: sys.strerror(watched) });
    watch = watched;
  };
  session.awaitClient();
  session.stopListening = () => {
    session.awaitClient = undefined;
    stopWatch();
    ctl.close();
    winsz.close();
    session.stopListening = undefined;
  };
}

/** The runtime may send the terminal before it ends, or just have done so. */
export function receiveConsole(session: Session): State {
  const { sys, diag } = session.parts;
  try {
    const masterFd = session.console?.receive();
    if (masterFd === undefined) return session.state;
    session.console = undefined;
    session.terminal = new Terminal(sys, diag, masterFd);
    if (session.wantedSize) session.terminal.resize(session.wantedSize.rows, session.wantedSize.columns);
  } catch (error) {
    session.createGivenUp = errorText(error);
  }
  return session.state;
}

export function serveClients(session: Session): State {
  const { attachFiles } = session.parts;
  if (attachFiles === undefined || session.output === undefined) return session.state;
  const served = startAttach(session, session.output, attachFiles);
  if (served === 'yes') return session.state;
  if (turnAway(session, attachFiles.listenFd, served === 'never')) return awaitClient(session);
  session.postLater(TURN_AWAY_PAUSE_SECONDS, { type: 'clientsGone' }); // no fds left: we would be told of them without end
  return session.state;
}

/** Whether somebody serves them: with no threads, fds or memory left now, the container still goes on. */
function startAttach(session: Session, output: Output, attachFiles: AttachFiles): 'yes' | 'not now' | 'never' {
  try {
    return output.startAttach(attachFiles, () => session.post({ type: 'clientsGone' })) ? 'yes' : 'never';
  } catch (error) {
    session.parts.diag.error(`attach: ${errorText(error)}`);
    return 'not now';
  }
}

/** The attach worker has left: main listens for the next client. A client that has come meanwhile is heard at once. */
export function awaitClient(session: Session): State {
  try {
    session.awaitClient?.();
  } catch (error) {
    session.parts.diag.error(errorText(error)); // the container goes on; nobody can attach any more
  }
  return session.state;
}

/** Who attached before there was output gets all of it, also when the event that tells of the client is still to come. */
function isClientWaiting(session: Session): boolean {
  const { attachFiles, sys } = session.parts;
  return attachFiles !== undefined && sys.poll(Int32Array.of(attachFiles.listenFd, POLLIN), 1, 0) > 0;
}

export function control(session: Session, event: { command: ControlCommand }): State {
  const { command } = event;
  if (command.kind === 'reopen') session.output?.reopen();
  else if (session.terminal) session.terminal.resize(command.rows, command.columns);
  else session.wantedSize = command;
  return session.state;
}

/** The terminal is gone with the container. Who asks for a new log file waits for it without a limit (contract section 6). */
export function reopenLogs(session: Session, event: { command: ControlCommand }): State {
  if (event.command.kind === 'reopen') session.output?.reopen();
  return session.state;
}

/** Where the container's output comes from: its pipes, or its terminal and the pipe that caught the runtime's messages. */
function sourcesOf(session: Session): readonly Source[] {
  const { stdio } = session.parts;
  if (stdio === undefined) return [];
  const errors: Source = { fd: stdio.stderrFd, stream: STDERR, terminal: false };
  if (session.terminal) return [{ fd: session.terminal.outputFd, stream: STDOUT, terminal: true }, errors];
  return [{ fd: stdio.stdoutFd, stream: STDOUT, terminal: false }, errors];
}

/** Nothing reads what the container would write: it is refused, as long as nobody knows of it. */
export function refuseContainer(session: Session, event: { reason: string }): State {
  killUnfinished(session);
  return failCreate(session, event.reason);
}

/** The runtime has ended: reads the container's pid, tells it, and lets the output flow. */
export function afterRuntime(session: Session, event: { waitStatus: number }): State {
  const { sys, options, syncPipe, reaper, diag } = session.parts;
  session.runtimePid = -1;
  session.cancelTimers();
  if (session.createGivenUp !== undefined) return failCreate(session, session.createGivenUp);
  const status = exitStatus(event.waitStatus);
  // For exec only the missing pid is the failure (contract section 3).
  if (!options.exec && status !== 0) return failCreate(session, `Failed to create container: exit status ${status}`);
  if (options.terminal && session.terminal === undefined) {
    receiveConsole(session);
    if (session.terminal === undefined)
      return failCreate(session, session.createGivenUp ?? 'Runtime did not set up terminal');
  }
  const pid = readPidFile(sys, options.containerPidfile);
  if (typeof pid === 'string') return failCreate(session, `Failed to read pidfile: ${pid}`);
  session.containerPid = pid;
  diag.debug(`container PID: ${pid}`);
  // Before the caller hears of the pid: it then starts the container, which may be killed at once.
  watchMemory(session);
  if (options.apiVersion || !options.exec) syncPipe.send(pid);
  if (!options.exec) syncPipe.close(); // of a container nothing more is said here
  if (isClientWaiting(session)) serveClients(session);
  session.gone.outputs = session.output !== undefined;
  session.output?.begin(sourcesOf(session), session.terminal?.inputFd ?? session.parts.stdio?.stdinFd ?? -1);
  if (options.timeoutSeconds > 0) session.postLater(options.timeoutSeconds, { type: 'timeout' });
  reaper.watchStranger(pid, session.expectedSince ?? 0, (waitStatus) =>
    session.post({ type: 'containerExited', waitStatus }),
  );
  stopExpecting(session);
  return 'running';
}

/** The container's pid is known, or there will be none. */
function stopExpecting(session: Session): void {
  if (session.expectedSince !== undefined) session.parts.reaper.settle();
  session.expectedSince = undefined;
}

/** Without a directory for the notice there is nobody to tell: CRI-O's ExecSync. */
function watchMemory(session: Session): void {
  const { sys, diag, options } = session.parts;
  if (options.bundle === undefined && options.persistDir === undefined) return;
  session.oom = new OomWatch(sys, diag, { pid: session.containerPid, fromNow: options.exec }, () =>
    session.post({ type: 'outOfMemory' }),
  );
}

export function tellOutOfMemory(session: Session): State {
  const { diag, options } = session.parts;
  for (const failure of writeOomFiles([options.persistDir, options.bundle])) diag.warn(failure);
  return session.state;
}

/** Tells the caller why there is no container, with the runtime's own words when it left some. No exit files then. */
export function failCreate(session: Session, reason: string): State {
  const { sys, diag, syncPipe } = session.parts;
  const words = wordsOfRuntime(session);
  if (words.length > 0) diag.warn(`runtime stderr: ${words.toString()}`);
  diag.error(reason);
  syncPipe.send(-1, words.length > 0 ? words : Buffer.from(reason));
  session.status = 1;
  // It may have been started before something else failed; in a daemon that goes on nobody else ends it.
  if (session.runtimePid > 0) sys.kill(session.runtimePid, SIGKILL);
  session.parts.onGone?.();
  stopExpecting(session);
  session.cancelTimers();
  session.console?.close();
  session.stopListening?.();
  session.parts.attachFiles?.remove();
  session.parts.notifyRelay?.remove();
  session.output?.end(false);
  return waitForExitCommand(session);
}

/** On its stderr, or on the terminal that it had made already: crun tells there that a program is missing. */
function wordsOfRuntime(session: Session): Buffer {
  const { stdio, sys } = session.parts;
  const words = stdio ? pendingText(sys, stdio.stderrFd) : Buffer.alloc(0);
  return words.length > 0 || session.terminal === undefined ? words : pendingText(sys, session.terminal.outputFd);
}

/** The runtime hangs: ends it, and what it left to us, and lets its end be told as a failure. */
export function giveUpOnRuntime(session: Session): State {
  const { options } = session.parts;
  session.createGivenUp = `Runtime ${options.runtime} did not create the container within ${options.createTimeoutSeconds} seconds`;
  killUnfinished(session);
  return 'creating';
}

/** The runtime, and what it has made so far or left to us. */
function killUnfinished(session: Session): void {
  const { sys, joined } = session.parts;
  if (session.runtimePid > 0) {
    // Of what was left to this process nobody can tell whose it is when it holds other sessions.
    if (joined) killDescendants(sys, session.runtimePid);
    sys.kill(session.runtimePid, SIGKILL);
  }
  if (!joined) killAdopted(sys, session.runtimePid);
}

export function forwardToRuntime(session: Session, event: { signal: number }): State {
  // Nothing was started yet: conmon just ends (contract section 1).
  if (session.runtimePid <= 0) {
    session.status = 1;
    session.parts.attachFiles?.remove();
    session.parts.notifyRelay?.remove();
    return done(session);
  }
  session.parts.sys.kill(session.runtimePid, event.signal);
  return 'creating';
}

export function forwardToContainer(session: Session, event: { signal: number }): State {
  const result = session.parts.sys.kill(session.containerPid, event.signal);
  // It may have ended just now: its status is then waiting for us.
  if (result < 0) session.parts.reaper.reap();
  return session.state;
}

export function containerGone(session: Session, event: { waitStatus: number }): State {
  session.containerStatus = exitStatus(event.waitStatus);
  return drain(session, true);
}

/** --timeout: the container's process group is killed at once; what it wrote and we have not read is left. */
export function killContainer(session: Session): State {
  const { sys, diag } = session.parts;
  diag.info('Timed out, killing the container');
  session.timedOut = true;
  const group = sys.getpgid(session.containerPid);
  // kill(-1) would be everything on the machine, and our own group the other sessions.
  const others = group <= 1 || (session.parts.joined !== undefined && group === sys.getpgid(0));
  sys.kill(others ? session.containerPid : -group, SIGKILL);
  session.containerStatus = -1;
  return drain(session, false);
}

function drain(session: Session, all: boolean): State {
  session.oom?.finish();
  session.parts.onGone?.();
  session.cancelTimers();
  if (session.output) session.output.end(all);
  else session.post({ type: 'outputEnded' });
  return 'draining';
}

/** Contract section 8, steps 4 to 7: the notices, in their order. */
export function finish(session: Session): State {
  const { options, diag, syncPipe } = session.parts;
  closeLeakedFds(session);
  session.stopListening?.();
  session.parts.notifyRelay?.finish();
  closeAttachSocket(session);
  if (session.turnedAway > 0) diag.warn(`${session.turnedAway} attach clients were turned away`);
  session.status = session.containerStatus & 0xff;
  for (const failure of writeExitFiles(options, session.containerStatus)) {
    diag.error(failure);
    session.status = 1;
  }
  if (options.exec) syncPipe.send(session.containerStatus, session.timedOut ? TIMED_OUT : undefined);
  session.parts.attachFiles?.removeSocket();
  return waitForExitCommand(session);
}

/** An attach worker that still serves somebody has it in its poll set: the number must not become another file's. */
function closeAttachSocket(session: Session): void {
  const close = (): void => session.parts.attachFiles?.closeSocket();
  if (session.output) session.output.whenClosed(close);
  else close();
}

function waitForExitCommand(session: Session): State {
  const { options, syncPipe } = session.parts;
  // Everything is said: a caller that reads to the end must not wait for --exit-delay.
  syncPipe.close();
  if (options.exitCommand === undefined) return done(session);
  if (options.exitDelaySeconds > 0) {
    session.exitDelayEndsMs = performance.now() + options.exitDelaySeconds * 1000;
    if (session.hostEnds) return handExitCommandOver(session);
    session.postLater(options.exitDelaySeconds, { type: 'exitDelayOver' });
  } else session.post({ type: 'exitDelayOver' });
  return 'ending';
}

/** Contract section 8, step 8. conmon is no subreaper while the command runs, so that what it leaves is init's. */
export function runExitCommand(session: Session): State {
  const { sys, diag, options, reaper } = session.parts;
  if (session.exitCommandStarted || options.exitCommand === undefined) return 'ending';
  session.exitCommandStarted = true;
  session.cancelTimers();
  // Other sessions' containers must go on being left to us; what the command leaves is then reaped here.
  if (!session.parts.sharesProcess?.() && sys.prctl(PR_SET_CHILD_SUBREAPER, 0) < 0)
    diag.warn('Failed to disable self subreaper attribute');
  const pid = spawnExitCommand(session, options.exitCommand, [options.exitCommand, ...options.exitCommandArgs]);
  if (pid === undefined) return done(session);
  reaper.watch(pid, (waitStatus) => session.post({ type: 'exitCommandExited', waitStatus }));
  reaper.reap();
  return 'ending';
}

/** @returns undefined when it failed, which is told. */
function spawnExitCommand(session: Session, path: string, args: readonly string[]): number | undefined {
  const { sys, diag, environment, launch, oomScoreAdj, joined } = session.parts;
  const stdinFd = openNullInput(); // conmon's own may be the attach socket
  try {
    const pid = spawnInCgroup(sys, {
      path,
      argv: toBlock(args),
      envp: environment.untouched().envp,
      fdMap: Int32Array.of(0, stdinFd ?? 1, 1, 1, 2, 2), // 1 is /dev/null too, for writing
      keepFds: NO_FDS,
      deathSignal: 0,
      listenPidOffset: -1,
      oomScoreAdj,
      nofileSoft: launch.nofileSoft,
      nofileHard: launch.nofileHard,
      cwdFd: session.parts.cwdFd,
      newSession: joined !== undefined,
      cgroupFd: joined?.cgroupFd ?? -1,
    });
    if (pid < 0)
      throw new ConmonError('EXIT_COMMAND', `Failed to execute exit command ${path}:`, { reason: sys.strerror(pid) });
    return pid;
  } catch (error) {
    diag.error(errorText(error));
    session.status = 1;
    return undefined;
  } finally {
    if (stdinFd !== undefined) sys.close(stdinFd);
  }
}

export function finishExitCommand(session: Session, event: { waitStatus: number }): State {
  const status = exitStatus(event.waitStatus);
  if (status !== 0) {
    session.parts.diag.warn(`exit command failed with status ${status}`);
    session.status = status;
  }
  return done(session);
}

export function noteHostEnds(session: Session): State {
  session.hostEnds = true;
  return session.state;
}

/**
 * The daemon does not stay for --exit-delay: a tiny process of its own waits out what is left and then becomes the exit
 * command. A command that runs already goes on by itself; only a caller that waits for its status (--sync) keeps us.
 */
export function handExitCommandOver(session: Session): State {
  const { options, joined } = session.parts;
  if (options.exitCommand === undefined || joined === undefined) return 'ending';
  if (session.exitCommandStarted) return options.sync ? 'ending' : done(session);
  session.exitCommandStarted = true;
  session.cancelTimers();
  session.parts.syncPipe.close();
  const leftMs = Math.max(0, Math.ceil(session.exitDelayEndsMs - performance.now()));
  const args = ['conmon-exit-delay', String(leftMs), options.exitCommand, ...options.exitCommandArgs];
  spawnExitCommand(session, joined.laterPath, args);
  return done(session);
}

/** Everything stops here, without a notice: the container, if there is one, goes on with nobody to watch it. */
export function abandon(session: Session): State {
  const { sys, attachFiles, syncPipe } = session.parts;
  session.status = 128 + SIGKILL;
  if (session.runtimePid > 0) sys.kill(session.runtimePid, SIGKILL);
  session.oom?.finish();
  stopExpecting(session);
  session.console?.close();
  session.stopListening?.();
  syncPipe.close();
  attachFiles?.removeSocket();
  session.output?.end(false);
  return done(session);
}

function done(session: Session): State {
  session.cancelTimers();
  const leave = (): void => session.parts.onDone(session.status);
  // A client that is still reading gets the rest; it has been told everything else.
  if (session.output && session.containerPid > 0) session.output.whenClosed(leave);
  else leave();
  return 'ended';
}
