/**
 * Sends short records to attach clients from the log thread, before the log gets them: a second thread is not woken for a
 * line, and no client waits for a disk. It may while it holds the baton (src/ring/baton.ts). It never waits, and closes nothing:
 * what a client does not take at once, and whoever is gone, is left to the attach thread.
 */

import type { Sys } from '../native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../proto/attach-messages.ts';
import { BATON_BYTES_MAX } from '../ring/layout.ts';
import type { OutgoingRecord } from './client.ts';

/** The log thread's side of the baton. */
export interface LentBaton {
  tryTake(): boolean;
  layDown(): void;
  readonly count: number;
  fd(i: number): number;
  readonly position: number;
  readonly sent: number;
  readonly sentBytes: number;
  begin(position: number, sent: number): void;
  settle(position: number, sent: number, bytes: number): void;
  advance(position: number): void;
}

export interface DirectSenderParts {
  readonly sys: Sys;
  /** The session's shared memory. */
  readonly bytes: Uint8Array;
  readonly baton: LentBaton;
  /** Finds records of the ring (src/ring/consumer.ts). */
  readonly source: OutgoingRecord & { find(position: number): boolean; readonly tail: number };
}

export class DirectSender {
  readonly #parts: DirectSenderParts;

  constructor(parts: DirectSenderParts) {
    this.#parts = parts;
  }

  /**
   * Sends every client what it does not have yet.
   * @returns false when something is left, which is the attach thread's then, and it is to be woken: also when the baton was
   * taken back meanwhile, since nobody has been told of the last record.
   */
  send(): boolean {
    const { baton } = this.#parts;
    if (!baton.tryTake()) return false;
    const all = baton.sentBytes < BATON_BYTES_MAX && this.#sendAll();
    baton.layDown();
    return all;
  }

  #sendAll(): boolean {
    const { baton, source } = this.#parts;
    const { tail } = source;
    for (let { position } = baton; position !== tail; position = source.after) {
      // A longer one is more than a packet, which a socket takes whole or not at all.
      if (source.find(position) && (source.length > PACKET_PAYLOAD_MAX || !this.#sendRecord(position))) return false;
      baton.advance(source.after);
    }
    return true;
  }

  /** @returns whether all clients have it now. */
  #sendRecord(position: number): boolean {
    const { sys, bytes, baton, source } = this.#parts;
    const { offset, length } = source;
    const { count } = baton;
    for (let { sent } = baton; sent < count; sent++) {
      baton.begin(position, sent);
      // As it lies in the ring, type and payload: write(2) is less work than sendmsg(2), and the log's own is in the CPU's caches then.
      const taken = sys.write(baton.fd(sent), bytes, offset - 1, length + 1) === length + 1;
      baton.settle(position, taken ? sent + 1 : sent, taken ? length : 0);
      if (!taken) return false; // full, or gone: the attach thread finds out which
    }
    return true;
  }
}
