/**
 * Sends the packets of records to attach clients; one for all clients of an attach thread. In a flood several packets go out with
 * one io_submit(2): between the messages of a sendmmsg(2) the kernel lets the client run that the first one has woken, which
 * takes that packet and sleeps again, packet by packet (docs/adr/0053). It never waits.
 */

import {
  EAGAIN,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SO_SNDBUF,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../proto/attach-messages.ts';

/** Packets of one system call: what fits a socket of {@link SEND_BUFFER_BYTES}, half a read of the log thread. */
export const PACKETS_A_CALL = 51;
/** Fewer go out with sendmmsg: nothing is gained. */
const BATCH_MIN = 4;
/** What a thread sends before it counts as a flood: the end of a thread with a context takes 30 ms. */
const FLOOD_BYTES = 1 << 20;
/** Linux's usual limit for an unprivileged process, which makes twice of it: 52 packets fit, where the usual socket has 26 (docs/adr/0039). */
const SEND_BUFFER_BYTES = 212_992;
/** A packet's result before the kernel has told it. */
const UNTOLD = 0;

export class PacketSender {
  readonly #sys: Sys;
  /** The kernel's name of our queue of writes. */
  readonly #context = new Uint8Array(8);
  readonly #results = new Int32Array(PACKETS_A_CALL);
  #batching: 'not yet' | 'on' | 'off' = 'not yet';
  /** What a full packet takes of a socket's room. */
  #packetCharge = 0;
  #sentBytes = 0;
  /** Of the last {@link send}: the socket takes no more for now. */
  full = false;
  /** Of the last {@link send}: bytes that are missing amid those that went out. The client must not get any more. */
  lostBytes = 0;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Gives a new client's socket more room. @returns what it has, as {@link send} wants it. */
  prepare(fd: number): number {
    const room = new Int32Array(1);
    this.#sys.setSendBuffer(fd, SEND_BUFFER_BYTES); // without it the socket takes less at once, and nothing else
    return this.#sys.getsockopt(fd, SO_SNDBUF, room) === 4 ? (room[0] ?? 0) : 0;
  }

  /**
   * Sends `length` bytes, as many of them as the socket takes and one call can have.
   * @returns bytes that were sent, always whole packets; a negative errno when the client is gone.
   */
  send(fd: number, roomBytes: number, bytes: Uint8Array, typeOffset: number, offset: number, length: number): number {
    this.full = false;
    this.lostBytes = 0;
    const wanted = Math.min(length, PACKETS_A_CALL * PACKET_PAYLOAD_MAX);
    if (this.#flooded() && wanted > (BATCH_MIN - 1) * PACKET_PAYLOAD_MAX) {
      const fits = Math.ceil((roomBytes - this.#sys.siocoutq(fd)) / this.#packetCharge);
      if (fits >= BATCH_MIN)
        return this.#submit(fd, bytes, typeOffset, offset, Math.min(wanted, fits * PACKET_PAYLOAD_MAX));
    }
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const packets = this.#sys.sendPackets(fd, bytes, typeOffset, offset, wanted, PACKET_PAYLOAD_MAX, flags);
    this.full = packets < 0 ? packets === EAGAIN : packets * PACKET_PAYLOAD_MAX < wanted;
    if (packets < 0) return this.full ? 0 : packets;
    return this.#count(Math.min(wanted, packets * PACKET_PAYLOAD_MAX));
  }

  /** Gives the kernel's queue back, which takes 30 ms: at the thread's end, and not where somebody waits for that. */
  close(): void {
    if (this.#batching === 'on') this.#sys.ioDestroy(this.#context);
    this.#batching = 'off';
  }

  /** Whether several packets are sent at once from now on. */
  #flooded(): boolean {
    if (this.#batching !== 'not yet') return this.#batching === 'on';
    if (this.#sentBytes < FLOOD_BYTES) return false;
    this.#packetCharge = this.#measureCharge();
    const possible = this.#packetCharge > 0 && this.#sys.ioSetup(PACKETS_A_CALL, this.#context) === 0;
    this.#batching = possible ? 'on' : 'off';
    return possible;
  }

  /** A packet is charged for what the kernel allocates, on whatever kernel this is; 0 = not known. */
  #measureCharge(): number {
    const sys = this.#sys;
    const fds = new Int32Array(2);
    if (sys.socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, fds) < 0) return 0;
    const [fd = -1, peerFd = -1] = fds;
    const packet = new Uint8Array(1 + PACKET_PAYLOAD_MAX);
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = sys.sendPackets(fd, packet, 0, 1, PACKET_PAYLOAD_MAX, PACKET_PAYLOAD_MAX, flags);
    const charge = sent === 1 ? sys.siocoutq(fd) : 0;
    sys.close(fd);
    sys.close(peerFd);
    return Math.max(charge, 0);
  }

  /** Sends packets of which it is known that they fit: only we send to this socket, so its room never shrinks meanwhile. */
  #submit(fd: number, bytes: Uint8Array, typeOffset: number, offset: number, length: number): number {
    const sys = this.#sys;
    const results = this.#results.fill(UNTOLD);
    const tried = sys.ioSubmitPackets(this.#context, fd, bytes, typeOffset, offset, length, PACKET_PAYLOAD_MAX);
    const told = tried > 0 ? sys.ioGetevents(this.#context, results) : tried;
    if (tried < 0 || told !== tried) {
      if (tried >= 0) throw new Error(`attach: ${told} results of ${tried} packets`); // not on a socket
      this.close();
      return 0;
    }
    let sent = 0;
    while (sent < tried && (results[sent] ?? UNTOLD) > 0) sent++;
    if (sent === tried) return this.#count(Math.min(length, sent * PACKET_PAYLOAD_MAX));
    // No memory for one in the middle, say; those after it went all the same.
    let last = tried;
    while (last > sent && (results[last - 1] ?? UNTOLD) <= 0) last--;
    for (let i = sent; i < last; i++)
      if ((results[i] ?? UNTOLD) <= 0) this.lostBytes += Math.min(PACKET_PAYLOAD_MAX, length - i * PACKET_PAYLOAD_MAX);
    const [first = UNTOLD] = results;
    if (sent > 0 || this.lostBytes > 0) return this.#count(sent * PACKET_PAYLOAD_MAX);
    if (first !== EAGAIN) return first;
    this.close(); // this kernel charges otherwise than was measured
    return 0;
  }

  #count(bytes: number): number {
    this.#sentBytes += bytes;
    return bytes;
  }
}
