/**
 * An attach server with a faked kernel around it: clients, the container's stdin and the clock are plain values, the ring
 * is the real one. When the server would sleep, the test's next step happens; one that would sleep for ever with no step
 * left, or that polls again and again without doing anything, is an error.
 */
import { DirectSender } from '../../../src/attach/direct-sender.ts';
import { PacketSender } from '../../../src/attach/packet-sender.ts';
import { AttachServer, type OwnBaton, type RecordSource, type ServerParts } from '../../../src/attach/server.ts';
import { ContainerStdin } from '../../../src/attach/stdin.ts';
import { createMemory } from '../../../src/kernel/kernel.ts';
import {
  EAGAIN,
  EPIPE,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  SHUT_RD,
  SHUT_WR,
  SO_SNDBUF,
} from '../../../src/native/constants.ts';
import type { Sys } from '../../../src/native/sys.ts';
import { type AttachCounters, PACKET_PAYLOAD_MAX, type ToAttachWorker } from '../../../src/proto/attach-messages.ts';
import { Baton } from '../../../src/ring/baton.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { Doorbell, declareAwake, declareSleep } from '../../../src/ring/doorbell.ts';
import {
  ATTACH_CONSUMER,
  CONSUMER_COUNT,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  LOG_CONSUMER,
  memoryBytes,
} from '../../../src/ring/layout.ts';
import { RingProducer } from '../../../src/ring/producer.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

export const DOORBELL_FD = 3;
export const LISTEN_FD = 4;
export const STDIN_FD = 5;
const FIRST_CLIENT_FD = 10;
/** With which the server finds out what a packet is charged. */
const MEASURED_FD = 9;
/** As SO_SNDBUF counts. */
const SOCKET_ROOM = 1000;
const ECONNRESET = -104;
/** Polls in a row that change nothing: the thread would burn a core. */
const IDLE_POLLS_MAX = 20;

/** A client, seen from both sides. What the kernel does is read from net/unix/af_unix.c. */
export class FakeClient {
  fd = -1;
  /** Packets on their way to conmon. */
  readonly input: Buffer[] = [];
  /** Packets that conmon sent, type byte included; the room they take is given back by {@link read}. */
  readonly packets: Buffer[] = [];
  /** Packets that the socket still takes. */
  room = Number.POSITIVE_INFINITY;
  /** What conmon asked for; the kernel makes twice of it, or less. */
  sendBuffer = 0;
  /** conmon has closed its end. */
  closed = false;
  #resetPending = false;
  /** sk_shutdown of conmon's end. */
  #receiveShut = false;
  #sendShut = false;

  /** Type bytes and payloads, each run of one type together: `2:abc`. */
  get text(): string {
    let text = '';
    let type = -1;
    for (const packet of this.packets) {
      if (packet[0] !== type) text += `${text === '' ? '' : ' '}${packet[0]}:`;
      type = packet[0] ?? -1;
      text += packet.subarray(1).toString('latin1');
    }
    return text;
  }

  send(...texts: readonly string[]): void {
    for (const text of texts) this.input.push(Buffer.from(text, 'latin1'));
  }

  /** shutdown(SHUT_WR): no input follows. */
  endInput(): void {
    this.#receiveShut = true;
  }

  /** shutdown(SHUT_RD): it takes no output. */
  refuseOutput(): void {
    this.#sendShut = true;
  }

  /** close(2); with `unread` it has not taken everything, which is a reset for conmon. */
  hangUp(unread = false): void {
    this.#receiveShut = true;
    this.#sendShut = true;
    this.#resetPending = unread;
  }

  /** The kernel's answers, for conmon's end. */
  poll(events: number): number {
    let revents = 0;
    if ((events & POLLIN) !== 0 && (this.input.length > 0 || this.#receiveShut)) revents |= POLLIN;
    if ((events & POLLOUT) !== 0 && this.room > 0) revents |= POLLOUT;
    if (this.#receiveShut && this.#sendShut) revents |= POLLHUP;
    if (this.#resetPending) revents |= POLLERR;
    return revents;
  }

  receive(bytes: Uint8Array, length: number): number {
    if (this.#takeReset()) return ECONNRESET;
    const packet = this.input.shift();
    if (packet === undefined) return this.#receiveShut ? 0 : EAGAIN;
    bytes.set(packet.subarray(0, length));
    return Math.min(packet.length, length);
  }

  deliver(packet: Buffer): number {
    if (this.#takeReset()) return ECONNRESET;
    if (this.#sendShut) return EPIPE;
    if (this.room === 0) return EAGAIN;
    this.room--;
    this.packets.push(packet);
    return packet.length;
  }

  shutdown(how: number): void {
    if (how !== SHUT_WR) this.#receiveShut = true;
    if (how !== SHUT_RD) this.#sendShut = true;
  }

  #takeReset(): boolean {
    const reset = this.#resetPending;
    this.#resetPending = false;
    return reset;
  }
}

export interface RigOptions {
  readonly closeStdin?: boolean;
  readonly stallTimeoutMs?: number;
  /** How long the server stays without a client; for ever. */
  readonly unusedMs?: number;
  readonly capacityBytes?: number;
  /** The ring lets consumers in only when {@link Rig.admit} is called. */
  readonly slowAdmission?: boolean;
  /** In place of the ring. */
  readonly source?: RecordSource;
  /** Clients that are served at once; 8. */
  readonly clientsMax?: number;
  /** Whether the log thread sends short records by itself when it may; it does. */
  readonly direct?: boolean;
}

type Step = (() => void) | 'time passes';

export class Rig {
  readonly counters: AttachCounters = {
    clients: 0,
    sentBytes: 0,
    stdinBytes: 0,
    droppedStdinBytes: 0,
    stalledClients: 0,
  };
  readonly complaints = new Complaints('debug');
  readonly bytes: Uint8Array;
  readonly producer: RingProducer;
  readonly source: RecordSource;
  readonly baton: Baton;
  /** What sends for the server while that sleeps; on the log thread, which is whoever calls {@link put}. */
  readonly logThread: DirectSender;
  /** The log thread has to send next. */
  sendDue = false;
  /** What the log has got, and its place in the ring. */
  logText = '';
  readonly #log: RingConsumer;
  readonly messages: ToAttachWorker[] = [];
  /** Clients that have connected and wait to be accepted. */
  readonly backlog: FakeClient[] = [];
  /** What accept4 answers while there is a client; 0 = the client. */
  acceptError = 0;
  /** What the container has been given on its stdin. */
  stdinText = '';
  /** Bytes that the container's stdin still takes. */
  stdinRoom = Number.POSITIVE_INFINITY;
  stdinReaderGone = false;
  stdinClosed = false;
  nowMs = 1000;
  polls = 0;
  /** Timeout of each poll that found nothing. */
  readonly timeouts: number[] = [];
  /** Called in each poll, before anything is looked at. */
  onPoll: () => void = () => {};
  /** Called before each call about a client, whichever thread makes it, and around what the threads say to each other. */
  onCall: () => void = () => {};
  /** What became of the next packet of several that are sent at once: 0, or an errno. */
  batchFault: () => number = () => 0;
  /** How often the ring went back to its start. */
  rewinds = 0;
  /** Packets that were sent several at once. */
  batched = 0;
  #results: number[] = [];
  /** The faked calls; a test may replace some. */
  readonly sys: Sys = this.#fakeSys();
  readonly server: AttachServer;
  readonly #words: Int32Array;
  /** The fds of clients that are open, as main would find them. */
  readonly clientFds: Int32Array;
  readonly #clients = new Map<number, FakeClient>();
  readonly #admitsAtOnce: boolean;
  readonly #direct: boolean;
  #rings = 0;
  #producerRings = 0;
  #steps: Step[] = [];
  #idlePolls = 0;

  constructor({
    closeStdin = false,
    stallTimeoutMs = 0,
    unusedMs = Number.POSITIVE_INFINITY,
    capacityBytes = 1 << 16,
    slowAdmission = false,
    source,
    direct = true,
    clientsMax = 8,
  }: RigOptions = {}) {
    this.#direct = direct;
    this.clientFds = new Int32Array(clientsMax);
    const memory = createMemory(
      memoryBytes({ capacityBytes, softBytes: capacityBytes, outputBytes: 64, outputCount: 1 }),
    );
    this.#words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.#admitsAtOnce = !slowAdmission;
    const doorbells = new Array<Doorbell | undefined>(CONSUMER_COUNT);
    doorbells[ATTACH_CONSUMER] = bell(() => this.#rings++);
    this.baton = new Baton(memory);
    this.producer = new RingProducer(memory, { capacityBytes, softBytes: capacityBytes }, doorbells, this.baton);
    const ring = new RingConsumer(
      memory,
      capacityBytes,
      ATTACH_CONSUMER,
      bell(() => this.#producerRings++),
    );
    this.source = source ?? ring;
    this.logThread = new DirectSender({
      sys: this.sys,
      bytes: this.bytes,
      baton: this.baton,
      source: new RingConsumer(memory, capacityBytes, ATTACH_CONSUMER, undefined),
    });
    this.#words[consumerBase(LOG_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    this.#log = new RingConsumer(memory, capacityBytes, LOG_CONSUMER, undefined);
    const { sys } = this;
    const parts: ServerParts = {
      sys,
      diag: this.complaints.diag,
      bytes: this.bytes,
      sender: new PacketSender(sys),
      source: this.source,
      baton: this.#watched(this.baton),
      stdin: new ContainerStdin(sys, this.counters, () => {
        if (this.stdinClosed) throw new Error('stdin was closed twice');
        this.stdinClosed = true;
      }),
      counters: this.counters,
      doorbell: { fd: DOORBELL_FD, take: () => this.#take() },
      listenFd: LISTEN_FD,
      closeStdin,
      stallTimeoutMs,
      unusedMs,
      clientFds: this.clientFds,
      declareSleep: () => {
        this.onCall();
        declareSleep(this.#words, ring.sleepsWord);
        this.onCall();
      },
      declareAwake: () => {
        this.onCall();
        declareAwake(this.#words, ring.sleepsWord);
        this.onCall();
      },
      nextMessage: () => this.messages.shift(),
    };
    this.server = new AttachServer(parts);
  }

  /** Runs the server; each step happens when it would sleep. The ring was asked to let it in, as main does. */
  run(...steps: readonly Step[]): 'ended' | 'unused' {
    this.#steps = [...steps];
    if (!this.kept) this.source.request();
    const why = this.server.run();
    if (this.#steps.length > 0) throw new Error(`the server ended with ${this.#steps.length} steps to come`);
    return why;
  }

  /** A client connects. */
  connect(client = new FakeClient()): FakeClient {
    this.backlog.push(client);
    return client;
  }

  /** The container writes. Throws when the ring is full. */
  put(text: string | Uint8Array, stream = 2): void {
    if (!this.tryPut(text, stream)) throw new Error('the ring is full');
  }

  tryPut(text: string | Uint8Array, stream = 2): boolean {
    const committed = this.commit(text, stream);
    this.sendDirect();
    this.feedLog();
    return committed;
  }

  /** What the log thread has committed for itself to send, it sends now. */
  sendDirect(): void {
    if (!this.sendDue) return;
    this.sendDue = false;
    if (!this.logThread.send()) this.producer.wake();
  }

  /** Whether the log does not have everything. */
  get feedDue(): boolean {
    return this.#log.backlogBytes > 0;
  }

  /** And then the log gets it. */
  feedLog(): void {
    while (this.#log.next()) {
      const { offset, length } = this.#log;
      this.logText += Buffer.from(this.bytes.slice(offset, offset + length)).toString('latin1');
      this.#log.release();
    }
  }

  /** The log thread has read something and not sent it yet. @returns whether the ring had room. */
  commit(text: string | Uint8Array, stream = 2): boolean {
    const payload = Buffer.from(text as string);
    let offset = this.producer.tryClaimIdle(payload.length, payload.length);
    if (offset === -1 || this.producer.claimedBytes < payload.length) {
      if (this.producer.tryRewind()) {
        this.rewinds++;
        this.feedLog();
      }
      offset = this.producer.tryClaim(payload.length, payload.length);
    }
    if (offset === -1) return false;
    this.bytes.set(payload, offset);
    this.producer.commit(payload.length, stream, true);
    this.sendDue = this.#direct && payload.length <= PACKET_PAYLOAD_MAX;
    if (!this.sendDue) this.producer.wake();
    return true;
  }

  /** The log worker has looked at its doorbell. */
  admit(): void {
    this.producer.admitConsumers();
  }

  /** Whether the ring keeps records for the server. */
  get kept(): boolean {
    return this.#words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] !== ConsumerState.absent;
  }

  tell(message: ToAttachWorker): void {
    this.messages.push(message);
    this.#rings++;
  }

  /** Main rings the server's doorbell. */
  wake(): void {
    this.#rings++;
  }

  /** The container has its stdin. */
  openStdin(): void {
    this.tell({ kind: 'stdin', fd: STDIN_FD });
  }

  /** The container is gone, and its last output is in the ring. */
  end(): void {
    this.tell({ kind: 'end' });
    this.producer.end();
  }

  /** With the log thread's turn before and after the server's steps. */
  #watched(baton: Baton): OwnBaton {
    const around = (step: () => void): void => {
      this.onCall();
      step();
      this.onCall();
    };
    return new Proxy(baton, {
      get: (target, name: keyof OwnBaton) => {
        if (name === 'offer') return (fds: readonly number[]) => around(() => target.offer(fds));
        if (name === 'takeBack') return () => around(() => target.takeBack());
        return target[name];
      },
    });
  }

  #take(): boolean {
    const rung = this.#rings > 0;
    this.#rings = 0;
    return rung;
  }

  #fakeSys(): Sys {
    const progress = <T>(value: T): T => {
      this.#idlePolls = 0;
      return value;
    };
    return fakeSys({
      poll: (set, count, timeoutMs) => this.#poll(set, count, timeoutMs),
      accept4: () => {
        this.onCall();
        if (this.acceptError !== 0) return this.acceptError;
        const client = this.backlog.shift();
        if (client === undefined) return EAGAIN;
        client.fd = FIRST_CLIENT_FD;
        while (this.#clients.has(client.fd)) client.fd++; // the lowest that is free, as the kernel does
        this.#clients.set(client.fd, client);
        return progress(client.fd);
      },
      setSendBuffer: (fd, bytes) => {
        this.#client(fd).sendBuffer = bytes;
        return 0;
      },
      recvmsg: (fd, bytes, offset, length, fds) => {
        this.onCall();
        fds[0] = 0;
        const result = this.#client(fd).receive(bytes.subarray(offset), length);
        return result === EAGAIN ? result : progress(result);
      },
      getsockopt: (_fd, name, out) => {
        if (name !== SO_SNDBUF) throw new Error(`getsockopt ${name}`);
        out[0] = SOCKET_ROOM;
        return 4;
      },
      // Each packet is charged 1.
      siocoutq: (fd) => (fd === MEASURED_FD ? 1 : SOCKET_ROOM - Math.min(SOCKET_ROOM, this.#client(fd).room)),
      socketpair: (_type, fds) => {
        fds.set([MEASURED_FD, MEASURED_FD]);
        return 0;
      },
      ioSetup: () => 0,
      ioDestroy: () => 0,
      ioSubmitPackets: (_context, fd, bytes, typeOffset, offset, length, packetBytes) => {
        this.onCall();
        const results: number[] = [];
        for (let at = 0; at < length; at += packetBytes) {
          const fault = this.batchFault();
          const payload = bytes.slice(offset + at, offset + Math.min(at + packetBytes, length));
          const packet = Buffer.concat([bytes.slice(typeOffset, typeOffset + 1), payload]);
          results.push(fault < 0 ? fault : this.#client(fd).deliver(packet));
        }
        if (results.includes(EAGAIN)) throw new Error('packets that do not fit were sent at once');
        this.batched += results.length;
        this.#results = results;
        return progress(results.length);
      },
      ioGetevents: (_context, results) => {
        results.set(this.#results);
        return this.#results.splice(0).length;
      },
      sendPackets: (fd, bytes, typeOffset, offset, length, packetBytes) => {
        this.onCall();
        if (fd === MEASURED_FD) return 1;
        let packets = 0;
        for (let at = 0; at < length; at += packetBytes, packets++) {
          const payload = bytes.slice(offset + at, offset + Math.min(at + packetBytes, length));
          const result = this.#client(fd).deliver(Buffer.concat([bytes.slice(typeOffset, typeOffset + 1), payload]));
          if (result >= 0) progress(result);
          else return packets > 0 ? packets : result === EAGAIN ? result : progress(result);
        }
        return packets;
      },
      shutdown: (fd, how) => {
        this.onCall();
        this.#client(fd).shutdown(how);
        return 0;
      },
      close: (fd) => {
        this.onCall();
        if (fd === MEASURED_FD) return 0;
        if (this.clientFds.includes(fd)) throw new Error(`fd ${fd} is closed and still noted as open`);
        this.#client(fd).closed = true;
        this.#clients.delete(fd);
        return progress(0);
      },
      // The log thread's packets: one system call each.
      write: (fd, bytes, offset, length) => {
        if (this.#clients.has(fd)) {
          this.onCall();
          const result = this.#client(fd).deliver(Buffer.from(bytes.slice(offset, offset + length)));
          return result === EAGAIN ? result : progress(result);
        }
        if (fd !== STDIN_FD || this.stdinClosed) throw new Error(`write to fd ${fd}`);
        if (this.stdinReaderGone) return progress(EPIPE);
        const taken = Math.min(length, this.stdinRoom);
        if (taken === 0) return EAGAIN;
        this.stdinRoom -= taken;
        this.stdinText += Buffer.from(bytes.slice(offset, offset + taken)).toString('latin1');
        return progress(taken);
      },
      clockGettime: (_clock, out) => {
        out[0] = Math.floor(this.nowMs / 1000);
        out[1] = (this.nowMs % 1000) * 1e6;
        return 0;
      },
    });
  }

  #client(fd: number): FakeClient {
    const client = this.#clients.get(fd);
    if (client === undefined) throw new Error(`fd ${fd} is not open`);
    return client;
  }

  #poll(set: Int32Array, count: number, timeoutMs: number): number {
    this.polls++;
    this.#idlePolls++;
    if (this.#idlePolls > IDLE_POLLS_MAX) throw new Error('the server polls again and again and does nothing');
    this.onPoll();
    for (;;) {
      if (this.#producerRings > 0 && this.#admitsAtOnce) {
        this.#producerRings = 0;
        this.admit();
      }
      let ready = 0;
      for (let i = 0; i < count; i++) {
        const events = (set[2 * i + 1] ?? 0) & 0xffff;
        const revents = this.#revents(set[2 * i] ?? -1, events);
        set[2 * i + 1] = events | (revents << 16);
        if (revents !== 0) ready++;
      }
      if (ready > 0 || timeoutMs === 0) return ready;
      const step = this.#steps.shift();
      if (step === undefined) throw new Error(`the server sleeps: ${timeoutMs} ms`);
      this.#idlePolls = 0;
      this.timeouts.push(timeoutMs);
      if (step === 'time passes') {
        if (timeoutMs === -1) throw new Error('the server waits for no time');
        this.nowMs += timeoutMs;
        return 0;
      }
      step();
    }
  }

  #revents(fd: number, events: number): number {
    if (fd === -1) return 0;
    if (fd === DOORBELL_FD) return this.#rings > 0 ? events & POLLIN : 0;
    if (fd === LISTEN_FD) return this.backlog.length > 0 ? events & POLLIN : 0;
    if (fd === STDIN_FD) return this.stdinReaderGone ? POLLERR : this.stdinRoom > 0 ? events & POLLOUT : 0;
    return this.#client(fd).poll(events);
  }
}

function bell(onRing: () => void): Doorbell {
  const sys = fakeSys({
    write: () => {
      onRing();
      return 8;
    },
  });
  return new Doorbell(sys, 99);
}
