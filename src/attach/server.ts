/**
 * The attach thread's loop: accept clients, give each every record of the ring since its accept, pass their input on.
 * It sleeps in poll when there is nothing to do; meanwhile the log thread may send to its clients (src/ring/baton.ts). It
 * never formats or writes logs. A slow client holds the ring, and so the container, but nothing else; one that dies harms nobody.
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
  SHUT_RDWR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../native/constants.ts';
import { type PollRequest, runSteps, type Steps } from '../native/steps.ts';
import type { Sys } from '../native/sys.ts';
import { type AttachCounters, CLIENT_PACKET_MAX, type ToAttachWorker } from '../proto/attach-messages.ts';
import { BATON_CLIENTS_MAX, POSITION_MASK } from '../ring/layout.ts';
import { Client, type OutgoingRecord } from './client.ts';
import type { PacketSender } from './packet-sender.ts';
import { Patience } from './patience.ts';
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

/** Who may send to the clients (src/ring/baton.ts). */
export interface OwnBaton {
  offer(fds: readonly number[]): void;
  takeBack(): void;
  readonly position: number;
  readonly sent: number;
  readonly underWay: boolean;
  readonly sentBytes: number;
}

export interface ServerParts {
  readonly sys: Sys;
  readonly diag: Diag;
  /** The session's shared memory. */
  readonly bytes: Uint8Array;
  /** The thread's. */
  readonly sender: PacketSender;
  readonly source: RecordSource;
  readonly baton: OwnBaton;
  readonly stdin: ContainerStdin;
  readonly counters: AttachCounters;
  readonly doorbell: { readonly fd: number; take(): boolean };
  /** Non-blocking. */
  readonly listenFd: number;
  readonly closeStdin: boolean;
  /** 0 = never. */
  readonly stallTimeoutMs: number;
  /** How long it stays without a client. */
  readonly unusedMs: number;
  /** Where each open client's fd is noted, in case we die; its length is how many are served at once. */
  readonly clientFds: Int32Array;
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
/** How long clients are left in the backlog when none can be accepted (no fds left, say). */
const ACCEPT_PAUSE_MS = 100;
/** Rounds of sending without a look at anything else: a flood must not keep input, messages and newcomers waiting. */
const ROUNDS_UNPOLLED_MAX = 8;

export class AttachServer {
  readonly #parts: ServerParts;
  readonly #clients: Client[] = [];
  readonly #patience: Patience;
  readonly #clock = new Float64Array(2);
  readonly #noFds = new Int32Array(1);
  readonly #scratch = new Uint8Array(1);
  /** The baton is offered: until it is back the clients' sockets are not ours to use. */
  #offered = false;
  /** The sockets that are offered. */
  readonly #fds: number[] = [];
  #pollSet = new Int32Array(2 * (FIRST_CLIENT_SLOT + 8));
  readonly #request: PollRequest = { set: new Int32Array(0), count: 0, timeoutMs: 0 };
  /** The ring keeps records for us. */
  #admitted = false;
  #requested = false;
  #ending = false;
  /** After the container's end: who knocked before it was let in. */
  #lastCalled = false;
  #roundsUnpolled = 0;
  /** Nobody is accepted until then; 0 = no pause. */
  #acceptPausedUntilMs = 0;
  /** The last accept failed, and that was told. */
  #acceptFails = false;
  /** Since when nobody is there, and nothing to be done for who has left; 0 = not so. */
  #unusedSinceMs = 0;
  /** Whose input is looked at first: the one after who was heard last, or a client that sends without end would keep others waiting. */
  #turn = 0;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.#patience = new Patience(parts.stallTimeoutMs);
  }

  /**
   * Runs until the container is gone and its last bytes are with the clients, or until nobody has been there for a while.
   * Throws only for bugs: main then closes the clients' sockets and gives our place in the ring back.
   */
  run(): 'ended' | 'unused' {
    return runSteps(this.#parts.sys, this.steps());
  }

  /** The same as steps, for a thread that runs several. */
  *steps(): Steps<'ended' | 'unused'> {
    const why = yield* this.#serveAll();
    for (const client of [...this.#clients]) this.#remove(client);
    if (why === 'ended') this.#parts.stdin.abandon();
    this.#parts.source.leave();
    return why;
  }

  *#serveAll(): Steps<'ended' | 'unused'> {
    this.#takeMessages();
    // Main has asked the ring for us when the first client came. Asking again would forget what came since.
    this.#requested = true;
    for (;;) {
      this.#enterRing();
      const progress = this.#sendAll();
      if (this.#finished()) return 'ended';
      if (this.#unused()) return 'unused';
      if (++this.#roundsUnpolled >= ROUNDS_UNPOLLED_MAX) yield* this.#poll(0);
      else if (!progress) yield* this.#wait();
    }
  }

  #enterRing(): void {
    if (this.#requested && this.#parts.source.active) {
      this.#requested = false;
      this.#admitted = true;
    }
    if (!this.#ending || !this.#admitted || this.#lastCalled) return;
    // The container may have ended before we came to it: who knocked in time gets what the ring has kept.
    this.#lastCalled = true;
    this.#accept();
  }

  /** Whether nothing is left to do. With the producer's end no record follows; a producer that was lost never says so. */
  #finished(): boolean {
    if (!this.#ending) return false;
    const { source } = this.#parts;
    const { ended } = source; // before `active` and `tail`: after its end the producer changes neither
    if (this.#requested ? source.active : this.#clients.some((client) => client.position !== source.tail)) return false;
    if (ended || (!this.#requested && this.#clients.length === 0)) return true;
    return this.#nowMs() >= this.#patience.ringDeadlineMs;
  }

  /** Whether nobody has been there for so long that the thread is not worth its memory. Who knocks now is main's to hear. */
  #unused(): boolean {
    if (this.#ending || this.#requested || this.#clients.length > 0 || this.#parts.stdin.pending) {
      this.#unusedSinceMs = 0;
      return false;
    }
    const nowMs = this.#nowMs();
    if (this.#unusedSinceMs === 0) this.#unusedSinceMs = nowMs;
    return nowMs - this.#unusedSinceMs >= this.#parts.unusedMs;
  }

  /** Gives every client that takes it all there is. @returns whether somebody got something. */
  #sendAll(): boolean {
    // Without clients nothing is given back: whoever comes next gets what is there since it knocked.
    if (!this.#admitted || this.#clients.length === 0) return false;
    const { source } = this.#parts;
    const clients = this.#clients;
    let progress = false;
    // From the last to the first: one that is removed moves only those who had their turn.
    for (let i = clients.length - 1; i >= 0; i--) {
      const client = clients[i];
      if (client !== undefined && !client.blocked && this.#sendTo(client)) progress = true;
    }
    if (progress && this.#ending) this.#patience.sent(this.#nowMs());
    const { tail } = source; // once: the producer goes on while we compare
    let slowest = tail;
    for (let i = 0; i < clients.length; i++) {
      const position = clients[i]?.position ?? tail;
      if (((tail - position) & POSITION_MASK) > ((tail - slowest) & POSITION_MASK)) slowest = position;
    }
    source.releaseTo(slowest);
    return progress;
  }

  #sendTo(client: Client): boolean {
    const { sender, source, bytes, counters } = this.#parts;
    let progress = false;
    while (!client.deaf && source.find(client.position)) {
      const sent = client.send(sender, bytes, source);
      if (sent > 0) {
        progress = true;
        counters.sentBytes += sent;
        client.stalledSinceMs = 0;
      }
      if (client.lostBytes > 0) this.#giveUp(client);
      else if (client.blocked) {
        if (client.stalledSinceMs === 0) client.stalledSinceMs = this.#nowMs();
        return progress;
      }
    }
    if (client.deaf) {
      client.position = source.tail;
      if (client.inputEnded) this.#remove(client);
      return progress;
    }
    client.position = source.after; // past padding
    client.stalledSinceMs = 0;
    return progress;
  }

  /** Something is missing amid what it got: it must see an end, and not go on as if nothing were. */
  #giveUp(client: Client): void {
    this.#parts.diag.warn(`attach client disconnected: the kernel did not send ${client.lostBytes} bytes to it`);
    this.#hangUp(client);
  }

  /** Sleeps until somebody has something for us. */
  *#wait(): Steps<void> {
    this.#parts.declareSleep();
    // Records may have come before the flag was seen: look once more.
    if (!this.#hasUnsent()) {
      this.#offerBaton();
      yield* this.#poll(this.#timeoutMs());
    }
    this.#parts.declareAwake();
  }

  /** While we sleep the log thread may send by itself: to few clients, all of whom have everything. */
  #offerBaton(): void {
    const clients = this.#clients;
    if (!this.#admitted || this.#ending || clients.length === 0 || clients.length > BATON_CLIENTS_MAX) return;
    const { head } = this.#parts.source;
    const fds = this.#fds;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[i];
      if (client === undefined || client.blocked || client.deaf || client.hungUp || client.position !== head) return;
      fds[i] = client.fd;
    }
    fds.length = clients.length;
    this.#offered = true;
    this.#parts.baton.offer(this.#fds);
  }

  /** The clients are ours again, wherever the log thread has got with them. */
  #regainBaton(): void {
    if (!this.#offered) return;
    this.#offered = false;
    const { baton, source, counters, diag } = this.#parts;
    baton.takeBack();
    source.releaseTo(baton.position); // the log thread has moved the ring's head, and a newcomer may start there
    counters.sentBytes += baton.sentBytes;
    const { position, sent, underWay } = baton;
    source.find(position);
    const clients = this.#clients;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[i];
      if (client !== undefined) client.position = i < sent ? source.after : position;
    }
    if (!underWay) return;
    // It may have the record or not.
    diag.warn('attach client disconnected: the log worker died while it sent something to it');
    const client = clients[sent];
    if (client) this.#hangUp(client);
  }

  /** As if it had left: what it said before is still passed on. */
  #hangUp(client: Client): void {
    this.#parts.sys.shutdown(client.fd, SHUT_RDWR);
    client.hungUp = true;
    client.turnDeaf();
  }

  /** Looks at everything but the ring. */
  *#poll(timeoutMs: number): Steps<void> {
    this.#roundsUnpolled = 0;
    this.#request.set = this.#fillPollSet();
    this.#request.count = FIRST_CLIENT_SLOT + this.#clients.length;
    this.#request.timeoutMs = timeoutMs;
    yield this.#request;
    this.#regainBaton();
    if (this.#revents(DOORBELL_SLOT) !== 0) {
      this.#parts.doorbell.take();
      this.#takeMessages();
    }
    if (this.#revents(STDIN_SLOT) !== 0) this.#parts.stdin.flush();
    this.#serveClients();
    if (this.#revents(LISTEN_SLOT) !== 0) this.#accept();
    this.#dropStalled();
  }

  #serveClients(): void {
    const count = this.#clients.length;
    let any = false;
    for (let i = 0; i < count && !any; i++) any = this.#revents(FIRST_CLIENT_SLOT + i) !== 0;
    if (!any) return; // the doorbell's: most of a flood's
    const clients = [...this.#clients];
    const first = this.#turn;
    for (let i = 0; i < count; i++) {
      const index = (first + i) % count;
      const client = clients[index];
      if (client) this.#serve(client, this.#revents(FIRST_CLIENT_SLOT + index));
    }
  }

  /** Nobody is there: nothing is kept, and nobody wakes us for what is not. */
  #leaveRing(): void {
    this.#parts.source.leave();
    this.#admitted = false;
  }

  #takeMessages(): void {
    for (let message = this.#parts.nextMessage(); message !== undefined; message = this.#parts.nextMessage()) {
      if (message.kind === 'stdin') {
        this.#parts.stdin.open(message.fd);
        continue;
      }
      this.#ending = true;
      this.#patience.end(this.#nowMs());
      // Nobody takes input any longer; clients that still send must not wait for it.
      this.#parts.stdin.abandon();
    }
  }

  #hasUnsent(): boolean {
    if (!this.#admitted) return false;
    const clients = this.#clients;
    const { tail } = this.#parts.source;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[i];
      if (client !== undefined && !client.blocked && client.position !== tail) return true;
    }
    return false;
  }

  #fillPollSet(): Int32Array<ArrayBuffer> {
    const slots = FIRST_CLIENT_SLOT + this.#clients.length;
    if (this.#pollSet.length < 2 * slots) this.#pollSet = new Int32Array(4 * slots);
    const { doorbell, listenFd, stdin } = this.#parts;
    this.#slot(DOORBELL_SLOT, doorbell.fd, POLLIN);
    this.#slot(LISTEN_SLOT, this.#accepting() ? listenFd : -1, POLLIN);
    this.#slot(STDIN_SLOT, stdin.pending ? stdin.fd : -1, POLLOUT);
    const clients = this.#clients;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[i];
      if (client === undefined || (client.hungUp && stdin.pending)) {
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

  #accepting(): boolean {
    if (this.#requested || this.#ending || this.#clients.length >= this.#parts.clientFds.length) return false;
    return this.#acceptPausedUntilMs === 0 || this.#nowMs() >= this.#acceptPausedUntilMs;
  }

  /** The ring keeps records only while there are clients; so the first one is let in once the ring has let us in. */
  #accept(): void {
    const { sys, listenFd, source, counters, diag } = this.#parts;
    this.#acceptPausedUntilMs = 0;
    if (!this.#admitted) {
      this.#requested = true;
      source.request();
      return;
    }
    // The ring was kept since the first knocked, and who came with it may have waited as long; others start with what comes now.
    const position = this.#clients.length === 0 ? source.head : source.tail;
    while (this.#clients.length < this.#parts.clientFds.length) {
      const fd = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        if (fd !== EAGAIN) this.#pauseAccepting(fd);
        if (this.#clients.length === 0) this.#leaveRing();
        return;
      }
      this.#acceptFails = false;
      this.#note(0, fd);
      counters.clients++;
      this.#clients.push(new Client(fd, position, this.#parts.sender.prepare(fd)));
      diag.debug(`attach: client ${fd} connected`);
    }
  }

  /** Replaces the first `from` among the noted fds. Before a close: an fd that is noted is open. */
  #note(from: number, to: number): void {
    const { clientFds } = this.#parts;
    clientFds[clientFds.indexOf(from)] = to;
  }

  /** Who knocks stays in the backlog, where poll would report it at once, again and again. */
  #pauseAccepting(errno: number): void {
    const { sys, diag } = this.#parts;
    if (!this.#acceptFails) diag.warn(`Failed to accept client connection on attach socket: ${sys.strerror(errno)}`);
    this.#acceptFails = true;
    this.#acceptPausedUntilMs = this.#nowMs() + ACCEPT_PAUSE_MS;
  }

  #serve(client: Client, revents: number): void {
    if (revents === 0) return;
    if ((revents & POLLOUT) !== 0) client.blocked = false;
    if ((revents & POLLIN) !== 0 && !client.inputEnded) this.#readFrom(client);
    // Both directions are down: nobody is there any longer. What it said before is still passed on, packet by packet.
    if ((revents & (POLLHUP | POLLERR)) !== 0) {
      client.hungUp = true;
      client.turnDeaf();
    }
    if (client.deaf && client.inputEnded) this.#remove(client);
  }

  /** One packet at a time: it is passed on whole before anyone is read from again. */
  #readFrom(client: Client): void {
    const { stdin } = this.#parts;
    if (stdin.pending) return;
    let result = this.#receive(client, stdin.buffer, CLIENT_PACKET_MAX);
    // That a client has left without reading everything is told once; what it sent before is still there.
    if (result < 0 && result !== EAGAIN) result = this.#receive(client, stdin.buffer, CLIENT_PACKET_MAX);
    if (result === EAGAIN) return;
    this.#turn = this.#clients.indexOf(client) + 1;
    if (result > 0) stdin.write(result);
    else this.#endInput(client);
  }

  #receive(client: Client, bytes: Uint8Array, length: number): number {
    return this.#parts.sys.recvmsg(client.fd, bytes, 0, length, this.#noFds, 0);
  }

  /** A client that leaves or shuts down ends the container's input, if it was asked for and not to be left open. */
  #endInput(client: Client): void {
    client.inputEnded = true;
    this.#parts.sys.shutdown(client.fd, SHUT_RD);
    if (this.#parts.closeStdin) this.#parts.stdin.close();
  }

  #remove(client: Client): void {
    const index = this.#clients.indexOf(client);
    if (index === -1) return;
    this.#clients.splice(index, 1);
    if (!client.inputEnded && !this.#ending) this.#endInput(client);
    this.#disconnect(client.fd);
    this.#parts.diag.debug(`attach: client ${client.fd} gone`);
    if (this.#clients.length === 0 && !this.#ending) this.#leaveRing();
  }

  /** A socket that is closed with input unread tells its client of a reset before the output that it has not read yet. */
  #disconnect(fd: number): void {
    const { sys } = this.#parts;
    sys.shutdown(fd, SHUT_RDWR);
    while (sys.recvmsg(fd, this.#scratch, 0, 1, this.#noFds, 0) > 0);
    this.#note(fd, 0);
    sys.close(fd);
  }

  /** Milliseconds until something has to be done that nobody wakes us for; -1 = nothing. */
  #timeoutMs(): number {
    let deadlineMs = this.#patience.ringDeadlineMs;
    const clients = this.#clients;
    for (let i = 0; i < clients.length; i++) {
      const stalledSinceMs = clients[i]?.stalledSinceMs ?? 0;
      if (stalledSinceMs !== 0) deadlineMs = Math.min(deadlineMs, this.#patience.clientDeadlineMs(stalledSinceMs));
    }
    if (this.#unusedSinceMs !== 0) deadlineMs = Math.min(deadlineMs, this.#unusedSinceMs + this.#parts.unusedMs);
    if (this.#acceptPausedUntilMs !== 0) deadlineMs = Math.min(deadlineMs, this.#acceptPausedUntilMs);
    return deadlineMs === Number.POSITIVE_INFINITY ? -1 : Math.max(1, Math.ceil(deadlineMs - this.#nowMs()));
  }

  #dropStalled(): void {
    const clients = this.#clients;
    for (let i = clients.length - 1; i >= 0; i--) {
      const client = clients[i];
      if (client === undefined || client.stalledSinceMs === 0) continue;
      const { stalledSinceMs } = client;
      const nowMs = this.#nowMs();
      if (nowMs < this.#patience.clientDeadlineMs(stalledSinceMs)) continue;
      this.#parts.counters.stalledClients++;
      this.#parts.diag.warn(`attach client took nothing for ${Math.round(nowMs - stalledSinceMs)} ms: disconnected`);
      this.#remove(client);
    }
  }

  #nowMs(): number {
    this.#parts.sys.clockGettime(CLOCK_MONOTONIC, this.#clock);
    return (this.#clock[0] ?? 0) * 1000 + (this.#clock[1] ?? 0) / 1e6;
  }
}
