/**
 * One attach client: its socket, its place in the ring, and what is still to be sent of the record it is at. Runs on the
 * attach thread. It never waits: a full socket is an answer.
 */

import type { PacketSender } from './packet-sender.ts';

/** A record of the ring, as far as sending it goes. */
export interface OutgoingRecord {
  /** Of its payload. The byte before it holds the stream's number, a packet's type: the last one of the record's header. */
  readonly offset: number;
  readonly length: number;
  /** Position after it. */
  readonly after: number;
}

export class Client {
  readonly fd: number;
  /** Room of its socket, as {@link PacketSender.prepare} told it. */
  readonly #roomBytes: number;
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

  /** Bytes that it will never get, although it got what follows them: it is to be disconnected. */
  lostBytes = 0;

  constructor(fd: number, position: number, roomBytes: number) {
    this.fd = fd;
    this.#roomBytes = roomBytes;
    this.position = position;
  }

  /**
   * Sends what is left of a record. @returns bytes sent; `blocked` tells whether the socket is full, `deaf` that the
   * client takes no output any longer.
   */
  send(sender: PacketSender, bytes: Uint8Array, record: OutgoingRecord): number {
    const before = this.#sentBytes;
    const { length, offset } = record;
    while (this.#sentBytes < length) {
      const at = this.#sentBytes;
      const sent = sender.send(this.fd, this.#roomBytes, bytes, offset - 1, offset + at, length - at);
      if (sent > 0) this.#sentBytes = at + sent;
      if (sent < 0) this.turnDeaf();
      this.blocked = sender.full; // full, or gone: poll tells
      this.lostBytes = sender.lostBytes;
      if (sent < 0 || this.blocked || this.lostBytes > 0) return this.#sentBytes - before;
    }
    this.#sentBytes = 0;
    this.position = record.after;
    return length - before;
  }

  turnDeaf(): void {
    this.deaf = true;
    this.blocked = false;
    this.stalledSinceMs = 0;
  }
}
