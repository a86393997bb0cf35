/**
 * The console socket: where the runtime sends the master of the container's terminal (contract section 5). A fresh path
 * that only this user can connect to; gone as soon as somebody did. Main thread; never waits.
 */

import { fchmodSync, unlinkSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import {
  EADDRINUSE,
  EAGAIN,
  F_GETFL,
  F_SETFL,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../native/constants.ts';
import { failureText, type Sys, type Watch } from '../native/sys.ts';

const NAME_LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const NAME_RADIX = BigInt(NAME_LETTERS.length);
const NAME_LENGTH = 8;
const NAMES_TRIED = 16;
/** The runtime sends the terminal's name with it (runc's, crun's `/dev/pts/N`); nobody needs it. */
const MESSAGE_MAX = 4096;
/** Exactly one fd is wanted; a second slot tells when there were more. */
const FD_SLOTS = 3;
const TERMIOS_MAX = 64;
/** struct termios on Linux: c_oflag is its second word. */
const OFLAG_INDEX = 1;
const ONLCR = 0x4;

export class ConsoleSocket {
  readonly path: string;
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #onReady: () => void;
  /** The listening socket, then the runtime's connection. */
  #fd: number;
  #connected = false;
  #watch: Watch | undefined;

  private constructor(sys: Sys, diag: Diag, path: string, fd: number, onReady: () => void) {
    this.#sys = sys;
    this.#diag = diag;
    this.path = path;
    this.#fd = fd;
    this.#onReady = onReady;
  }

  /** Listens at a new path in `directory`. `onReady` says when {@link receive} is worth a try. Throws ConmonError CONSOLE. */
  static open(sys: Sys, diag: Diag, directory: string, onReady: () => void): ConsoleSocket {
    const fd = sys.socket(SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) throw new ConmonError('CONSOLE', 'Failed to create socket', { reason: sys.strerror(fd) });
    fchmodSync(fd, 0o700); // the socket file is born with it
    let result = EADDRINUSE;
    let path = '';
    for (let i = 0; i < NAMES_TRIED && result === EADDRINUSE; i++) {
      path = `${directory}/conmon-term.${unusedName()}`;
      result = sys.bind(fd, path);
    }
    if (result < 0) {
      sys.close(fd);
      throw new ConmonError('CONSOLE', `Failed to bind to console-socket ${path}:`, { reason: sys.strerror(result) });
    }
    const socket = new ConsoleSocket(sys, diag, path, fd, onReady);
    try {
      result = sys.listen(fd, 1);
      if (result < 0)
        throw new ConmonError('CONSOLE', 'Failed to listen on console-socket', { reason: sys.strerror(result) });
      socket.#startWatch();
    } catch (error) {
      socket.close();
      throw error;
    }
    return socket;
  }

  /**
   * The terminal's master, once the runtime has sent it: non-blocking, ONLCR set, the caller's to close. undefined when
   * it has not come yet. Throws ConmonError CONSOLE when something else came.
   */
  receive(): number | undefined {
    if (this.#fd === -1) return undefined;
    if (!this.#connected && !this.#accept()) return undefined;
    const fds = new Int32Array(1 + FD_SLOTS);
    const bytes = new Uint8Array(MESSAGE_MAX);
    const result = this.#sys.recvmsg(this.#fd, bytes, 0, MESSAGE_MAX, fds, 0);
    if (result === EAGAIN) return undefined;
    this.close();
    const received = [...fds.subarray(1, 1 + (fds[0] ?? 0))];
    const [master] = received;
    if (master === undefined || received.length > 1 || !this.#adopt(master)) {
      for (const fd of received) this.#sys.close(fd);
      throw new ConmonError('CONSOLE', 'Runtime did not set up terminal: it sent something else than one terminal');
    }
    return master;
  }

  /** Stops waiting and leaves nothing behind. */
  close(): void {
    this.#stopWatch();
    if (this.#fd === -1) return;
    this.#sys.close(this.#fd);
    this.#fd = -1;
    if (!this.#connected) this.#unlink();
  }

  /** Takes the first connection; no other is wanted. */
  #accept(): boolean {
    const fd = this.#sys.accept4(this.#fd, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd === EAGAIN) return false;
    if (fd < 0) {
      this.close(); // or we would be called again and again
      throw new ConmonError('CONSOLE', 'Failed to accept console-socket connection:', {
        reason: this.#sys.strerror(fd),
      });
    }
    this.#stopWatch();
    this.#sys.close(this.#fd);
    this.#unlink();
    this.#fd = fd;
    this.#connected = true;
    this.#startWatch();
    return true;
  }

  /** kubelet expects \n to become \r\n. @returns false when it is no terminal. */
  #adopt(fd: number): boolean {
    const attributes = new Uint8Array(TERMIOS_MAX);
    if (this.#sys.tcgetattr(fd, attributes) < 0) return false;
    const words = new Uint32Array(attributes.buffer);
    words[OFLAG_INDEX] = (words[OFLAG_INDEX] ?? 0) | ONLCR;
    if (this.#sys.tcsetattr(fd, attributes) < 0) this.#diag.warn('Failed to set console terminal settings');
    this.#sys.fcntl(fd, F_SETFL, this.#sys.fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    return true;
  }

  #startWatch(): void {
    const watch = this.#sys.watch(this.#fd, () => this.#onReady());
    if (typeof watch === 'number')
      throw new ConmonError('CONSOLE', 'Failed to watch console-socket', { reason: this.#sys.strerror(watch) });
    this.#watch = watch;
  }

  #stopWatch(): void {
    if (this.#watch) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
  }

  #unlink(): void {
    try {
      unlinkSync(this.path);
    } catch (error) {
      this.#diag.warn(`failed to unlink ${this.path}: ${failureText(error)}`);
    }
  }
}

/**
 * Only has to be unused: the socket's mode keeps others out, not its name. Nanoseconds, because Math.random gives one of few
 * series here, whose names somebody could take beforehand (docs/adr/0043-flags-and-the-code-cache.md).
 */
function unusedName(): string {
  let left = process.hrtime.bigint();
  let name = '';
  for (let i = 0; i < NAME_LENGTH; i++) {
    name += NAME_LETTERS[Number(left % NAME_RADIX)];
    left /= NAME_RADIX;
  }
  return name;
}
