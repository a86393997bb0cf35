/**
 * The container's sd_notify socket, BUNDLE/notify/notify.sock, and what is handed on from it to the service manager of
 * the host (contract section 10). Main thread: a container says a few words in its life, which are not worth a thread
 * (docs/adr/0019). It holds at most one message; what the manager does not take is dropped, counted and told.
 */

import { closeSync, constants, fchmodSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import {
  EAGAIN,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  O_CLOEXEC,
  O_PATH,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from '../native/constants.ts';
import { failureText, type Sys, type Watch } from '../native/sys.ts';
import { NOTIFICATION_MAX, relayedPart } from '../proto/sd-notify.ts';

const NAME = 'notify.sock';
/** The container may run as any user. */
const MODE = 0o777;
/** Datagrams taken before the event loop has its turn: a container that floods must not delay its own exit's notice. */
const MESSAGES_A_TURN = 16;
/** What waits in the socket at the container's end is at most this many (net.unix.max_dgram_qlen, 10 or 512). */
const MESSAGES_AT_END = 1024;
/** How often, and how many times, a manager whose queue is full is tried. */
const RETRY_MS = 100;
const RETRIES_MAX = 50;
const NO_FDS = new Int32Array(0);

export class NotifyRelay {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #hostPath: string;
  readonly #socketPath: string;
  #fd = -1;
  #hostFd = -1;
  #watch: Watch | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  readonly #bytes = new Uint8Array(NOTIFICATION_MAX);
  /** Room for no fd: those that come along are closed. */
  readonly #noFds = new Int32Array(1);
  /** Nothing is tried again any longer. */
  #ending = false;
  #refusedLines = 0;
  #lostMessages = 0;

  /** Makes the socket anew and listens. `BUNDLE/notify` is the engine's. Throws ConmonError NOTIFY. */
  constructor(sys: Sys, diag: Diag, bundle: string, hostPath: string) {
    this.#sys = sys;
    this.#diag = diag;
    this.#hostPath = hostPath;
    this.#socketPath = join(bundle, 'notify', NAME);
    try {
      this.#hostFd = newSocket(sys);
      this.#fd = newSocket(sys);
      this.#bind(join(bundle, 'notify'));
      this.#listen();
    } catch (error) {
      this.close();
      throw error;
    }
    // Any local user may take an abstract name first, and there is no way to say one to our sockets.
    if (hostPath.startsWith('@'))
      diag.warn(`sd-notify: ${hostPath} is an abstract socket, which is not supported: nothing is relayed`);
  }

  /** The container is gone: hands on what it said last, and ends. */
  finish(): void {
    if (this.#fd === -1) return;
    this.#ending = true;
    this.#giveUpRetry();
    for (let i = 0; i < MESSAGES_AT_END && this.#takeOne(); i++);
    this.close();
  }

  /** Ends at once. */
  close(): void {
    this.#giveUpRetry();
    this.#pause();
    for (const fd of [this.#fd, this.#hostFd]) if (fd >= 0) this.#sys.close(fd);
    this.#fd = -1;
    this.#hostFd = -1;
    if (this.#refusedLines > 1) this.#diag.warn(`sd-notify: ${this.#refusedLines} lines in all were not relayed`);
    if (this.#lostMessages > 1) this.#diag.warn(`sd-notify: ${this.#lostMessages} messages in all were lost`);
    this.#refusedLines = 0;
    this.#lostMessages = 0;
  }

  /** There is no container: leaves nothing behind. */
  remove(): void {
    this.close();
    discard(this.#socketPath);
  }

  /**
   * Through the directory's fd, so that its path may be of any length. The container may have written to the directory in
   * an earlier life: no link in it is followed.
   */
  #bind(directory: string): void {
    const flags = constants.O_DIRECTORY | constants.O_NOFOLLOW | O_PATH | O_CLOEXEC;
    let directoryFd: number;
    try {
      directoryFd = openSync(directory, flags);
    } catch (error) {
      throw new ConmonError('NOTIFY', `Failed to open notify directory ${directory}:`, { reason: failureText(error) });
    }
    // The file is born with the socket's mode less the umask. A chmod by name later could hit something else.
    const umask = process.umask(0);
    try {
      const path = `/proc/self/fd/${directoryFd}/${NAME}`;
      discard(path);
      fchmodSync(this.#fd, MODE);
      const result = this.#sys.bind(this.#fd, path);
      if (result < 0)
        throw new ConmonError('NOTIFY', `Failed to bind notify socket ${this.#socketPath}:`, {
          reason: this.#sys.strerror(result),
        });
    } finally {
      process.umask(umask);
      closeSync(directoryFd);
    }
  }

  #listen(): void {
    const watch = this.#sys.watch(this.#fd, () => this.#take());
    if (typeof watch === 'number')
      throw new ConmonError('NOTIFY', 'Failed to watch notify socket', { reason: this.#sys.strerror(watch) });
    this.#watch = watch;
  }

  #pause(): void {
    if (this.#watch) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
  }

  #take(): void {
    for (let i = 0; i < MESSAGES_A_TURN && this.#retry === undefined && this.#takeOne(); i++);
  }

  /** @returns false when there is none. */
  #takeOne(): boolean {
    // With MSG_TRUNC the answer is the datagram's length, also when that is more than there is room for.
    const flags = MSG_DONTWAIT | MSG_TRUNC;
    const length = this.#sys.recvmsg(this.#fd, this.#bytes, 0, NOTIFICATION_MAX, this.#noFds, flags);
    if (length === EAGAIN) return false;
    if (length < 0) {
      this.#pause(); // or we would be called again and again
      this.#diag.warn(`sd-notify: read failed ${this.#sys.strerror(length)}: nothing more is relayed`);
      return false;
    }
    if (length > NOTIFICATION_MAX) {
      this.#lose(`a message of ${length} bytes is too long`);
      return true;
    }
    const { bytes, refusedLines } = relayedPart(this.#bytes.subarray(0, length));
    if (refusedLines > 0 && this.#refusedLines === 0)
      this.#diag.warn('sd-notify: a line was not relayed: not allowed, or too long');
    this.#refusedLines += refusedLines;
    if (bytes.length > 0) this.#send(bytes, 0);
    return true;
  }

  /** Connects each time: the manager may come late, or come back under the same name. */
  #send(bytes: Buffer, retries: number): void {
    const connected = this.#sys.connect(this.#hostFd, this.#hostPath);
    const result =
      connected < 0
        ? connected
        : this.#sys.sendmsg(this.#hostFd, bytes, 0, bytes.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result >= 0) return;
    if (result !== EAGAIN || retries === RETRIES_MAX || this.#ending) {
      this.#lose(`Failed to write host notify socket ${this.#hostPath}: ${this.#sys.strerror(result)}`);
      return;
    }
    // Its queue is full. Until it takes this one the next stays where it is, and the container's own sends wait.
    this.#pause();
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#send(bytes, retries + 1);
      if (this.#retry === undefined) this.#listenAgain();
    }, RETRY_MS);
  }

  #giveUpRetry(): void {
    if (this.#retry === undefined) return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#lose(`${this.#hostPath} does not take messages`);
  }

  #listenAgain(): void {
    if (this.#fd === -1 || this.#watch !== undefined) return;
    try {
      this.#listen();
    } catch (error) {
      this.#diag.warn(`sd-notify: ${failureText(error)}: nothing more is relayed`);
    }
  }

  /** Told once; the container decides how often it happens. */
  #lose(text: string): void {
    if (this.#lostMessages++ === 0) this.#diag.warn(`sd-notify: ${text}`);
  }
}

function newSocket(sys: Sys): number {
  const fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) throw new ConmonError('NOTIFY', 'Failed to create notify socket', { reason: sys.strerror(fd) });
  return fd;
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is not there; whatever else keeps it shows when the new one is made.
  }
}
