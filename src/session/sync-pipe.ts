/**
 * The sync pipe: conmon's answers to the engine (contract section 3). One message is one write. Main thread.
 */

import { constants, openSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { EAGAIN, EPIPE, MSG_DONTWAIT, MSG_NOSIGNAL, O_CLOEXEC, S_IFIFO, S_IFSOCK } from '../native/constants.ts';
import { fileKind } from '../native/files.ts';
import type { Sys } from '../native/sys.ts';
import { encodeSyncMessage, type SyncKey } from '../proto/sync-message.ts';

const NOTHING = Buffer.alloc(0);
const NO_FDS = new Int32Array(0);
/** A caller that does not read: its pipe takes all messages of a session unless somebody has filled it before. */
const RETRY_MS = 20;

type SyncCalls = Pick<Sys, 'write' | 'close' | 'strerror'>;

export class SyncPipe {
  readonly #sys: SyncCalls;
  readonly #diag: Diag;
  readonly #key: SyncKey;
  #fd: number;
  #rest: Buffer = NOTHING;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closing = false;

  /** @param fd -1 when the caller gave none: then nothing is sent. */
  constructor(sys: SyncCalls, diag: Diag, key: SyncKey, fd: number) {
    this.#sys = sys;
    this.#diag = diag;
    this.#key = key;
    this.#fd = fd;
  }

  /** -1 when there is none. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Sends one message. A caller that is gone is no error; the pipe is closed then. What a pipe that is not to be waited
   * for cannot take yet follows by and by.
   */
  send(value: number, message?: Uint8Array): void {
    if (this.#fd === -1) return;
    this.#rest = Buffer.concat([this.#rest, encodeSyncMessage(this.#key, value, message)]);
    if (this.#retry === undefined) this.#write();
  }

  /** What could not be sent yet follows all the same; then the pipe is closed. */
  close(): void {
    this.#closing = true;
    if (this.#retry === undefined) this.#reallyClose();
  }

  #write(): void {
    this.#retry = undefined;
    while (this.#rest.length > 0) {
      const result = this.#sys.write(this.#fd, this.#rest, 0, this.#rest.length);
      if (result === EAGAIN) {
        this.#retry = setTimeout(() => this.#write(), RETRY_MS);
        return;
      }
      if (result < 0) {
        if (result !== EPIPE) this.#diag.error(`Unable to send message to parent: ${this.#sys.strerror(result)}`);
        this.#reallyClose();
        return;
      }
      this.#rest = this.#rest.subarray(result);
    }
    if (this.#closing) this.#reallyClose();
  }

  #reallyClose(): void {
    this.#rest = NOTHING;
    if (this.#fd !== -1) this.#sys.close(this.#fd);
    this.#fd = -1;
  }
}

/**
 * How to write to a caller's pipe without ever waiting, and without a change of its flags: others hold it too. Throws what
 * opening it anew says. @returns an fd, a new one where that is needed, and a `sys` whose write is for it.
 */
export function withoutWaiting(sys: Sys, fd: number): { readonly fd: number; readonly sys: SyncCalls } {
  const kind = fileKind(sys, fd);
  if (kind === S_IFSOCK) {
    const write: Sys['write'] = (socketFd, bytes, offset, length) =>
      sys.sendmsg(socketFd, bytes, offset, length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    return { fd, sys: { write, close: sys.close, strerror: sys.strerror } };
  }
  if (kind !== S_IFIFO) return { fd, sys };
  return { fd: openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | O_CLOEXEC), sys };
}
