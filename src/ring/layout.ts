/**
 * The shape of the memory that the threads of one session share: the one file that knows offsets. It is a shared
 * WebAssembly.Memory, so that the kernel works in place. Each word has one writer; payload first, position after it.
 *
 *     0        words    control words, each on a cache line of its own
 *     2048     clients  the attach worker's open sockets, for main to close should it die
 *     8192     formats  state of the formatters (src/kernel/layout.ts)
 *     16 KiB   drivers  books of the log drivers (src/log/driver-state.ts)
 *     64 KiB   ring     records: 8 byte header, payload, padding to 8 bytes
 *     ...      output   what the formatters write, one area a stream and driver
 */

/**
 * A record's header: i32 payload length (or {@link PADDING}), i32 stream, which is in its highest byte: on our machines, and in
 * WebAssembly's memory, the last one. So stream and payload lie in the ring as they do in an attach client's packet.
 */
export const HEADER_BYTES = 8;
/** A stream's number is so many bits up in its word. */
export const STREAM_SHIFT = 24;
/** Length word of a record without payload that fills the rest of the lap. Its second word is its whole size. */
export const PADDING = -1;
/** Records begin at multiples of this. */
export const ALIGN_BYTES = 8;

/** The kernel reads whole vectors: what it may touch past the end of a chunk, and write past the end of its output. */
export const SLACK_BYTES = 64;

export const CONTROL_OFFSET = 0;
/** One Int32 a client of the attach worker: its fd, 0 = none. Written by the worker, by main once it is dead. */
export const CLIENT_FDS_OFFSET = 2048;
/** As many clients as are served at once. */
export const CLIENT_FDS_COUNT = 1024;
export const FORMATS_OFFSET = 8192;
export const FORMATS_BYTES = 8192;
/** One block of {@link DRIVER_BYTES} a log driver. */
export const DRIVERS_OFFSET = FORMATS_OFFSET + FORMATS_BYTES;
export const DRIVER_BYTES = 256;
export const DRIVERS_MAX = 64;
export const RING_OFFSET = 65536;

/** Words are 64 bytes apart: two threads never share a line. */
const LINE_WORDS = 16;

/**
 * Positions in the ring wrap at 2^30: where one ends up, and how far two are apart, is what is left of a sum or a difference
 * under this mask. Neither ever leaves 32 bits that way. A container without attach clients passes a whole lap a line
 * (RingProducer.tryRewind), and with positions up to 2^32 V8 had to throw compiled code away at line 512, 1024, and later
 * (docs/adr/0052-the-worst-hundredth.md).
 */
export const POSITION_MASK = 2 ** 30 - 1;

/** Index (in Int32 units from CONTROL_OFFSET) of each control word. */
export const Word = {
  /** Producer: position after the last committed record. */
  tail: 0 * LINE_WORDS,
  /** Producer: 1 while it sleeps and wants its doorbell rung. Cleared by whoever rings. */
  producerSleeps: 1 * LINE_WORDS,
  /** Producer: 1 once no record will follow. */
  ended: 2 * LINE_WORDS,
  /** First of the words that say who sends to attach clients; named by {@link BatonWord}. */
  baton: 3 * LINE_WORDS,
  /** First of the words of consumer 0; each consumer has {@link CONSUMER_WORDS}. */
  consumers: 8 * LINE_WORDS,
} as const;

/** Sockets that the log thread may send to in the place of the attach worker. More clients are the attach worker's alone. */
export const BATON_CLIENTS_MAX = 8;

/** After so many bytes the attach worker has its turn, which counts them. */
export const BATON_BYTES_MAX = 2 ** 30;

/** Words of the baton (./baton.ts), relative to its first. All but the state are written by who holds it. */
export const BatonWord = {
  /** A {@link BatonState}. */
  state: 0 * LINE_WORDS,
  /** How many sockets there are. */
  count: 1 * LINE_WORDS,
  /** How far the record at the attach consumer's head has got. */
  progress: 1 * LINE_WORDS + 1,
  /** Payload bytes sent since the offer, at most {@link BATON_BYTES_MAX} and one record for each client. */
  sentBytes: 1 * LINE_WORDS + 2,
  /** The sockets. */
  fds: 1 * LINE_WORDS + 4,
} as const;
const BATON_WORDS = 2 * LINE_WORDS;
if (BatonWord.fds + BATON_CLIENTS_MAX > BATON_WORDS) throw new Error('ring layout: too many sockets');
if (Word.baton + BATON_WORDS > Word.consumers) throw new Error('ring layout: the baton overlaps the consumers');

/** Who changes it: ./baton.ts. */
export const BatonState = { kept: 0, offered: 1, used: 2 } as const;

/** Words of one consumer, relative to its first. */
export const ConsumerWord = {
  /** Position up to which it has released. The consumer's; the producer's on activation, and the attach worker's is the log thread's while that holds the baton. */
  head: 0 * LINE_WORDS,
  /** 1 while it sleeps and wants its doorbell rung. Cleared by whoever rings. */
  sleeps: 1 * LINE_WORDS,
  /** A {@link ConsumerState}; consumer and producer take turns as its comment says. */
  state: 2 * LINE_WORDS,
} as const;
export const CONSUMER_WORDS = 4 * LINE_WORDS;

/** Who may change the state: absent -> requested (consumer), requested -> active (producer), any -> absent (consumer). */
export const ConsumerState = { absent: 0, requested: 1, active: 2 } as const;

/** The log thread itself, from the first byte on, and the attach worker while it has clients. */
export const LOG_CONSUMER = 0;
export const ATTACH_CONSUMER = 1;
export const CONSUMER_COUNT = 2;

const CONTROL_BYTES = (Word.consumers + CONSUMER_COUNT * CONSUMER_WORDS) * 4;
if (CONTROL_BYTES > CLIENT_FDS_OFFSET) throw new Error('ring layout: control words overlap the clients');
if (CLIENT_FDS_OFFSET + 4 * CLIENT_FDS_COUNT > FORMATS_OFFSET)
  throw new Error('ring layout: the clients overlap the formatters');
if (DRIVERS_OFFSET + DRIVERS_MAX * DRIVER_BYTES > RING_OFFSET) throw new Error('ring layout: drivers overlap the ring');

/** Index of the first word of a consumer. */
export function consumerBase(consumer: number): number {
  return Word.consumers + consumer * CONSUMER_WORDS;
}

/** Sizes of one session's shared memory. */
export interface RingGeometry {
  /** A power of two, at least 64 and far below 2^30; the ring's payload, headers and padding. */
  readonly capacityBytes: number;
  /**
   * How much of it a slow consumer may hold before the producer waits. The rest is for the container's end: what is in
   * its pipes then must fit, whatever the consumers do. At most the capacity.
   */
  readonly softBytes: number;
  /** One output area; there are `outputCount`. */
  readonly outputBytes: number;
  readonly outputCount: number;
}

/** Offset of output area `index`. */
export function outputOffset(geometry: RingGeometry, index: number): number {
  return RING_OFFSET + geometry.capacityBytes + SLACK_BYTES + index * (geometry.outputBytes + SLACK_BYTES);
}

/** Bytes of shared memory that a geometry needs. */
export function memoryBytes(geometry: RingGeometry): number {
  return outputOffset(geometry, geometry.outputCount);
}

/** The least that a kernel gives at a time; some arm64 kernels' pages have 64 KiB. */
const SMALL_PAGE_BYTES = 4096;

/** What a session touches of its memory when its first log gets a line: from and to, whole pages of {@link SMALL_PAGE_BYTES}, ascending. */
export function firstTouched(geometry: RingGeometry): readonly (readonly [number, number])[] {
  const page = (offset: number): readonly [number, number] => {
    const from = offset - (offset % SMALL_PAGE_BYTES);
    return [from, from + SMALL_PAGE_BYTES];
  };
  const books: readonly [number, number] = [CONTROL_OFFSET, DRIVERS_OFFSET + SMALL_PAGE_BYTES];
  return [books, page(RING_OFFSET), ...(geometry.outputCount > 0 ? [page(outputOffset(geometry, 0))] : [])];
}

/** Size of a record in the ring, with header and padding. */
export function recordBytes(payloadBytes: number): number {
  return (HEADER_BYTES + payloadBytes + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1);
}
