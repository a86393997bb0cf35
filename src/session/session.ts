/**
 * One container or exec session: a value that holds everything that belongs to it. What happens when is the table in
 * ./state.ts; what each step does is in ./cells.ts. Main thread. There is no module-level state, so that one process
 * can hold several.
 */

import type { Options } from '../cli/options.ts';
import type { Diag } from '../diag/diag.ts';
import type { Sys } from '../native/sys.ts';
import type { LogCounters, Source } from '../proto/log-messages.ts';
import type { AttachFiles } from './attach-files.ts';
import type { ConsoleSocket } from './console-socket.ts';
import type { Environment } from './environment.ts';
import type { Launch } from './launch.ts';
import type { NotifyRelay } from './notify-relay.ts';
import type { OomWatch } from './oom.ts';
import type { Reaper } from './reaper.ts';
import { type SessionEvent, type State, step } from './state.ts';
import type { Stdio } from './stdio.ts';
import type { SyncPipe } from './sync-pipe.ts';
import type { Terminal } from './terminal.ts';

/** The container's output and its attach clients; src/threads/output.ts implements it. */
export interface Output {
  /** The runtime is done with the pipes: the container's bytes may be read. The fds are handed over. */
  begin(sources: readonly Source[], stdinFd: number): void;
  /**
   * A client waits in the backlog of the attach socket. `onLeft` is called when nobody listens there any longer.
   * @returns false when nobody will serve it: it is the caller's to turn away.
   */
  startAttach(plan: { readonly listenFd: number }, onLeft: () => void): boolean;
  /** New log files under the same paths. */
  reopen(): void;
  /** The container is gone: read what is there without waiting (`drain`), or only flush; then `onEnded` is called. */
  end(drain: boolean): void;
  /** Calls back once no attach client is served any longer. */
  whenClosed(onClosed: () => void): void;
}

/**
 * Makes a session's output, which may take a while to be there. `onEnded` is called once, with the totals; `onFailed` when
 * there will be none, and the container has not been told of yet.
 */
export type StartOutput = (
  onEnded: (counters: LogCounters | undefined) => void,
  onFailed: (reason: string) => void,
) => Output | undefined;

/** What a session is made of; the caller wires it (src/main.ts). */
export interface SessionParts {
  readonly sys: Sys;
  readonly diag: Diag;
  readonly options: Options;
  readonly launch: Launch;
  readonly environment: Environment;
  readonly reaper: Reaper;
  readonly syncPipe: SyncPipe;
  /** Undefined with the passthrough driver: the runtime gets conmon's own streams. */
  readonly stdio: Stdio | undefined;
  /** Undefined without a bundle, or with passthrough: nobody can attach. */
  readonly attachFiles: AttachFiles | undefined;
  /** With --sdnotify-socket and a bundle; not for an exec, whose container has one already. */
  readonly notifyRelay: NotifyRelay | undefined;
  /** Where the console socket goes. */
  readonly temporaryDir: string;
  /** Fds that the caller left open for the container, ascending: kept for the runtime, closed before the exit notice. */
  readonly leakedFds: readonly number[];
  /** The caller's working directory, for the runtime and the exit command. */
  readonly cwdFd: number;
  /** conmon's oom_score_adj from before; '' = unknown. */
  readonly oomScoreAdj: string;
  readonly startOutput: StartOutput;
  /** Called once, with conmon's exit status, when everything is done. */
  readonly onDone: (status: number) => void;
  /** Only for a session that has joined another one's daemon. */
  readonly joined?: Joined;
  /** Whether other sessions need this process as it is; absent = there are none. */
  readonly sharesProcess?: () => boolean;
  /** Called when the container is gone or will not be, before anything else is done about it. */
  readonly onGone?: () => void;
}

/** What differs for a session in a daemon that holds others (docs/adr/0035-sessions.md). */
export interface Joined {
  /** Which numbers `leakedFds` have in the runtime, in the same order, ascending. */
  readonly runtimeFds: readonly number[];
  /** Where the runtime is born: a directory of cgroup v2; -1 = our own cgroup. */
  readonly cgroupFd: number;
  /** Path of the program that waits for --exit-delay when this process ends before it is over. */
  readonly laterPath: string;
}

export class Session {
  readonly parts: SessionParts;
  state: State = 'creating';
  /** -1 when there is none (any longer). */
  runtimePid = -1;
  containerPid = -1;
  /** Since when the container may have been made (Reaper.expect), while its pid is not known. */
  expectedSince: number | undefined;
  /** Exit status of the container as callers see it; -1 after a timeout. */
  containerStatus = -1;
  timedOut = false;
  exitCommandStarted = false;
  /** When --exit-delay is over, on performance.now()'s clock. */
  exitDelayEndsMs = 0;
  /** The daemon that this session has joined ends as soon as it may. */
  hostEnds = false;
  /** Fds of the parts that were closed or handed on. */
  readonly gone = { leakedFds: false, childStdio: false, outputs: false, cwd: false };
  /** Why the runtime was given up on; undefined while it was not. */
  createGivenUp: string | undefined;
  /** conmon's own exit status, as far as it is known. */
  status = 0;
  output: Output | undefined;
  console: ConsoleSocket | undefined;
  /** Attach clients that nobody could serve. */
  turnedAway = 0;
  /** Nobody can serve attach clients any longer. */
  turnsAway = false;
  /** Watches the attach socket for the next client; undefined when there is no socket (any longer). */
  awaitClient: (() => void) | undefined;
  /** Ends the watches of ctl, winsz and the attach socket; undefined when there are none (any longer). */
  stopListening: (() => void) | undefined;
  terminal: Terminal | undefined;
  /** Undefined when nobody would be told, and before there is a container. */
  oom: OomWatch | undefined;
  /** The last size that was asked for before there was a terminal. */
  wantedSize: { readonly rows: number; readonly columns: number } | undefined;
  readonly timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #queue: SessionEvent[] = [];
  #stepping = false;

  constructor(parts: SessionParts) {
    this.parts = parts;
  }

  /** Something happened. Events are taken one after the other, those that a step itself raises after it. */
  post(event: SessionEvent): void {
    this.#queue.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        const before = this.state;
        this.state = step(this, next);
        this.parts.diag.trace(`session: ${before} --${next.type}--> ${this.state}`);
      }
    } finally {
      this.#stepping = false;
    }
  }

  /** Posts `event` after so many seconds, however many. */
  postLater(seconds: number, event: SessionEvent): void {
    // setTimeout takes 2^31 - 1 ms; longer waits are made of several.
    const stepMs = Math.min(seconds * 1000, 2 ** 31 - 1);
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      const left = seconds - stepMs / 1000;
      if (left > 0) this.postLater(left, event);
      else this.post(event);
    }, stepMs);
    this.timers.add(timer);
  }

  /** No event of {@link postLater} comes any more. */
  cancelTimers(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }
}
