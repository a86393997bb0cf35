/**
 * The connection to journald: an AF_UNIX datagram socket that waits for a moment only, or not at all. It sends messages that lie in parts in
 * the shared memory, many with one call; what no datagram holds goes as a sealed file in memory. Runs on the log thread; no libsystemd.
 * Source: systemd's JOURNAL_NATIVE_PROTOCOL, sd_journal_sendv.
 */

import {
  EMSGSIZE,
  ENOBUFS,
  F_ADD_SEALS,
  F_SEAL_ALL,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
} from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/**
 * How long one message of a batch may wait for room. Ten datagrams fill a socket by default, and journald reads one at a time:
 * a batch that goes to sleep in the kernel between two of them costs a third of one that comes back to be polled for.
 */
const SEND_TIMEOUT_MS = 20;
const NO_BYTES = new Uint8Array(0);
/** A part's place in a table: its offset and its length. */
const PAIR = 2;

export class JournalSocket {
  readonly #sys: Sys;
  readonly #path: string;
  readonly #flags: number;
  #fd = -1;

  /** @param waits whether this thread has time for {@link SEND_TIMEOUT_MS} */
  constructor(sys: Sys, path: string, waits: boolean) {
    this.#sys = sys;
    this.#path = path;
    this.#flags = waits ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_DONTWAIT;
  }

  /** -1 while there is no connection. */
  get fd(): number {
    return this.#fd;
  }

  /** Connects if need be. @returns 0 or a negative errno. */
  connect(): number {
    if (this.#fd !== -1) return 0;
    const fd = this.#sys.socket(SOCK_DGRAM | SOCK_CLOEXEC);
    if (fd < 0) return fd;
    const limited = this.#sys.setSendTimeout(fd, SEND_TIMEOUT_MS);
    const result = limited < 0 ? limited : this.#sys.connect(fd, this.#path);
    if (result < 0) this.#sys.close(fd);
    else this.#fd = fd;
    return Math.min(result, 0);
  }

  /**
   * Sends messages of `partsEach` parts; `table` has an offset into `memory` and a length for each.
   * @returns how many were sent, at least one, or a negative errno.
   */
  send(memory: Uint8Array, table: Uint32Array, partsEach: number, count: number): number {
    const sent = this.#sys.sendmmsg(this.#fd, memory, table, partsEach, count, this.#flags);
    // ENOBUFS is what AF_UNIX says of one that is larger than the socket's buffer may be.
    return sent === EMSGSIZE || sent === ENOBUFS ? this.#sendFile(memory, table, partsEach) : sent;
  }

  close(): void {
    if (this.#fd !== -1) this.#sys.close(this.#fd);
    this.#fd = -1;
  }

  /** Sends the first message of `table` as a file that nobody can change any longer. @returns 1 or a negative errno. */
  #sendFile(memory: Uint8Array, table: Uint32Array, partsEach: number): number {
    const file = this.#sys.memfdCreate('conmon-journal', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return file;
    let result = 0;
    for (let part = 0; part < partsEach && result >= 0; part++)
      result = this.#writeAll(file, memory, table[PAIR * part] ?? 0, table[PAIR * part + 1] ?? 0);
    if (result >= 0) result = this.#sys.fcntl(file, F_ADD_SEALS, F_SEAL_ALL);
    if (result >= 0) result = this.#sys.sendmsg(this.#fd, NO_BYTES, 0, 0, Int32Array.of(file), this.#flags);
    this.#sys.close(file);
    return result < 0 ? result : 1;
  }

  #writeAll(fd: number, memory: Uint8Array, offset: number, length: number): number {
    for (let done = 0; done < length; ) {
      const written = this.#sys.write(fd, memory, offset + done, length - done);
      if (written < 0) return written;
      done += written;
    }
    return 0;
  }
}
