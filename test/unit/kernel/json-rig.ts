/**
 * The json formatter with its areas where a test wants them: source, output and tail at any alignment, everything behind
 * the output's slack watched, everything around the source full of bytes that do not count.
 */
import { createMemory, type Kernel, loadKernel } from '../../../src/kernel/kernel.ts';
import {
  FORMAT_STATE_BYTES,
  formatStateOffset,
  JSON_CONTENT_MAX_BYTES,
  JSON_GROWTH,
  JSON_HEAD_BYTES,
  JSON_RESERVE_BYTES,
  JsonField,
} from '../../../src/kernel/layout.ts';
import { RING_OFFSET, SLACK_BYTES } from '../../../src/ring/layout.ts';

const CANARY = 0x3c;
const SOURCE_BYTES = 1 << 17;
const TAIL_AREA_BYTES = 4096;
const CANARY_BYTES = 512;
const UNTOUCHED = Buffer.alloc(CANARY_BYTES, CANARY);

/** What an area needs to hold any record that ends with `tail`. */
export function leastOutput(tail: string): number {
  return JSON_HEAD_BYTES + JSON_GROWTH * JSON_CONTENT_MAX_BYTES + 3 * (tail.length + 2) + JSON_RESERVE_BYTES;
}

export interface JsonPlace {
  readonly outputBytes: number;
  readonly sourceAlign?: number;
  readonly outputAlign?: number;
  readonly tailAlign?: number;
}

export class JsonRig {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #kernel: Kernel;
  readonly #state = formatStateOffset(5);
  #source = 0;
  #outStart = 0;
  #outEnd = 0;
  #tail = 0;
  #collected: Buffer[] = [];

  constructor(largestOutput = 1 << 19) {
    const bytes = RING_OFFSET + SOURCE_BYTES + 256 + TAIL_AREA_BYTES + largestOutput + SLACK_BYTES + CANARY_BYTES;
    const memory = createMemory(bytes);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.#kernel = loadKernel(memory);
  }

  /** A fresh formatter. */
  place({ outputBytes, sourceAlign = 0, outputAlign = 0, tailAlign = 0 }: JsonPlace): this {
    this.#source = RING_OFFSET + sourceAlign;
    this.#tail = RING_OFFSET + SOURCE_BYTES + 128 + tailAlign;
    this.#outStart = RING_OFFSET + SOURCE_BYTES + TAIL_AREA_BYTES + 256 + outputAlign;
    this.#outEnd = this.#outStart + outputBytes;
    this.#collected = [];
    this.#bytes.fill(0, this.#state, this.#state + FORMAT_STATE_BYTES);
    this.#field(JsonField.out, this.#outStart);
    this.#bytes.fill(CANARY, this.#outStart - 64, this.#outStart);
    this.#bytes.fill(CANARY, this.#outEnd + SLACK_BYTES, this.#outEnd + SLACK_BYTES + CANARY_BYTES);
    return this;
  }

  /** Closed records so far. */
  get output(): Buffer {
    return Buffer.concat(this.#collected);
  }

  get records(): number {
    return this.#word(JsonField.records);
  }

  get open(): boolean {
    return this.#word(JsonField.open) !== 0;
  }

  get pending(): number {
    return this.#word(JsonField.pending);
  }

  /**
   * Formats one chunk, emptying the output as the driver does.
   * @param behind what lies in memory after the chunk
   * @param taken told of every call: bytes taken, and whether a record had to be cut because it fills the output alone
   */
  feed(chunk: Uint8Array, tail: string, behind = 0x0a, taken?: (bytes: number, cut: boolean) => void): void {
    this.#bytes.fill(behind, this.#source + chunk.length, this.#source + chunk.length + 64);
    if (this.#source > RING_OFFSET) this.#bytes.fill(0x22, RING_OFFSET, this.#source);
    this.#bytes.set(chunk, this.#source);
    const text = Buffer.from(`\\n${tail}`);
    this.#bytes.set(text, this.#tail);
    this.#field(JsonField.tail, this.#tail);
    this.#field(JsonField.tailBytes, text.length);
    for (let at = 0; at < chunk.length; ) {
      const got = this.#kernel.json(this.#state, this.#source + at, chunk.length - at, this.#outEnd);
      if (got < 0 || got > chunk.length - at) throw new Error(`${got} bytes taken of ${chunk.length - at}`);
      at += got;
      this.#check();
      const moved = this.#empty();
      const cut = got === 0 && !moved;
      if (cut && this.settle() === 0) throw new Error('no progress');
      taken?.(got, cut);
    }
  }

  settle(): number {
    return this.#flush(0);
  }

  finish(): number {
    return this.#flush(1);
  }

  #flush(last: 0 | 1): number {
    const closed = this.#kernel.jsonFlush(this.#state, last);
    this.#check();
    this.#empty();
    return closed;
  }

  #empty(): boolean {
    const out = this.#word(JsonField.out);
    const open = this.#word(JsonField.open);
    const closedEnd = open === 0 ? out : open;
    if (closedEnd === this.#outStart) return false;
    this.#collected.push(Buffer.from(this.#bytes.slice(this.#outStart, closedEnd)));
    this.#bytes.copyWithin(this.#outStart, closedEnd, out);
    this.#field(JsonField.out, this.#outStart + (out - closedEnd));
    if (open !== 0) this.#field(JsonField.open, this.#outStart);
    return true;
  }

  #check(): void {
    const out = this.#word(JsonField.out);
    if (out < this.#outStart || out > this.#outEnd) throw new Error(`output at ${out - this.#outStart}`);
    const reserve = 3 * JSON_GROWTH + JSON_HEAD_BYTES + 2 * this.#word(JsonField.tailBytes);
    if (this.open && out + reserve > this.#outEnd) throw new Error('no room kept for the end of an open record');
    if (!this.#untouched(this.#outStart - 64, 64)) throw new Error('written before the output area');
    if (!this.#untouched(this.#outEnd + SLACK_BYTES, CANARY_BYTES)) throw new Error('written past the output area');
  }

  #untouched(from: number, length: number): boolean {
    return UNTOUCHED.compare(this.#bytes, from, from + length, 0, length) === 0;
  }

  #word(field: number): number {
    return this.#words[(this.#state + field) / 4] ?? 0;
  }

  #field(field: number, value: number): void {
    this.#words[(this.#state + field) / 4] = value;
  }
}

/** A tail that differs from one `number` to the next, of a length that does too. */
export function tailOf(number: number): string {
  return `","stream":"stdout","time":"${'x'.repeat(number % 37)}${number}"}\n`;
}
