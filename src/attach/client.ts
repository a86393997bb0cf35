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
  /** Where a byte lies that holds its stream's number, a packet's type: in the record's header. */
  readonly typeOffset: number;
  readonly length: number;
  /** Position after it. */
  readonly after: number;
}

/** Packets of one system call: a whole read of the log thread, more than a socket of the usual size holds (26). */
const PACKETS_A_CALL = 34;
/** A type byte and the payload. */
const PARTS = 2;

export class Client {
  readonly fd: number;
  /** What a call sends: an offset and a length for each part. One for all clients of the thread would do; it is small. */
  readonly #parts = new Uint32Array(2 * PARTS * PACKETS_A_CALL);
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
    const before = this.#sentBytes;
    while (this.#sentBytes < record.length) {
      const packets = this.#fill(record);
      const result = sys.sendmmsg(this.fd, bytes, this.#parts, PARTS, packets, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result < 0) {
        if (result === EAGAIN) this.blocked = true;
        else this.turnDeaf();
        return this.#sentBytes - before;
      }
      this.#sentBytes = Math.min(record.length, this.#sentBytes + result * PACKET_PAYLOAD_MAX);
      if (result < packets) {
        this.blocked = true; // full, or gone: poll tells
        return this.#sentBytes - before;
      }
    }
    this.#sentBytes = 0;
    this.position = record.after;
    return record.length - before;
  }

  /** Lays out the record's next packets. @returns how many. */
  #fill(record: OutgoingRecord): number {
    const parts = this.#parts;
    let packets = 0;
    for (let at = this.#sentBytes; at < record.length && packets < PACKETS_A_CALL; at += PACKET_PAYLOAD_MAX) {
      const first = 2 * PARTS * packets++;
      parts[first] = record.typeOffset;
      parts[first + 1] = 1;
      parts[first + 2] = record.offset + at;
      parts[first + 3] = Math.min(PACKET_PAYLOAD_MAX, record.length - at);
    }
    return packets;
  }

  turnDeaf(): void {
    this.deaf = true;
    this.blocked = false;
    this.stalledSinceMs = 0;
  }
}
