/**
 * The sync pipe: conmon's answers to the engine (contract section 3). One message is one write. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import { EPIPE } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { encodeSyncMessage, type SyncKey } from '../proto/sync-message.ts';

export class SyncPipe {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #key: SyncKey;
  #fd: number;

  /** @param fd -1 when the caller gave none: then nothing is sent. */
  constructor(sys: Sys, diag: Diag, key: SyncKey, fd: number) {
    this.#sys = sys;
    this.#diag = diag;
    this.#key = key;
    this.#fd = fd;
  }

  /** -1 when there is none. */
  get fd(): number {
    return this.#fd;
  }

  /** Sends one message. A caller that is gone is no error; the pipe is closed then. */
  send(value: number, message?: Uint8Array): void {
    if (this.#fd === -1) return;
    const bytes = encodeSyncMessage(this.#key, value, message);
    for (let at = 0; at < bytes.length; ) {
      const result = this.#sys.write(this.#fd, bytes, at, bytes.length - at);
      if (result < 0) {
        if (result !== EPIPE) this.#diag.error(`Unable to send message to parent: ${this.#sys.strerror(result)}`);
        this.close();
        return;
      }
      at += result;
    }
  }

  close(): void {
    if (this.#fd !== -1) this.#sys.close(this.#fd);
    this.#fd = -1;
  }
}
