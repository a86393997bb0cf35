/**
 * One launcher's connection to the session socket: our word that we are there, its one message with the hand-over, our
 * answer, and with --sync what both say until the session has ended. It judges nothing; main thread; never waits (docs/adr/0035-sessions.md).
 */

import { EAGAIN, MSG_DONTWAIT, MSG_NOSIGNAL, SIGINT, SIGQUIT, SIGTERM } from '../native/constants.ts';
import type { Sys, Watch } from '../native/sys.ts';
import { ENDED, GO, HAND_OVER_MAX, TAKEN_LEAVE, TAKEN_STAY } from '../session/hand-over.ts';
import type { Session } from '../session/session.ts';

/** What fits the launcher's buffer, and more than anybody reads. */
const TEXT_MAX = 16384;
const FORWARDED = [SIGTERM, SIGINT, SIGQUIT];
const NO_FDS = new Int32Array(0);

export interface ConnectionHandler {
  /** The hand-over; the fds are the handler's. */
  onHandOver(connection: Connection, bytes: Uint8Array, fds: readonly number[]): void;
  /** Nobody is there any longer, or has ever been. */
  onGone(connection: Connection): void;
}

/** Where messages are received: one for all connections, used for one call each. */
export interface ConnectionScratch {
  /** HAND_OVER_MAX bytes and one more. */
  readonly bytes: Uint8Array;
  /** How many fds came, and these: all that a hand-over can have. */
  readonly fds: Int32Array;
}

export class Connection {
  readonly fd: number;
  /** When it was accepted, on performance.now()'s clock. */
  readonly sinceMs = performance.now();
  readonly #sys: Sys;
  readonly #handler: ConnectionHandler;
  readonly #scratch: ConnectionScratch;
  #watch: Watch | undefined;
  #session: Pick<Session, 'post'> | undefined;
  #handedOver = false;
  #open = true;

  /** Takes a non-blocking connection over. */
  constructor(sys: Sys, fd: number, scratch: ConnectionScratch, handler: ConnectionHandler) {
    this.#scratch = scratch;
    this.#sys = sys;
    this.fd = fd;
    this.#handler = handler;
  }

  /**
   * Asks for the hand-over: the caller's fds must not wait in the queue of a daemon that hangs, since the caller waits for
   * their end.
   */
  start(): void {
    const go = Uint8Array.of(GO.charCodeAt(0));
    const watch = this.#sys.watch(this.fd, () => this.#read());
    if (typeof watch !== 'number') this.#watch = watch;
    const sent = this.#sys.sendmsg(this.fd, go, 0, 1, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent !== 1 || this.#watch === undefined) this.close();
  }

  /** The hand-over is still to come. */
  get silent(): boolean {
    return !this.#handedOver;
  }

  /**
   * Says that the exec is ours. @returns whether the launcher agrees: it cannot start it any more. false: it has given up,
   * and has started a conmon of its own or will.
   */
  take(stay: boolean, text: string): boolean {
    const message = Buffer.from((stay ? TAKEN_STAY : TAKEN_LEAVE) + text.slice(0, TEXT_MAX)).subarray(0, TEXT_MAX);
    const result = this.#sys.sendmsg(this.fd, message, 0, message.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    return result === message.length;
  }

  /** From now on the launcher's signals are the session's, and its end too. */
  listen(session: Pick<Session, 'post'>): void {
    this.#session = session;
  }

  /** Tells the launcher that waits the session's status, its own from now on. */
  end(status: number): void {
    if (!this.#open) return; // the number may be another file's by now
    const message = Uint8Array.of(ENDED.charCodeAt(0), status & 0xff);
    this.#sys.sendmsg(this.fd, message, 0, message.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    this.close();
  }

  /** Without an answer this is a refusal. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#watch) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
    this.#sys.close(this.fd);
    this.#handler.onGone(this);
  }

  #read(): void {
    if (!this.#open) return;
    const { bytes, fds } = this.#scratch;
    fds[0] = 0;
    const length = this.#sys.recvmsg(this.fd, bytes, 0, bytes.length, fds, MSG_DONTWAIT);
    if (length === EAGAIN) return;
    const received = [...fds.subarray(1, 1 + (fds[0] ?? 0))];
    if (this.#handedOver) this.#hearSignal(length, received);
    else if (length <= 0 || length > HAND_OVER_MAX) {
      for (const fd of received) this.#sys.close(fd);
      this.close();
    } else {
      this.#handedOver = true;
      this.#handler.onHandOver(this, bytes.subarray(0, length), received);
    }
  }

  /** One byte, the signal's number. Anything else is no launcher's. */
  #hearSignal(length: number, received: readonly number[]): void {
    for (const fd of received) this.#sys.close(fd);
    const signal = this.#scratch.bytes[0] ?? 0;
    if (length === 1 && FORWARDED.includes(signal)) this.#session?.post({ type: 'signal', signal });
    else {
      this.#session?.post({ type: 'abandoned' });
      this.close();
    }
  }
}
