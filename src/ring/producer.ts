/**
 * The ring's writing side. One thread, the log worker. It never waits: a full ring is an answer, and the caller decides
 * what to do about it. It wakes a consumer only when that consumer has said that it sleeps.
 */

import { type Doorbell, ring } from './doorbell.ts';
import {
  ALIGN_BYTES,
  ATTACH_CONSUMER,
  CONSUMER_COUNT,
  CONTROL_OFFSET,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  HEADER_BYTES,
  LOG_CONSUMER,
  PADDING,
  POSITION_MASK,
  RING_OFFSET,
  type RingGeometry,
  recordBytes,
  STREAM_SHIFT,
  Word,
} from './layout.ts';

/** So much of the ring is used before it is worth going back to its start: a hundred lines and more, and few pages. */
export const REWIND_BYTES = 16_384;

const LOG_HEAD = consumerBase(LOG_CONSUMER) + ConsumerWord.head;
const OTHER_STATE = consumerBase(ATTACH_CONSUMER) + ConsumerWord.state;
const OTHER_HEAD = consumerBase(ATTACH_CONSUMER) + ConsumerWord.head;
if (CONSUMER_COUNT !== 2) throw new Error('ring: more readers than tryClaimIdle knows of');

/** What moves the attach consumer's head while that thread sleeps (./baton.ts). */
export interface HeadMover {
  tryTake(): boolean;
  advance(position: number): void;
  layDown(): void;
}

export class RingProducer {
  readonly #words: Int32Array;
  readonly #capacity: number;
  /** How much may be used: the soft limit, in the end the capacity. */
  #limit: number;
  readonly #doorbells: readonly (Doorbell | undefined)[];
  readonly #mover: HeadMover | undefined;
  /** Whether nobody but the log thread read the ring when {@link tryClaimIdle} or {@link tryRewind} looked last, and nobody was let in since. */
  alone = false;
  /** Position of the next record. The producer's own copy of Word.tail. */
  #tail: number;
  /** Payload bytes of the last record. */
  #lastBytes = 0;
  /** Payload bytes of the claim in progress; 0 = none. */
  #claimed = 0;
  /** Bytes at the lap's end that the claim in progress has skipped. */
  #lapRest = 0;

  /**
   * @param memory shared memory laid out as ./layout.ts says
   * @param geometry its capacity and soft limit
   * @param doorbells one a consumer; undefined for one that never sleeps (the log thread itself)
   * @param mover absent = the ring never goes back to its start while somebody else reads
   */
  constructor(
    memory: WebAssembly.Memory,
    geometry: Pick<RingGeometry, 'capacityBytes' | 'softBytes'>,
    doorbells: readonly (Doorbell | undefined)[],
    mover?: HeadMover,
  ) {
    this.#words = new Int32Array(memory.buffer);
    this.#capacity = geometry.capacityBytes;
    this.#limit = geometry.softBytes;
    this.#doorbells = doorbells;
    this.#mover = mover;
    this.#tail = Atomics.load(this.#words, CONTROL_OFFSET + Word.tail);
  }

  /** Position after the last committed record: what a consumer that starts now has not seen. */
  get tail(): number {
    return this.#tail;
  }

  /**
   * Claims contiguous bytes for one record: `wantBytes` if they are there, else as many as are, but not fewer than
   * `leastBytes`, which is sure to fit an empty ring up to half of its capacity.
   * @returns byte offset of the payload in the shared memory, or -1 when the ring is full (no throw: full is normal).
   * The bytes are private to the producer until `commit`; a second claim replaces the first. {@link claimedBytes} tells
   * how many there are. Thread: producer only. Layout: ./layout.ts, record header.
   */
  tryClaim(wantBytes: number, leastBytes: number): number {
    this.#claimed = 0;
    this.#lapRest = 0;
    let index = this.#tail & (this.#capacity - 1);
    let free = this.#limit - this.#usedBytes();
    let contiguous = Math.min(free, this.#capacity - index);
    if (contiguous < recordBytes(leastBytes)) {
      const rest = this.#capacity - index;
      // Only a lap's end may be skipped, and only when the record then fits at the start.
      if (contiguous < rest || free - rest < recordBytes(leastBytes)) return -1;
      this.#lapRest = rest;
      free -= rest;
      index = 0;
      contiguous = Math.min(free, this.#capacity);
    }
    this.#claimed = Math.min(wantBytes, contiguous - HEADER_BYTES);
    return RING_OFFSET + index + HEADER_BYTES;
  }

  /**
   * As {@link tryClaim}, in few steps, while all who read have read everything: what a line takes, most of the time. At least a
   * quarter of the ring is there then. Of `wantAloneBytes` while the log thread alone reads, else of `wantBytes`: {@link alone}.
   * @returns -1 also when that is not so, or when it is time to go back to the ring's start: then {@link tryRewind}.
   */
  tryClaimIdle(wantAloneBytes: number, wantBytes: number): number {
    const tail = this.#tail;
    const index = tail & (this.#capacity - 1);
    const room = this.#capacity - index - HEADER_BYTES;
    const state = Atomics.load(this.#words, OTHER_STATE);
    this.alone = state === ConsumerState.absent;
    if (
      index >= REWIND_BYTES ||
      room < this.#capacity >> 2 ||
      Atomics.load(this.#words, LOG_HEAD) !== tail ||
      !(this.alone || (state === ConsumerState.active && Atomics.load(this.#words, OTHER_HEAD) === tail))
    )
      return -1;
    this.#lapRest = 0;
    this.#claimed = Math.min(this.alone ? wantAloneBytes : wantBytes, room, this.#limit - HEADER_BYTES);
    return RING_OFFSET + index + HEADER_BYTES;
  }

  /** Whether everything was read by everybody: what lies in the ring is nobody's then, until the next claim. */
  get idle(): boolean {
    return this.#usedBytes() === 0;
  }

  /** From now on the whole capacity may be used: the container has ended, what it left must find room. */
  unlimit(): void {
    this.#limit = this.#capacity;
  }

  /**
   * Goes back to the ring's start if all who read have read everything: memory beyond the longest record is then never
   * touched. Whoever else reads sleeps meanwhile, and passes the padding at once: padding that was held would count as
   * unread. Amid a flood it goes on, round the ring: what one CPU still reads another one would write to.
   * The log thread's cursor must pass the padding before the next claim. {@link alone} tells of others.
   * @returns whether the next claim is at the ring's start.
   */
  tryRewind(): boolean {
    const idle = this.#usedBytes() === 0;
    this.alone = Atomics.load(this.#words, OTHER_STATE) === ConsumerState.absent;
    if (!idle) return false;
    if (!this.alone && (this.#lastBytes > REWIND_BYTES || this.#mover?.tryTake() !== true)) return false;
    const index = this.#tail & (this.#capacity - 1);
    if (index !== 0) this.#pad(index, this.#capacity - index);
    if (!this.alone) {
      this.#mover?.advance(this.#tail);
      this.#mover?.layDown();
    }
    return true;
  }

  /** Payload bytes of the claim in progress. */
  get claimedBytes(): number {
    return this.#claimed;
  }

  /**
   * Publishes the first `usedBytes` of the claim as one record of `stream` and wakes the consumers that sleep, unless it is
   * done `quietly`: then {@link wake} follows if it is still needed. 0 gives the claim back. Throws RangeError when more is committed than was claimed.
   */
  commit(usedBytes: number, stream: number, quietly = false): void {
    if (usedBytes > this.#claimed) throw new RangeError(`ring: commit of ${usedBytes} of ${this.#claimed} bytes`);
    this.#claimed = 0;
    if (usedBytes === 0) return;
    // The rest of the lap goes out with the record that skipped it: a claim that is given back leaves nothing behind.
    if (this.#lapRest > 0) this.#pad(this.#tail & (this.#capacity - 1), this.#lapRest);
    this.#lapRest = 0;
    const header = (RING_OFFSET + (this.#tail & (this.#capacity - 1))) >> 2;
    this.#words[header] = usedBytes;
    this.#lastBytes = usedBytes;
    this.#words[header + 1] = stream << STREAM_SHIFT;
    this.#publish(recordBytes(usedBytes));
    if (!quietly) this.wake();
  }

  /** Wakes the consumers that sleep. */
  wake(): void {
    for (let consumer = 0; consumer < CONSUMER_COUNT; consumer++) {
      const doorbell = this.#doorbells[consumer];
      if (doorbell) ring(this.#words, consumerBase(consumer) + ConsumerWord.sleeps, doorbell);
    }
  }

  /** Says that no record will follow, and wakes everyone. */
  end(): void {
    Atomics.store(this.#words, CONTROL_OFFSET + Word.ended, 1);
    for (let consumer = 0; consumer < CONSUMER_COUNT; consumer++) this.#doorbells[consumer]?.ring();
  }

  /** Bytes that some active consumer has not released. Lets a consumer in that has asked for it. */
  #usedBytes(): number {
    let used = 0;
    for (let consumer = 0; consumer < CONSUMER_COUNT; consumer++) {
      const base = consumerBase(consumer);
      const state = Atomics.load(this.#words, base + ConsumerWord.state);
      if (state === ConsumerState.requested) this.#admit(consumer, base);
      else if (state === ConsumerState.active)
        used = Math.max(used, (this.#tail - Atomics.load(this.#words, base + ConsumerWord.head)) & POSITION_MASK);
    }
    return used;
  }

  /** Starts a consumer at the tail and tells it. Only here, between two claims, is it certain that nothing from the tail on is being overwritten. */
  #admit(consumer: number, base: number): void {
    this.alone = false;
    Atomics.store(this.#words, base + ConsumerWord.head, this.#tail);
    Atomics.compareExchange(this.#words, base + ConsumerWord.state, ConsumerState.requested, ConsumerState.active);
    this.#doorbells[consumer]?.ring();
  }

  /** Lets consumers in that have asked for it, without claiming. The log worker calls it when its doorbell rang. */
  admitConsumers(): void {
    this.#usedBytes();
  }

  #pad(index: number, bytes: number): void {
    if (bytes % ALIGN_BYTES !== 0) throw new RangeError(`ring: padding of ${bytes} bytes`);
    const header = (RING_OFFSET + index) >> 2;
    this.#words[header] = PADDING;
    this.#words[header + 1] = bytes;
    this.#publish(bytes);
  }

  #publish(bytes: number): void {
    this.#tail = (this.#tail + bytes) & POSITION_MASK;
    // Who is let in later sees all that was written before it was (#admit): until then no thread reads what this one writes.
    if (this.alone) this.#words[CONTROL_OFFSET + Word.tail] = this.#tail;
    else Atomics.store(this.#words, CONTROL_OFFSET + Word.tail, this.#tail);
  }
}
