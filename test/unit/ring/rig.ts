/**
 * A ring in memory of its own, with everything around it filled by a pattern that nobody may touch.
 */
import { createMemory } from '../../../src/kernel/kernel.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { Doorbell } from '../../../src/ring/doorbell.ts';
import {
  CONSUMER_COUNT,
  CONSUMER_WORDS,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  FORMATS_OFFSET,
  memoryBytes,
  RING_OFFSET,
  Word,
} from '../../../src/ring/layout.ts';
import { RingProducer } from '../../../src/ring/producer.ts';
import { fakeSys } from '../native/fake-sys.ts';

const CANARY = 0xa5;

export interface RigOptions {
  readonly capacityBytes: number;
  /** All of the capacity when absent. */
  readonly softBytes?: number;
  /** Tail and heads at the beginning; a multiple of 8 below 2^30. */
  readonly start?: number;
  /** Consumers that are active from the beginning. */
  readonly active?: readonly number[];
  readonly doorbells?: readonly (Doorbell | undefined)[];
  readonly producerDoorbell?: Doorbell;
}

export class Rig {
  readonly memory: WebAssembly.Memory;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly capacityBytes: number;
  readonly producer: RingProducer;
  readonly #producerDoorbell: Doorbell | undefined;

  constructor(options: RigOptions) {
    const {
      capacityBytes,
      softBytes = capacityBytes,
      start = 0,
      active = [0],
      doorbells = [],
      producerDoorbell,
    } = options;
    this.capacityBytes = capacityBytes;
    this.memory = createMemory(memoryBytes({ capacityBytes, softBytes, outputBytes: 64, outputCount: 1 }));
    this.words = new Int32Array(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    for (const [from, to] of this.#outside()) this.bytes.fill(CANARY, from, to);
    this.words[Word.tail] = start;
    for (let consumer = 0; consumer < CONSUMER_COUNT; consumer++)
      this.words[consumerBase(consumer) + ConsumerWord.head] = start;
    for (const consumer of active) this.words[consumerBase(consumer) + ConsumerWord.state] = ConsumerState.active;
    this.producer = new RingProducer(this.memory, { capacityBytes, softBytes }, doorbells);
    this.#producerDoorbell = producerDoorbell;
  }

  consumer(index: number): RingConsumer {
    return new RingConsumer(this.memory, this.capacityBytes, index, this.#producerDoorbell);
  }

  /** Claims, writes and publishes one record. @returns whether there was room for all of it. */
  put(payload: Uint8Array, stream = 2): boolean {
    const offset = this.producer.tryClaim(payload.length, payload.length);
    if (offset === -1) return false;
    this.bytes.set(payload, offset);
    this.producer.commit(payload.length, stream);
    return true;
  }

  /** A copy of the record that `consumer` found. */
  record(consumer: RingConsumer): Buffer {
    return Buffer.from(this.bytes.slice(consumer.offset, consumer.offset + consumer.length));
  }

  /** Takes the next record out; undefined when there is none. */
  take(consumer: RingConsumer): Buffer | undefined {
    if (!consumer.next()) return undefined;
    const bytes = this.record(consumer);
    consumer.release();
    return bytes;
  }

  /** Throws when a byte outside of the control words and the ring has changed. */
  checkCanaries(): void {
    for (const [from, to] of this.#outside())
      for (let at = from; at < to; at++)
        if (this.bytes[at] !== CANARY) throw new Error(`byte ${at} is ${this.bytes[at]}, outside of the ring`);
  }

  /** All that is neither one of the control words nor the ring. */
  #outside(): readonly [number, number][] {
    const known: readonly number[] = [
      Word.tail,
      Word.producerSleeps,
      Word.ended,
      ...Array.from({ length: CONSUMER_COUNT }, (_, consumer) =>
        Object.values(ConsumerWord).map((word) => consumerBase(consumer) + word),
      ).flat(),
    ].toSorted((a, b) => a - b);
    const ranges: [number, number][] = [];
    let from = 0;
    for (const word of known) {
      ranges.push([from, word * 4]);
      from = word * 4 + 4;
    }
    ranges.push([from, RING_OFFSET], [RING_OFFSET + this.capacityBytes, this.bytes.length]);
    if (consumerBase(CONSUMER_COUNT) * 4 > FORMATS_OFFSET || CONSUMER_WORDS < 1) throw new Error('rig: bad layout');
    return ranges;
  }
}

/** A doorbell that only counts. */
export class CountingBell {
  rings = 0;
  readonly doorbell: Doorbell = new Doorbell(
    fakeSys({
      write: () => {
        this.rings++;
        return 8;
      },
    }),
    99,
  );
}

/** `length` bytes that differ from one `salt` to the next. */
export function pattern(length: number, salt: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + salt * 97 + (i >> 8) * 13) & 0xff;
  return bytes;
}
