/**
 * Sends short records to attach clients from the log thread, as soon as the log has them: a second thread is not woken for a
 * line. It may while it holds the baton (src/ring/baton.ts). It never waits, and closes nothing: what a client does not take
 * at once, and whoever is gone, is left to the attach thread.
 */

import { MSG_DONTWAIT, MSG_NOSIGNAL } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../proto/attach-messages.ts';
import type { OutgoingRecord } from './client.ts';

/** The log thread's side of the baton. */
export interface LentBaton {
  readonly offered: boolean;
  tryTake(): boolean;
  layDown(): void;
  readonly count: number;
  fd(i: number): number;
  readonly position: number;
  readonly sent: number;
  begin(): void;
  settle(bytes: number): void;
  advance(position: number): void;
}

export interface DirectSenderParts {
  readonly sys: Sys;
  /** The session's shared memory. */
  readonly bytes: Uint8Array;
  readonly baton: LentBaton;
  /** Finds records of the ring (src/ring/consumer.ts). */
  readonly source: OutgoingRecord & { find(position: number): boolean };
  /** Wakes the attach thread if it sleeps. */
  wake(): void;
}

export class DirectSender {
  readonly #parts: DirectSenderParts;

  constructor(parts: DirectSenderParts) {
    this.#parts = parts;
  }

  /** Whether a record of so many bytes may be sent from here: it is one packet, which a socket takes whole or not at all. */
  takes(bytes: number): boolean {
    return bytes <= PACKET_PAYLOAD_MAX && this.#parts.baton.offered;
  }

  /**
   * Sends every client what it does not have yet. Whatever cannot be sent is the attach thread's, which is woken then: also
   * when the baton was taken back meanwhile, since nobody has been told of the last record.
   */
  send(): void {
    const { baton, wake } = this.#parts;
    let all = false;
    if (baton.tryTake()) {
      all = this.#sendAll();
      baton.layDown();
    }
    if (!all) wake();
  }

  #sendAll(): boolean {
    const { baton, source } = this.#parts;
    while (source.find(baton.position)) {
      // Longer ones were not committed for us; that thread has been woken for them.
      if (source.length > PACKET_PAYLOAD_MAX || !this.#sendRecord()) return false;
      baton.advance(source.after);
    }
    return true;
  }

  /** @returns whether all clients have it now. */
  #sendRecord(): boolean {
    const { sys, bytes, baton, source } = this.#parts;
    const { typeOffset, offset, length } = source;
    for (let i = baton.sent; i < baton.count; i++) {
      baton.begin();
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      const result = sys.sendPackets(baton.fd(i), bytes, typeOffset, offset, length, PACKET_PAYLOAD_MAX, flags);
      baton.settle(result === 1 ? length : 0);
      if (result !== 1) return false; // full, or gone: the attach thread finds out which
    }
    return true;
  }
}
