/**
 * The daemon's further sessions: execs that join it. Judges each hand-over, makes a session of it or refuses, and keeps
 * book until its end. A refusal costs the launcher nothing: it then starts a conmon of its own, as without us. Main
 * thread; docs/adr/0035-sessions.md.
 */

import { readlinkSync } from 'node:fs';
import type { Options } from '../cli/options.ts';
import { Diag, type DiagPlan } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import { EAGAIN, POLLIN, SOCK_CLOEXEC, SOCK_NONBLOCK } from '../native/constants.ts';
import { collectGarbage } from '../native/garbage.ts';
import type { Sys } from '../native/sys.ts';
import { Environment } from '../session/environment.ts';
import {
  ENTRY_FDS_MAX,
  HAND_OVER_MAX,
  type HandOver,
  OWN_FDS,
  parseHandOver,
  readBlock,
} from '../session/hand-over.ts';
import type { Launch } from '../session/launch.ts';
import { type Peer, Peers, peerOf } from '../session/peer.ts';
import { release } from '../session/release.ts';
import { type Call, whyNotJoin } from '../session/same-container.ts';
import type { Session } from '../session/session.ts';
import { Connection, type ConnectionScratch } from './connection.ts';

/** More sessions at once have daemons of their own: what one process can lose is bounded. */
const SESSIONS_MAX = 256;
/** Connections that are taken from the backlog in one turn of the loop. */
const ACCEPTS_A_TURN = 8;
/** A launcher gives up after a second; one that has not said anything by then never will. */
const SILENCE_MS = 1000;

/**
 * Ended sessions after which garbage is collected: V8 sees no reason to for tens of megabytes (20 MB after 1200 execs,
 * measured 2026-11). One collection takes some 5 ms.
 */
const SESSIONS_A_COLLECTION = 128;

/** A trim takes some 0.1 ms. */
const TRIM_AFTER_MS = 500;

/** An exec as its launcher has handed it over. */
export interface Joiner {
  readonly launch: Launch;
  readonly cwdFd: number;
  readonly environment: Environment;
  readonly oomScoreAdj: string;
  /** The fd that the environment variable `name` holds, in this process; -1 = it is not set. Throws ConmonError PIPE. */
  readonly pipe: (name: string) => number;
  /** All fds of the caller's, in this process, ascending by the numbers they had. */
  readonly fds: readonly number[];
  readonly diag: Diag;
  readonly cgroupFd: number;
  readonly laterPath: string;
  readonly onDone: (status: number) => void;
}

/** How main makes a session; the same for one that joins. */
export interface SessionMaker {
  /** Throws with the reason when the command line is not one of a session. */
  parse(argv: readonly string[], rawArgv: readonly Buffer[], environment: Environment, cwd: () => string): ParsedCall;
  diagPlan(options: Options): DiagPlan;
  /** Throws ConmonError, with nothing left but what `joiner` brought. */
  make(joiner: Joiner, options: Options): MadeSession;
}

export interface ParsedCall {
  readonly options: Options;
  readonly warnings: readonly string[];
}

export interface MadeSession {
  readonly session: Session;
  /** Starts it, or first waits for the caller's second go. */
  begin(): void;
  /** Undoes everything: it was never begun. */
  cancel(): void;
  /** Closes what begin waits for and what no worker has taken; called once it has ended. */
  close(): void;
}

export interface HostParts {
  readonly sys: Sys;
  readonly diag: Diag;
  /** The container's own session. */
  readonly container: Session;
  readonly build: string;
  /** Our own limit at entry; Node has raised the soft one to it. -1 = unlimited. */
  readonly nofileHard: number;
  readonly laterPath: string;
  readonly maker: SessionMaker;
  /** Ends the process. */
  readonly leave: (status: number) => void;
  /** Called a moment after an exec, once for all that come until then: what is kept for the next one can go. */
  readonly onRest: () => void;
}

/** What is told of a session while its launcher still holds the caller's stderr; then undefined. */
interface Told {
  text: string | undefined;
}

/** A session that its launcher does not know of yet. */
interface Candidate {
  readonly made: MadeSession;
  readonly told: Told;
}

export class Host {
  readonly #parts: HostParts;
  readonly #peers: Peers;
  readonly #connections = new Set<Connection>();
  readonly #sessions = new Set<Session>();
  /** The container's status once its session is done: we stay for nobody but sessions that are not. */
  #leaving: number | undefined;
  #endedSinceCollection = 0;
  #trim: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  /** One for all: a hand-over is read and parsed in one go. */
  readonly #scratch: ConnectionScratch = {
    bytes: new Uint8Array(HAND_OVER_MAX + 1),
    fds: new Int32Array(1 + OWN_FDS + ENTRY_FDS_MAX),
  };

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.#peers = new Peers(parts.sys);
  }

  /** Whether sessions are here that need this process as it is. */
  get busy(): boolean {
    return this.#sessions.size > 0;
  }

  /** Somebody is in the backlog of the session socket. @returns false when nobody can be accepted now. */
  accept(listenFd: number): boolean {
    for (let i = 0; i < ACCEPTS_A_TURN; i++) {
      const fd = this.#parts.sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return fd === EAGAIN;
      const connection = new Connection(this.#parts.sys, fd, this.#scratch, {
        onHandOver: (each, bytes, fds) => this.#judge(each, bytes, fds),
        onGone: (each) => this.#connections.delete(each),
      });
      this.#connections.add(connection);
      connection.start();
      this.#silence ??= setTimeout(() => this.#endSilence(), SILENCE_MS);
    }
    return true;
  }

  /** One timer for all connections, and not one for each: what a launcher has to say comes in no time. */
  #endSilence(): void {
    const nowMs = performance.now();
    let leftMs = Number.POSITIVE_INFINITY;
    for (const connection of this.#connections) {
      if (!connection.silent) continue;
      const waitMs = connection.sinceMs + SILENCE_MS - nowMs;
      if (waitMs > 0) leftMs = Math.min(leftMs, waitMs);
      else connection.close();
    }
    this.#silence =
      leftMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => this.#endSilence(), Math.ceil(leftMs));
  }

  /** The container's session is done, with conmon's status. Ends the process as soon as no session needs it. */
  containerDone(status: number): void {
    this.#leaving = status;
    for (const session of this.#sessions) session.post({ type: 'hostEnds' });
    this.#leaveIfDone();
  }

  #leaveIfDone(): void {
    if (this.#leaving !== undefined && this.#sessions.size === 0) this.#parts.leave(this.#leaving);
  }

  /** Takes the fds over. Everything that goes wrong before the launcher was told "taken" is a refusal. */
  #judge(connection: Connection, bytes: Uint8Array, fds: readonly number[]): void {
    const opened = new Set(fds);
    let candidate: Candidate | undefined;
    let peer: Peer | undefined;
    try {
      peer = peerOf(this.#parts.sys, connection.fd);
      candidate = this.#prepare(connection, parseHandOver(bytes), fds, peer, opened);
    } catch (error) {
      this.#parts.diag.debug(`an exec has not joined: ${errorText(error)}`);
      for (const fd of opened) this.#parts.sys.close(fd);
    }
    if (peer !== undefined && peer.pidfd !== -1) this.#parts.sys.close(peer.pidfd);
    if (candidate === undefined) connection.close();
    else this.#begin(connection, candidate);
  }

  /** `opened` is what has to be closed when this throws. */
  #prepare(
    connection: Connection,
    handOver: HandOver,
    fds: readonly number[],
    peer: Peer,
    opened: Set<number>,
  ): Candidate {
    const { sys, container, build, maker, laterPath } = this.#parts;
    const [environFd = -1, argumentsFd = -1, cwdFd = -1, ...callersFds] = fds;
    if (handOver.build !== build) throw new ConmonError('JOIN', 'it is of another build');
    if (container.state !== 'running') throw new ConmonError('JOIN', 'the container is not running');
    if (this.#sessions.size >= SESSIONS_MAX) throw new ConmonError('JOIN', 'too many sessions are here');
    if (fds.length !== OWN_FDS + handOver.entryFds.length) throw new ConmonError('JOIN', 'fds are missing');
    this.#checkLimits(handOver);
    this.#peers.check(peer);
    const environment = new Environment(readBlock(sys, environFd));
    const call = this.#parse(readBlock(sys, argumentsFd), environment, cwdFd);
    const refusal = whyNotJoin(callOf(container), { options: call.options, environment });
    if (refusal !== undefined) throw new ConmonError('JOIN', refusal);
    const cgroupFd = this.#peers.cgroupOf(peer.pid);
    if (cgroupFd >= 0) opened.add(cgroupFd);
    const told: Told = { text: '' };
    const { nofileSoft, nofileHard, entryFds, oomScoreAdj } = handOver;
    const joiner: Joiner = {
      launch: { statusFd: -1, environFd: -1, nofileSoft, nofileHard, entryFds, launcherPid: peer.pid },
      cwdFd,
      environment,
      oomScoreAdj,
      pipe: (name) => pipeOf(environment, name, entryFds, callersFds),
      fds: callersFds,
      diag: this.#diagUntilTaken(call.options, told),
      cgroupFd,
      laterPath,
      onDone: (status) => this.#done(connection, made, status),
    };
    for (const warning of call.warnings) joiner.diag.warn(warning);
    // A launcher says nothing before our answer. One that has given up is starting a conmon of its own, whose files must stay.
    if (sys.poll(Int32Array.of(connection.fd, POLLIN), 1, 0) !== 0)
      throw new ConmonError('JOIN', 'its launcher has given up');
    const made = maker.make(joiner, call.options);
    for (const fd of [environFd, argumentsFd]) sys.close(fd);
    return { made, told };
  }

  #parse(block: Buffer, environment: Environment, cwdFd: number): ParsedCall {
    const rawArgv = splitBlock(block).slice(1);
    const argv = rawArgv.map((each) => each.toString());
    return this.#parts.maker.parse(argv, rawArgv, environment, () => directoryOf(cwdFd));
  }

  /** What the runtime could not be given would fail the exec, or differ. */
  #checkLimits({ nofileHard, entryFds, oomScoreAdj }: HandOver): void {
    const own = this.#parts.nofileHard;
    const highest = entryFds.at(-1) ?? 0;
    if (own !== -1 && (nofileHard === -1 || nofileHard > own || highest >= own))
      throw new ConmonError('JOIN', 'it may have more open files');
    // Lowering it may not be allowed, and an unknown one would become ours.
    if (oomScoreAdj === '' || Number(oomScoreAdj) < Number(this.#peers.read('/proc/self/oom_score_adj')))
      throw new ConmonError('JOIN', 'it has another oom_score_adj');
  }

  /** Before the launcher leaves, its stderr is the caller's; afterwards only the system's log hears of a session. */
  #diagUntilTaken(options: Options, told: Told): Diag {
    const { sys, maker } = this.#parts;
    const write: Sys['write'] = (_fd, bytes, offset, length) => {
      if (told.text !== undefined) told.text += Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).toString();
      return length;
    };
    return new Diag({ ...sys, write }, maker.diagPlan(options));
  }

  #begin(connection: Connection, { made, told }: Candidate): void {
    const { session } = made;
    const { sync } = session.parts.options;
    if (sync) connection.listen(session);
    if (!connection.take(sync, told.text ?? '')) {
      this.#parts.diag.debug('an exec has not joined: its launcher has gone');
      made.cancel();
      connection.close();
      return;
    }
    told.text = undefined;
    this.#sessions.add(session);
    this.#parts.diag.debug(`an exec has joined, ${this.#sessions.size} are here`);
    if (!sync) connection.close();
    made.begin();
  }

  #done(connection: Connection, made: MadeSession, status: number): void {
    const { session } = made;
    if (!this.#sessions.delete(session)) return;
    connection.end(status);
    const close = (): void => {
      release(session);
      made.close();
      session.parts.diag.close();
    };
    if (session.output) session.output.whenClosed(close);
    else close();
    this.#leaveIfDone();
    this.#collect();
    this.#trimSoon();
  }

  /** When nobody is here, or many have been. */
  #collect(): void {
    this.#endedSinceCollection++;
    const due = this.#endedSinceCollection >= SESSIONS_A_COLLECTION;
    if (!due || (this.busy && this.#endedSinceCollection < 4 * SESSIONS_A_COLLECTION)) return;
    this.#endedSinceCollection = 0;
    setImmediate(collectGarbage);
  }

  /**
   * V8 takes up to 17 MB of malloc for a moment when it compiles, and what comes meanwhile lies above that and keeps it. So malloc
   * gives back what it can do without soon after an exec, once for all that come until then.
   */
  #trimSoon(): void {
    this.#trim ??= setTimeout(() => {
      this.#trim = undefined;
      this.#parts.onRest();
      this.#parts.sys.mallocTrim();
    }, TRIM_AFTER_MS);
  }
}

function callOf(session: Session): Call {
  return { options: session.parts.options, environment: session.parts.environment };
}

/** Throws ConmonError PIPE for a value that is none of the caller's fds. */
function pipeOf(environment: Environment, name: string, numbers: readonly number[], fds: readonly number[]): number {
  const value = environment.get(name);
  if (value === undefined || value === '') return -1;
  const fd = /^\d+$/.test(value) ? fds[numbers.indexOf(Number(value))] : undefined;
  if (fd === undefined) throw new ConmonError('PIPE', `${name} names no fd that was handed over`);
  return fd;
}

/** Throws ConmonError CWD when the directory was deleted. */
function directoryOf(fd: number): string {
  const path = readlinkSync(`/proc/self/fd/${fd}`);
  if (!path.startsWith('/') || path.endsWith(' (deleted)'))
    throw new ConmonError('CWD', 'the working directory is gone');
  return path;
}

/** NUL-terminated strings. */
function splitBlock(block: Buffer): readonly Buffer[] {
  const strings: Buffer[] = [];
  for (let from = 0; from < block.length; ) {
    const end = block.indexOf(0, from);
    strings.push(block.subarray(from, end));
    from = end + 1;
  }
  return strings;
}
