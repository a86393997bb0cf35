/**
 * One attach client: its socket, its place in the ring, and what is still to be sent of the record it is at. Runs on the
 * attach thread. It never waits: a full socket is an answer.
 */

import { EAGAIN, MSG_DONTWAIT, MSG_NOSIGNAL } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../proto/attach-messages.ts';

/** A record of the ring, as far as sending it goes. */
export interface OutgoingRecord {
  readonly offset: number;
  readonly length: number;
  readonly stream: number;
  /** Position after it. */
  readonly after: number;
}

export class Client {
  readonly fd: number;
  /** Position of the record that is being sent, or of the next one. */
  position: number;
  /** Bytes of that record that were sent. */
  #sentBytes = 0;
  /** The client takes no more for now: wait for POLLOUT. */
  blocked = false;
  /** It takes no output any longer: it is gone, or has shut that side down. What it says still counts. */
  deaf = false;
  /** Its input has ended (it shut its side down); it may still read. */
  inputEnded = false;
  /** It is gone, but has left input that the container has not taken yet. */
  hungUp = false;
  /** Since when it has taken nothing although there was something, in ms; 0 = it is not behind. */
  stalledSinceMs = 0;

  constructor(fd: number, position: number) {
    this.fd = fd;
    this.position = position;
  }

  /**
   * Sends what is left of a record. @returns bytes sent; `blocked` tells whether the socket is full, `deaf` that the
   * client takes no output any longer.
   */
  send(sys: Sys, bytes: Uint8Array, record: OutgoingRecord): number {
    let sent = 0;
    while (this.#sentBytes < record.length) {
      const length = Math.min(PACKET_PAYLOAD_MAX, record.length - this.#sentBytes);
      const offset = record.offset + this.#sentBytes;
      const result = sys.sendPacket(this.fd, record.stream, bytes, offset, length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result < 0) {
        if (result === EAGAIN) this.blocked = true;
        else this.turnDeaf();
        return sent;
      }
      this.#sentBytes += length;
      sent += length;
    }
    this.#sentBytes = 0;
    this.position = record.after;
    return sent;
  }

  turnDeaf(): void {
    this.deaf = true;
    this.blocked = false;
    this.stalledSinceMs = 0;
  }
}
