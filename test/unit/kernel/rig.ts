/**
 * The kernel with its areas where a test wants them: source and output at any alignment, everything behind the output's
 * slack watched, everything around the source full of newlines that do not count.
 */
import { createMemory, type Kernel, loadKernel } from '../../../src/kernel/kernel.ts';
import { FORMAT_STATE_BYTES, FormatField, formatStateOffset, PREFIX_BYTES } from '../../../src/kernel/layout.ts';
import { RING_OFFSET, SLACK_BYTES } from '../../../src/ring/layout.ts';
import type { Lead } from './reference.ts';

const CANARY = 0x3c;
const NEWLINE = 0x0a;
const SOURCE_BYTES = 1 << 17;
const CANARY_BYTES = 512;
const UNTOUCHED = Buffer.alloc(CANARY_BYTES, CANARY);

export interface Place {
  /** Output bytes that the kernel may use. */
  readonly outputBytes: number;
  /** Alignment of the source and of the output area. */
  readonly sourceAlign?: number;
  readonly outputAlign?: number;
}

/** One memory and one kernel; {@link place} starts afresh. */
export class KernelRig {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #kernel: Kernel;
  readonly #state = formatStateOffset(3);
  #source = 0;
  #outStart = 0;
  #outEnd = 0;
  #collected: Buffer[] = [];

  constructor(largestOutput = 1 << 18) {
    const memory = createMemory(RING_OFFSET + SOURCE_BYTES + 128 + largestOutput + SLACK_BYTES + CANARY_BYTES);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.#kernel = loadKernel(memory);
  }

  /** A fresh formatter. */
  place({ outputBytes, sourceAlign = 0, outputAlign = 0 }: Place): this {
    this.#source = RING_OFFSET + sourceAlign;
    this.#outStart = RING_OFFSET + SOURCE_BYTES + 64 + outputAlign;
    this.#outEnd = this.#outStart + outputBytes;
    this.#collected = [];
    this.#bytes.fill(0, this.#state, this.#state + FORMAT_STATE_BYTES);
    this.#field(FormatField.out, this.#outStart);
    this.#bytes.fill(CANARY, this.#outStart - 64, this.#outStart);
    this.#bytes.fill(CANARY, this.#outEnd + SLACK_BYTES, this.#outEnd + SLACK_BYTES + CANARY_BYTES);
    return this;
  }

  /** What was written so far, closed records only. */
  get output(): Buffer {
    return Buffer.concat(this.#collected);
  }

  get records(): number {
    return this.#words[(this.#state + FormatField.records) / 4] ?? 0;
  }

  get open(): boolean {
    return this.#words[(this.#state + FormatField.open) / 4] !== 0;
  }

  /**
   * Formats one chunk, emptying the output as the driver does.
   * @param behind what lies in memory after the chunk
   * @param taken told of every call: bytes taken, and whether a record had to be cut because it fills the output alone
   */
  feed(chunk: Uint8Array, lead: Lead, behind = NEWLINE, taken?: (bytes: number, cut: boolean) => void): void {
    this.#bytes.fill(behind, this.#source + chunk.length, this.#source + chunk.length + 64);
    if (this.#source > RING_OFFSET) this.#bytes.fill(NEWLINE, RING_OFFSET, this.#source);
    this.#bytes.set(chunk, this.#source);
    this.#bytes.set(Buffer.from(`${lead}F `, 'latin1'), this.#state + FormatField.prefix);
    for (let at = 0; at < chunk.length; ) {
      const got = this.#kernel.k8s(this.#state, this.#source + at, chunk.length - at, this.#outEnd);
      if (got < 0 || got > chunk.length - at) throw new Error(`${got} bytes taken of ${chunk.length - at}`);
      at += got;
      this.#check();
      const moved = this.#empty();
      // The driver's areas hold any record; here a record that fills the whole area is closed to get on.
      const cut = got === 0 && !moved;
      if (cut) this.settle();
      taken?.(got, cut);
    }
  }

  settle(): number {
    const closed = this.#kernel.k8sFlush(this.#state);
    this.#check();
    this.#empty();
    return closed;
  }

  /** Takes closed records out and moves an open one to the start. @returns whether that made room. */
  #empty(): boolean {
    const out = this.#words[(this.#state + FormatField.out) / 4] ?? 0;
    const open = this.#words[(this.#state + FormatField.open) / 4] ?? 0;
    const closedEnd = open === 0 ? out : open;
    if (closedEnd === this.#outStart) return false;
    this.#collected.push(Buffer.from(this.#bytes.slice(this.#outStart, closedEnd)));
    this.#bytes.copyWithin(this.#outStart, closedEnd, out);
    this.#field(FormatField.out, this.#outStart + (out - closedEnd));
    if (open !== 0) this.#field(FormatField.open, this.#outStart);
    return true;
  }

  #check(): void {
    const out = this.#words[(this.#state + FormatField.out) / 4] ?? 0;
    if (out < this.#outStart || out > this.#outEnd) throw new Error(`output at ${out - this.#outStart}`);
    if (this.open && out + 1 > this.#outEnd) throw new Error('no room kept for the newline of an open record');
    if (!this.#untouched(this.#outStart - 64, 64)) throw new Error('written before the output area');
    if (!this.#untouched(this.#outEnd + SLACK_BYTES, CANARY_BYTES)) throw new Error('written past the output area');
  }

  #untouched(from: number, length: number): boolean {
    return UNTOUCHED.compare(this.#bytes, from, from + length, 0, length) === 0;
  }

  #field(field: number, value: number): void {
    this.#words[(this.#state + field) / 4] = value;
  }
}

/** A lead of the right length that differs from one `number` to the next. */
export function leadOf(number: number): Lead {
  const lead = `2026-11-23T18:00:00.${String(number).padStart(9, '0')}+00:00 stdout `;
  if (lead.length + 2 !== PREFIX_BYTES) throw new Error('rig: bad lead');
  return lead;
}
