/**
 * Who may send to the attach clients at this moment: their own thread, or the log thread. A line then reaches a client
 * without waking a second thread for it. While the attach thread sleeps and every client has everything, it offers the
 * baton; the log thread takes it for the length of one record and lays it down again; the attach thread takes it back
 * before it touches a client. Only who holds it may use a client's socket, or close it.
 *
 *     kept ──offer──► offered ──tryTake──► used        offer, takeBack: attach thread
 *      ▲                │  ▲                │          tryTake, layDown: log thread
 *      └────takeBack────┘  └────layDown─────┘          tryWithdraw, logThreadDied: main, for a thread that is dead
 *
 * What is read and written while one holds it needs no atomic access: taking it and giving it up are what other threads see it by.
 *
 * What goes with it: the clients' sockets, the attach consumer's position in the ring, and how far the record there has
 * got. Each step is one store, so that a thread that dies leaves a state that can be read.
 */

import {
  ATTACH_CONSUMER,
  BATON_CLIENTS_MAX,
  BatonState,
  BatonWord,
  CONTROL_OFFSET,
  ConsumerWord,
  consumerBase,
  Word,
} from './layout.ts';

/** How long the attach thread sleeps between two looks at a log thread that is sending: as long as a few sends take. */
const USED_LOOK_MS = 0.1;
const STATE = CONTROL_OFFSET + Word.baton + BatonWord.state;
const COUNT = CONTROL_OFFSET + Word.baton + BatonWord.count;
const PROGRESS = CONTROL_OFFSET + Word.baton + BatonWord.progress;
const SENT_BYTES = CONTROL_OFFSET + Word.baton + BatonWord.sentBytes;
const FDS = CONTROL_OFFSET + Word.baton + BatonWord.fds;
const HEAD = consumerBase(ATTACH_CONSUMER) + ConsumerWord.head;

/** Of the progress word: whether a send is under way, then how many clients have the record, then which record that is. */
const UNDER_WAY = 1;
const SENT_SHIFT = 1;
const SENT_MASK = 0xf;
const RECORD_SHIFT = 5;
if (BATON_CLIENTS_MAX > SENT_MASK) throw new Error('baton: more clients than are counted');

export class Baton {
  readonly #words: Int32Array;

  constructor(memory: WebAssembly.Memory) {
    this.#words = new Int32Array(memory.buffer);
  }

  /**
   * Lets the log thread send to these sockets, at most {@link BATON_CLIENTS_MAX}. Attach thread, which holds it; all clients
   * have everything before the consumer's head, and nothing after it.
   */
  offer(fds: readonly number[]): void {
    if (fds.length > BATON_CLIENTS_MAX) throw new RangeError(`baton: offered with ${fds.length} clients`);
    for (let i = 0; i < fds.length; i++) this.#words[FDS + i] = fds[i] ?? -1;
    this.#words[COUNT] = fds.length;
    this.#words[PROGRESS] = 0;
    this.#words[SENT_BYTES] = 0;
    Atomics.store(this.#words, STATE, BatonState.offered);
  }

  /** After {@link offer}: the sockets are the attach thread's again. Waits while the log thread is amid a record, which never waits itself. */
  takeBack(): void {
    while (!this.tryWithdraw()) Atomics.wait(this.#words, STATE, BatonState.used, USED_LOOK_MS);
  }

  /** As {@link takeBack}, without waiting: for main, when the attach thread is dead. @returns false while the log thread sends. */
  tryWithdraw(): boolean {
    return Atomics.compareExchange(this.#words, STATE, BatonState.offered, BatonState.kept) !== BatonState.used;
  }

  /** The log thread is dead: what it held is the attach thread's, to which {@link underWay} tells whom it may have sent half of something. */
  logThreadDied(): void {
    Atomics.compareExchange(this.#words, STATE, BatonState.used, BatonState.kept);
  }

  /** Whether it can be taken, as far as can be seen now. */
  get offered(): boolean {
    return Atomics.load(this.#words, STATE) === BatonState.offered;
  }

  /** Takes it, if it is offered. Log thread. What follows up to {@link layDown} is then the log thread's alone. */
  tryTake(): boolean {
    if (this.#words[STATE] !== BatonState.offered) return false; // a flood is spared the locked instruction, which decides
    return Atomics.compareExchange(this.#words, STATE, BatonState.offered, BatonState.used) === BatonState.offered;
  }

  layDown(): void {
    Atomics.compareExchange(this.#words, STATE, BatonState.used, BatonState.offered);
  }

  /** How many clients were offered. */
  get count(): number {
    return this.#words[COUNT] ?? 0;
  }

  /** The socket of client `i`. */
  fd(i: number): number {
    return this.#words[FDS + i] ?? -1;
  }

  /** Position of the first record that not every client has: the consumer's head. */
  get position(): number {
    return this.#words[HEAD] ?? 0;
  }

  /** How many clients, in the order of the offer, have the record at {@link position}. */
  get sent(): number {
    const progress = this.#progress();
    return (progress >> SENT_SHIFT) & SENT_MASK;
  }

  /** Whether a send of it to the next client has begun and was never seen to end. */
  get underWay(): boolean {
    return (this.#progress() & UNDER_WAY) !== 0;
  }

  /** Payload bytes sent since the offer, over all clients. */
  get sentBytes(): number {
    return this.#words[SENT_BYTES] ?? 0;
  }

  /** A send of the record at `position`, which is {@link position}, to client `sent`, which is {@link sent}, begins. */
  begin(position: number, sent: number): void {
    Atomics.store(this.#words, PROGRESS, progressOf(position, sent) | UNDER_WAY);
  }

  /** It has ended: `sent` clients have the record now, and the last one has got `bytes` of payload. */
  settle(position: number, sent: number, bytes: number): void {
    Atomics.store(this.#words, PROGRESS, progressOf(position, sent));
    this.#words[SENT_BYTES] = this.sentBytes + bytes;
  }

  /** Every client has what lies before `position`, which is the producer's again; the progress of before is void with that. */
  advance(position: number): void {
    Atomics.store(this.#words, HEAD, position);
  }

  /** 0 when the word is about another record than the one at {@link position}. */
  #progress(): number {
    const progress = this.#words[PROGRESS] ?? 0;
    const about = progressOf(this.position, 0);
    return progress >>> RECORD_SHIFT === about >>> RECORD_SHIFT ? progress & ((1 << RECORD_SHIFT) - 1) : 0;
  }
}

/** Positions are multiples of 8 below 2^30, so 27 bits tell all of them apart. */
function progressOf(position: number, sent: number): number {
  return ((position >> 3) << RECORD_SHIFT) | (sent << SENT_SHIFT);
}
