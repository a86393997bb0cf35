/**
 * The ring's reading side: one cursor. The attach worker owns one on its thread; the log worker reads through one on
 * the producer's own thread. It never waits and never sees a record before all of it is there.
 */

import { type Doorbell, ring } from './doorbell.ts';
import {
  CONTROL_OFFSET,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  HEADER_BYTES,
  PADDING,
  POSITION_MASK,
  RING_OFFSET,
  recordBytes,
  STREAM_SHIFT,
  Word,
} from './layout.ts';

const TAIL = CONTROL_OFFSET + Word.tail;

export class RingConsumer {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #capacity: number;
  readonly #producerDoorbell: Doorbell | undefined;
  #head: number;
  /** Of the record that {@link next} found: byte offset of the payload in the shared memory. The byte before it is the stream's number. */
  offset = 0;
  /** Of the record that {@link next} found: payload bytes. */
  length = 0;
  /** Of the record that {@link next} found: the stream it came from. */
  stream = 0;
  /** Position after the record that was found. */
  after = 0;

  /**
   * @param memory shared memory laid out as ./layout.ts says
   * @param capacityBytes the geometry's capacity
   * @param consumer its number, below CONSUMER_COUNT
   * @param producerDoorbell rung when space was released and the producer sleeps; undefined on the producer's thread
   */
  constructor(
    memory: WebAssembly.Memory,
    capacityBytes: number,
    consumer: number,
    producerDoorbell: Doorbell | undefined,
  ) {
    this.#words = new Int32Array(memory.buffer);
    this.#base = consumerBase(consumer);
    this.#capacity = capacityBytes;
    this.#producerDoorbell = producerDoorbell;
    this.#head = Atomics.load(this.#words, this.#base + ConsumerWord.head);
  }

  /** Asks the producer to be let in; it sees every record committed after {@link active} turned true, and its doorbell is rung for it. */
  request(): void {
    Atomics.store(this.#words, this.#base + ConsumerWord.state, ConsumerState.requested);
    this.#producerDoorbell?.ring();
  }

  /** Whether the producer keeps records for this consumer. The first true answer fixes where it starts. */
  get active(): boolean {
    if (Atomics.load(this.#words, this.#base + ConsumerWord.state) !== ConsumerState.active) return false;
    this.#head = Atomics.load(this.#words, this.#base + ConsumerWord.head);
    return true;
  }

  /** Leaves: nothing is kept for it any longer. Wakes a producer that waits for the space. */
  leave(): void {
    Atomics.store(this.#words, this.#base + ConsumerWord.state, ConsumerState.absent);
    this.#wakeProducer();
  }

  /**
   * Finds the next record: {@link offset}, {@link length} and {@link stream} then describe it.
   * @returns false when there is none. The bytes stay valid until {@link release}.
   */
  next(): boolean {
    const found = this.find(this.#head);
    if (!found) this.releaseTo(this.after);
    return found;
  }

  /** Gives the record that {@link next} found back to the producer. */
  release(): void {
    this.releaseTo(this.after);
  }

  /**
   * Finds the record at `position`, which lies between what was released and the producer's tail: for readers at several
   * places, of which the last one holds the ring. As {@link next}; {@link after} is where the reader goes on, also when
   * there is none yet.
   */
  find(position: number): boolean {
    this.after = position;
    const tail = this.#producerDoorbell === undefined ? this.#words[TAIL] : Atomics.load(this.#words, TAIL);
    while (tail !== this.after) {
      const header = (RING_OFFSET + (this.after & (this.#capacity - 1))) >> 2;
      const length = this.#words[header] ?? 0;
      const second = this.#words[header + 1] ?? 0;
      if (length === PADDING) {
        this.after = (this.after + second) & POSITION_MASK;
        continue;
      }
      this.offset = (header << 2) + HEADER_BYTES;
      this.length = length;
      this.stream = second >>> STREAM_SHIFT;
      this.after = (this.after + recordBytes(length)) & POSITION_MASK;
      return true;
    }
    return false;
  }

  /** Gives everything before `position` back to the producer. */
  releaseTo(position: number): void {
    if (position === this.#head) return;
    this.#head = position;
    Atomics.store(this.#words, this.#base + ConsumerWord.head, position);
    if (this.#producerDoorbell) this.#wakeProducer();
  }

  /** Where the producer is: a reader that starts now sees what comes after. */
  get tail(): number {
    // The producer's own thread has written it itself: each call of V8's for an atomic access is code that a line would have to fetch.
    if (this.#producerDoorbell === undefined) return this.#words[TAIL] ?? 0;
    return Atomics.load(this.#words, TAIL);
  }

  /** Up to where this consumer has released; not what the log thread has in its place (./baton.ts). */
  get head(): number {
    return this.#head;
  }

  /** Whether the producer has ended: nothing follows {@link tail}. */
  get ended(): boolean {
    return Atomics.load(this.#words, CONTROL_OFFSET + Word.ended) === 1;
  }

  /** True once the producer has ended and everything was released. */
  get finished(): boolean {
    return (
      Atomics.load(this.#words, CONTROL_OFFSET + Word.ended) === 1 &&
      Atomics.load(this.#words, CONTROL_OFFSET + Word.tail) === this.#head
    );
  }

  /** Bytes (headers too) between this consumer and the producer. */
  get backlogBytes(): number {
    return (Atomics.load(this.#words, CONTROL_OFFSET + Word.tail) - this.#head) & POSITION_MASK;
  }

  /** Index of the word in which this consumer says that it sleeps. */
  get sleepsWord(): number {
    return this.#base + ConsumerWord.sleeps;
  }

  #wakeProducer(): void {
    if (this.#producerDoorbell) ring(this.#words, CONTROL_OFFSET + Word.producerSleeps, this.#producerDoorbell);
  }
}
