/**
 * The kernel's formatters with their areas where a test wants them: source, output and tail at any alignment, everything
 * behind the output's slack watched, everything around the source full of bytes that do not count.
 */
import { createMemory, type Kernel, loadKernel } from '../../../src/kernel/kernel.ts';
import {
  FORMAT_STATE_BYTES,
  FormatField,
  formatStateOffset,
  JSON_CONTENT_MAX_BYTES,
  JSON_GROWTH,
  JSON_HEAD_BYTES,
  JSON_RESERVE_BYTES,
  JsonField,
  PREFIX_BYTES,
} from '../../../src/kernel/layout.ts';
import { RING_OFFSET, SLACK_BYTES } from '../../../src/ring/layout.ts';
import type { Lead } from './reference.ts';

const CANARY = 0x3c;
const NEWLINE = 0x0a;
const QUOTE = 0x22;
const SOURCE_BYTES = 1 << 17;
const TAIL_AREA_BYTES = 4096;
const CANARY_BYTES = 512;
const UNTOUCHED = Buffer.alloc(CANARY_BYTES, CANARY);

export interface Place {
  /** Output bytes that the kernel may use. */
  readonly outputBytes: number;
  /** Alignment of the source, of the output area, and of a json record's tail. */
  readonly sourceAlign?: number;
  readonly outputAlign?: number;
  readonly tailAlign?: number;
}

/**
 * One memory and one kernel; {@link place} starts afresh. Both formats name the fields that are used here alike.
 * `Beside` is what a record has beside its line.
 */
abstract class FormatRig<Beside> {
  protected readonly bytes: Uint8Array;
  protected readonly kernel: Kernel;
  protected readonly state: number;
  protected outEnd = 0;
  protected tail = 0;
  readonly #words: Uint32Array;
  readonly #around: number;
  #source = 0;
  #outStart = 0;
  #collected: Buffer[] = [];

  /** @param around lies before the source, where it must not count */
  constructor(stateNumber: number, around: number, largestOutput: number) {
    const bytes = RING_OFFSET + SOURCE_BYTES + 256 + TAIL_AREA_BYTES + largestOutput + SLACK_BYTES + CANARY_BYTES;
    const memory = createMemory(bytes);
    this.bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.kernel = loadKernel(memory);
    this.state = formatStateOffset(stateNumber);
    this.#around = around;
  }

  /** What each record of the next chunk has beside its line. */
  protected abstract put(beside: Beside): void;
  /** @returns bytes taken of `length` at `at` */
  protected abstract format(at: number, length: number): number;
  /** @returns records closed; with `last` nothing follows. */
  protected abstract close(last: 0 | 1): number;
  /** Bytes behind an open record that are kept for its end. */
  protected abstract get reserveBytes(): number;

  /** A fresh formatter. */
  place({ outputBytes, sourceAlign = 0, outputAlign = 0, tailAlign = 0 }: Place): this {
    this.#source = RING_OFFSET + sourceAlign;
    this.tail = RING_OFFSET + SOURCE_BYTES + 128 + tailAlign;
    this.#outStart = RING_OFFSET + SOURCE_BYTES + TAIL_AREA_BYTES + 256 + outputAlign;
    this.outEnd = this.#outStart + outputBytes;
    this.#collected = [];
    this.bytes.fill(0, this.state, this.state + FORMAT_STATE_BYTES);
    this.setField(FormatField.out, this.#outStart);
    this.bytes.fill(CANARY, this.#outStart - 64, this.#outStart);
    this.bytes.fill(CANARY, this.outEnd + SLACK_BYTES, this.outEnd + SLACK_BYTES + CANARY_BYTES);
    return this;
  }

  /** What was written so far, closed records only. */
  get output(): Buffer {
    return Buffer.concat(this.#collected);
  }

  get records(): number {
    return this.field(FormatField.records);
  }

  get open(): boolean {
    return this.field(FormatField.open) !== 0;
  }

  /**
   * Formats one chunk, emptying the output as the driver does.
   * @param behind what lies in memory after the chunk
   * @param taken told of every call: bytes taken, and whether a record had to be cut because it fills the output alone
   */
  feed(chunk: Uint8Array, beside: Beside, behind = NEWLINE, taken?: (bytes: number, cut: boolean) => void): void {
    this.bytes.fill(behind, this.#source + chunk.length, this.#source + chunk.length + 64);
    if (this.#source > RING_OFFSET) this.bytes.fill(this.#around, RING_OFFSET, this.#source);
    this.bytes.set(chunk, this.#source);
    this.put(beside);
    for (let at = 0; at < chunk.length; ) {
      const got = this.format(this.#source + at, chunk.length - at);
      if (got < 0 || got > chunk.length - at) throw new Error(`${got} bytes taken of ${chunk.length - at}`);
      at += got;
      this.#check();
      const moved = this.#empty();
      // The driver's areas hold any record; here a record that fills the whole area is closed to get on.
      const cut = got === 0 && !moved;
      if (cut && this.settle() === 0) throw new Error('no progress');
      taken?.(got, cut);
    }
  }

  settle(): number {
    return this.flush(0);
  }

  protected flush(last: 0 | 1): number {
    const closed = this.close(last);
    this.#check();
    this.#empty();
    return closed;
  }

  protected field(field: number): number {
    return this.#words[(this.state + field) / 4] ?? 0;
  }

  protected setField(field: number, value: number): void {
    this.#words[(this.state + field) / 4] = value;
  }

  /** Takes closed records out and moves an open one to the start. @returns whether that made room. */
  #empty(): boolean {
    const out = this.field(FormatField.out);
    const open = this.field(FormatField.open);
    const closedEnd = open === 0 ? out : open;
    if (closedEnd === this.#outStart) return false;
    this.#collected.push(Buffer.from(this.bytes.slice(this.#outStart, closedEnd)));
    this.bytes.copyWithin(this.#outStart, closedEnd, out);
    this.setField(FormatField.out, this.#outStart + (out - closedEnd));
    if (open !== 0) this.setField(FormatField.open, this.#outStart);
    return true;
  }

  #check(): void {
    const out = this.field(FormatField.out);
    if (out < this.#outStart || out > this.outEnd) throw new Error(`output at ${out - this.#outStart}`);
    if (this.open && out + this.reserveBytes > this.outEnd)
      throw new Error('no room kept for the end of an open record');
    if (!this.#untouched(this.#outStart - 64, 64)) throw new Error('written before the output area');
    if (!this.#untouched(this.outEnd + SLACK_BYTES, CANARY_BYTES)) throw new Error('written past the output area');
  }

  #untouched(from: number, length: number): boolean {
    return UNTOUCHED.compare(this.bytes, from, from + length, 0, length) === 0;
  }
}

export class KernelRig extends FormatRig<Lead> {
  /** Its newline. */
  protected readonly reserveBytes = 1;

  constructor(largestOutput = 1 << 18) {
    super(3, NEWLINE, largestOutput);
  }

  protected put(lead: Lead): void {
    this.bytes.set(Buffer.from(`${lead}F `, 'latin1'), this.state + FormatField.prefix);
  }

  protected format(at: number, length: number): number {
    return this.kernel.k8s(this.state, at, length, this.outEnd);
  }

  protected close(): number {
    return this.kernel.k8sFlush(this.state);
  }
}

export class JsonRig extends FormatRig<string> {
  constructor(largestOutput = 1 << 19) {
    super(5, QUOTE, largestOutput);
  }

  get pending(): number {
    return this.field(JsonField.pending);
  }

  finish(): number {
    return this.flush(1);
  }

  protected get reserveBytes(): number {
    return 3 * JSON_GROWTH + JSON_HEAD_BYTES + 2 * this.field(JsonField.tailBytes);
  }

  protected put(tail: string): void {
    const text = Buffer.from(`\\n${tail}`);
    this.bytes.set(text, this.tail);
    this.setField(JsonField.tail, this.tail);
    this.setField(JsonField.tailBytes, text.length);
  }

  protected format(at: number, length: number): number {
    return this.kernel.json(this.state, at, length, this.outEnd);
  }

  protected close(last: 0 | 1): number {
    return this.kernel.jsonFlush(this.state, last);
  }
}

/** A lead of the right length that differs from one `number` to the next. */
export function leadOf(number: number): Lead {
  const lead = `2026-11-23T18:00:00.${String(number).padStart(9, '0')}+00:00 stdout `;
  if (lead.length + 2 !== PREFIX_BYTES) throw new Error('rig: bad lead');
  return lead;
}

/** A tail that differs from one `number` to the next, of a length that does too. */
export function tailOf(number: number): string {
  return `","stream":"stdout","time":"${'x'.repeat(number % 37)}${number}"}\n`;
}

/** What an area needs to hold any json record that ends with `tail`. */
export function leastOutput(tail: string): number {
  return JSON_HEAD_BYTES + JSON_GROWTH * JSON_CONTENT_MAX_BYTES + 3 * (tail.length + 2) + JSON_RESERVE_BYTES;
}
