/**
 * The attach thread's loop: accept clients, give each every record of the ring since its accept, pass their input on.
 * It sleeps in poll when there is nothing to do. It never formats or writes logs. A slow client holds the ring, and so
 * the container, but nothing else; one that dies harms nobody.
 */

import type { Diag } from '../diag/diag.ts';
import {
  CLOCK_MONOTONIC,
  EAGAIN,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  SHUT_RD,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { type AttachCounters, CLIENT_PACKET_MAX, type ToAttachWorker } from '../proto/attach-messages.ts';
import { Client, type OutgoingRecord } from './client.ts';
import type { ContainerStdin } from './stdin.ts';

/** The ring's reading side, as the server needs it (src/ring/consumer.ts). */
export interface RecordSource extends OutgoingRecord {
  request(): void;
  readonly active: boolean;
  leave(): void;
  find(position: number): boolean;
  releaseTo(position: number): void;
  readonly head: number;
  readonly tail: number;
  readonly ended: boolean;
}

export interface ServerParts {
  readonly sys: Sys;
  readonly diag: Diag;
  /** The session's shared memory. */
  readonly bytes: Uint8Array;
  readonly source: RecordSource;
  readonly stdin: ContainerStdin;
  readonly counters: AttachCounters;
  readonly doorbell: { readonly fd: number; take(): boolean };
  /** Non-blocking. */
  readonly listenFd: number;
  readonly closeStdin: boolean;
  /** 0 = never. */
  readonly stallTimeoutMs: number;
  declareSleep(): void;
  declareAwake(): void;
  /** The next message of main, undefined when there is none. */
  nextMessage(): ToAttachWorker | undefined;
}

/** Slots of the poll set before the clients'. */
const DOORBELL_SLOT = 0;
const LISTEN_SLOT = 1;
const STDIN_SLOT = 2;
const FIRST_CLIENT_SLOT = 3;
/** More clients than this at once are left in the backlog. */
const CLIENTS_MAX = 1024;
/** After the container's end a client that takes nothing for so long is given up: conmon must end some time. */
const LAST_PATIENCE_MS = 10_000;

export class AttachServer {
  readonly #parts: ServerParts;
  readonly #clients: Client[] = [];
  readonly #clock = new Float64Array(2);
  readonly #noFds = new Int32Array(1);
  #pollSet = new Int32Array(2 * (FIRST_CLIENT_SLOT + 8));
  /** The ring keeps records for us. */
  #admitted = false;
  #requested = false;
  #ending = false;

  constructor(parts: ServerParts) {
    this.#parts = parts;
  }

  /** Runs until the container is gone and its last bytes are with the clients. */
  run(): void {
    this.#takeMessages();
    // Main has asked for us when the first client came; a worker that takes over finds what its predecessor left.
    if (!this.#parts.source.active) this.#parts.source.request();
    this.#requested = true;
    for (;;) {
      if (this.#requested && this.#parts.source.active) {
        this.#requested = false;
        this.#admitted = true;
      }
      const progress = this.#sendAll();
      if (this.#finished()) break;
      if (!progress) this.#wait();
    }
    for (const client of [...this.#clients]) this.#remove(client);
    this.#parts.stdin.close();
    this.#parts.source.leave();
  }

  /** With the producer's end no record follows; before it, an end without output worker is main's word alone. */
  #finished(): boolean {
    if (!this.#ending) return false;
    if (this.#clients.length === 0) return true;
    const { source } = this.#parts;
    return source.ended && this.#clients.every((client) => client.position === source.tail);
  }

  /** Gives every client that takes it all there is. @returns whether somebody got something. */
  #sendAll(): boolean {
    if (!this.#admitted) return false;
    // Whoever comes next gets what is there since it knocked.
    if (this.#clients.length === 0) return false;
    const { source } = this.#parts;
    let progress = false;
    for (const client of [...this.#clients]) if (!client.blocked && this.#sendTo(client)) progress = true;
    let slowest = source.tail;
    for (const { position } of this.#clients)
      if ((source.tail - position) >>> 0 > (source.tail - slowest) >>> 0) slowest = position;
    source.releaseTo(slowest);
    return progress;
  }

  #sendTo(client: Client): boolean {
    const { sys, source, bytes, counters } = this.#parts;
    let progress = false;
    while (source.find(client.position)) {
      const sent = client.send(sys, bytes, source);
      if (sent === -1) {
        this.#remove(client);
        return true;
      }
      if (sent > 0) {
        progress = true;
        counters.sentBytes += sent;
        client.stalledSinceMs = 0;
      }
      if (client.blocked) {
        if (client.stalledSinceMs === 0) client.stalledSinceMs = this.#nowMs();
        return progress;
      }
    }
    client.position = source.after; // past padding
    client.stalledSinceMs = 0;
    return progress;
  }

  /** Sleeps until somebody has something for us. */
  #wait(): void {
    const set = this.#fillPollSet();
    this.#parts.declareSleep();
    // Records may have come before the flag was seen: look once more.
    if (this.#hasUnsent()) {
      this.#parts.declareAwake();
      return;
    }
    const result = this.#parts.sys.poll(set, FIRST_CLIENT_SLOT + this.#clients.length, this.#patienceMs());
    this.#parts.declareAwake();
    if (result < 0) throw new Error(`attach worker: poll: ${this.#parts.sys.strerror(result)}`);
    if (this.#revents(DOORBELL_SLOT) !== 0) {
      this.#parts.doorbell.take();
      this.#takeMessages();
    }
    if (this.#revents(STDIN_SLOT) !== 0) this.#parts.stdin.flush();
    for (const [i, client] of [...this.#clients].entries()) this.#serve(client, this.#revents(FIRST_CLIENT_SLOT + i));
    if (this.#revents(LISTEN_SLOT) !== 0) this.#accept();
    this.#dropStalled();
  }

  /** Nobody is there: nothing is kept, and nobody wakes us for what is not. */
  #leaveRing(): void {
    this.#parts.source.leave();
    this.#admitted = false;
  }

  #takeMessages(): void {
    for (let message = this.#parts.nextMessage(); message !== undefined; message = this.#parts.nextMessage()) {
      if (message.kind === 'end') this.#ending = true;
      else this.#parts.stdin.open(message.fd);
    }
  }

  #hasUnsent(): boolean {
    const { source } = this.#parts;
    return this.#admitted && this.#clients.some((client) => !client.blocked && client.position !== source.tail);
  }

  #fillPollSet(): Int32Array {
    const slots = FIRST_CLIENT_SLOT + this.#clients.length;
    if (this.#pollSet.length < 2 * slots) this.#pollSet = new Int32Array(4 * slots);
    const { doorbell, listenFd, stdin } = this.#parts;
    const accepting = !this.#requested && !this.#ending && this.#clients.length < CLIENTS_MAX;
    this.#slot(DOORBELL_SLOT, doorbell.fd, POLLIN);
    this.#slot(LISTEN_SLOT, accepting ? listenFd : -1, POLLIN);
    this.#slot(STDIN_SLOT, stdin.pending ? stdin.fd : -1, POLLOUT);
    for (const [i, client] of this.#clients.entries()) {
      if (client.hungUp && stdin.pending) {
        this.#slot(FIRST_CLIENT_SLOT + i, -1, 0); // poll would report it at once, again and again
        continue;
      }
      const input = client.inputEnded || stdin.pending ? 0 : POLLIN;
      this.#slot(FIRST_CLIENT_SLOT + i, client.fd, input | (client.blocked ? POLLOUT : 0));
    }
    return this.#pollSet;
  }

  #slot(index: number, fd: number, events: number): void {
    this.#pollSet[2 * index] = fd;
    this.#pollSet[2 * index + 1] = events;
  }

  #revents(slot: number): number {
    return (this.#pollSet[2 * slot + 1] ?? 0) >>> 16;
  }

  /** The ring keeps records only while there are clients; so the first one is let in once the ring has let us in. */
  #accept(): void {
    const { sys, listenFd, source, counters, diag } = this.#parts;
    if (!this.#admitted) {
      this.#requested = true;
      source.request();
      return;
    }
    // The ring was kept for the first since it knocked; any other starts with what comes now.
    let position = this.#clients.length === 0 ? source.head : source.tail;
    for (;;) {
      const fd = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        if (this.#clients.length === 0) this.#leaveRing();
        if (fd !== EAGAIN) diag.warn(`Failed to accept client connection on attach socket: ${sys.strerror(fd)}`);
        return;
      }
      counters.clients++;
      this.#clients.push(new Client(fd, position));
      position = source.tail;
      diag.debug(`attach: client ${fd} connected`);
    }
  }

  #serve(client: Client, revents: number): void {
    if (revents === 0) return;
    if ((revents & POLLOUT) !== 0) client.blocked = false;
    if ((revents & POLLIN) !== 0 && !client.inputEnded) this.#readFrom(client);
    // Both directions are down: nobody is there any longer. What it said before is still passed on, packet by packet.
    if ((revents & (POLLHUP | POLLERR)) !== 0) {
      client.hungUp = true;
      if (client.inputEnded || (revents & POLLERR) !== 0) this.#remove(client);
    }
  }

  /** One packet at a time: it is passed on whole before anyone is read from again. */
  #readFrom(client: Client): void {
    const { sys, stdin } = this.#parts;
    if (stdin.pending) return;
    const result = sys.recvmsg(client.fd, stdin.buffer, 0, CLIENT_PACKET_MAX, this.#noFds, 0);
    if (result === EAGAIN) return;
    if (result > 0) {
      stdin.write(result);
      return;
    }
    this.#endInput(client);
  }

  /** A client that leaves or shuts down ends the container's input, if it was asked for and not to be left open. */
  #endInput(client: Client): void {
    client.inputEnded = true;
    this.#parts.sys.shutdown(client.fd, SHUT_RD);
    if (this.#parts.closeStdin) this.#parts.stdin.close();
  }

  #remove(client: Client): void {
    if (!client.inputEnded && !this.#ending) this.#endInput(client);
    const index = this.#clients.indexOf(client);
    if (index === -1) return;
    this.#clients.splice(index, 1);
    this.#parts.sys.close(client.fd);
    this.#parts.diag.debug(`attach: client ${client.fd} gone`);
    if (this.#clients.length === 0 && !this.#ending) this.#leaveRing();
  }

  /** Milliseconds until somebody's patience is over; -1 = nobody is being waited for. */
  #patienceMs(): number {
    const limitMs = this.#stallLimitMs();
    if (limitMs === 0) return -1;
    const stalled = this.#clients.filter((client) => client.stalledSinceMs !== 0);
    if (stalled.length === 0) return -1;
    const oldest = Math.min(...stalled.map((client) => client.stalledSinceMs));
    return Math.max(1, Math.ceil(oldest + limitMs - this.#nowMs()));
  }

  #stallLimitMs(): number {
    const { stallTimeoutMs } = this.#parts;
    if (!this.#ending) return stallTimeoutMs;
    return stallTimeoutMs === 0 ? LAST_PATIENCE_MS : Math.min(stallTimeoutMs, LAST_PATIENCE_MS);
  }

  #dropStalled(): void {
    const limitMs = this.#stallLimitMs();
    if (limitMs === 0) return;
    const nowMs = this.#nowMs();
    for (const client of [...this.#clients]) {
      if (client.stalledSinceMs === 0 || nowMs - client.stalledSinceMs < limitMs) continue;
      this.#parts.counters.stalledClients++;
      this.#parts.diag.warn(`attach client took nothing for ${limitMs} ms: disconnected`);
      this.#remove(client);
    }
  }

  #nowMs(): number {
    this.#parts.sys.clockGettime(CLOCK_MONOTONIC, this.#clock);
    return (this.#clock[0] ?? 0) * 1000 + (this.#clock[1] ?? 0) / 1e6;
  }
}
