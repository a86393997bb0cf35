/**
 * The driver of log files: records of one format, made by the kernel, into one file. Runs on the log thread. A line that a
 * batch leaves unfinished stays open in its stream's output area until more comes or the pump says that there is no more
 * for now; records that the file cannot take stay before it.
 */

import { FormatField, formatStateOffset } from '../kernel/layout.ts';
import { bytesOf } from '../native/shared-bytes.ts';
import type { LogCounters } from '../proto/log-messages.ts';
import { STDERR, STDOUT, type Stream } from '../proto/stream.ts';
import type { LogDriver } from './driver.ts';
import { DriverField, type DriverState } from './driver-state.ts';
import type { FileSink } from './file-sink.ts';

/** A power of two. Of what is copied, on the CPUs that conmon runs on. */
const CACHE_LINE_BYTES = 64;

/** Where one stream's formatter works. Addresses are byte offsets in the shared memory. */
export interface Lane {
  readonly stream: Stream;
  /** Its state, in bytes, and as an index of u32 words. */
  readonly state: number;
  readonly words: number;
  /** The format's own bytes, see {@link RecordFormat.areaBytes}. */
  readonly area: number;
  readonly outStart: number;
  readonly outEnd: number;
  /** Index in the driver's block: bytes from `outStart` on that hold nothing, or nothing that the sink is not done with. */
  readonly doneField: number;
}

/** How lines become records. Its state is in the shared memory: it must be able to go on after another one. */
export interface RecordFormat {
  /** Bytes at the beginning of each output area that it has for itself. */
  readonly areaBytes: number;
  /** Before a batch: its records are of now. */
  begin(lane: Lane): void;
  /** @returns bytes taken of `length` at `offset`; fewer when the output is full. */
  format(lane: Lane, offset: number, length: number): number;
  /** Closes an open record as a part. `last`: nothing follows, so that nothing may be kept back for it. */
  flush(lane: Lane, last: boolean): void;
  /** Whether something is kept that only a last {@link flush} brings out. */
  keepsBack(lane: Lane): boolean;
  /** A text as one whole record of stderr, of now. */
  notice(text: string): Uint8Array;
}

/** What the driver is made of; the caller wires it (./drivers.ts). */
export interface RecordFileParts {
  readonly memory: WebAssembly.Memory;
  readonly format: RecordFormat;
  readonly sink: FileSink;
  readonly counters: LogCounters;
  readonly state: DriverState;
  /** Number of the first of two formatter states and the two output areas, stdout's and stderr's. */
  readonly firstState: number;
  readonly outputs: readonly [number, number];
  readonly outputBytes: number;
  /** Gives the pages between two offsets of the shared memory back. */
  readonly forget: (from: number, to: number) => void;
}

export class RecordFile implements LogDriver {
  readonly #parts: RecordFileParts;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #stdout: Lane;
  readonly #stderr: Lane;

  constructor(parts: RecordFileParts) {
    this.#parts = parts;
    this.#bytes = bytesOf(parts.memory);
    this.#words = new Uint32Array(parts.memory.buffer);
    this.#stdout = this.#lane(STDOUT, 0, DriverField.stdoutDoneBytes);
    this.#stderr = this.#lane(STDERR, 1, DriverField.stderrDoneBytes);
  }

  consume(stream: Stream, offset: number, length: number): boolean {
    const lane = this.#of(stream);
    const { format, counters, state } = this.#parts;
    // What the other stream could not write yet stands before this in the file.
    const other = this.#other(lane);
    const otherHolds = this.#words[other.words + FormatField.out / 4] !== other.outStart;
    if (otherHolds && !this.#flush(other)) return false;
    this.#place(lane);
    format.begin(lane);
    const recordsWord = lane.words + FormatField.records / 4;
    for (let taken = (state[DriverField.takenBytes] ?? 0) | 0; taken < length; ) {
      const more = format.format(lane, offset + taken, length - taken);
      taken += more;
      state[DriverField.takenBytes] = taken;
      counters.records += this.#words[recordsWord] ?? 0;
      this.#words[recordsWord] = 0;
      // A stalled sink leaves the records where they are, as long as there is room for more: their time is now.
      if (!this.#flush(lane) && more === 0) return false;
    }
    state[DriverField.takenBytes] = 0;
    return true;
  }

  settle(stream: Stream, last: boolean): void {
    const lane = this.#of(stream);
    if (!this.holdsPartial(stream, last)) return;
    this.#parts.format.flush(lane, last);
    const recordsWord = lane.words + FormatField.records / 4;
    this.#parts.counters.records += this.#words[recordsWord] ?? 0;
    this.#words[recordsWord] = 0;
    this.#flush(lane);
  }

  holdsPartial(stream: Stream, last: boolean): boolean {
    const lane = this.#of(stream);
    return this.#words[lane.words + FormatField.open / 4] !== 0 || (last && this.#parts.format.keepsBack(lane));
  }

  /** Whoever reads a fifo too slowly loses records: it must not hold the container back. */
  readonly patient = false;

  get stalled(): boolean {
    return this.#parts.sink.stalled;
  }

  get calm(): boolean {
    return (
      this.#parts.sink.calm &&
      this.#words[this.#stdout.words + FormatField.open / 4] === 0 &&
      this.#words[this.#stderr.words + FormatField.open / 4] === 0
    );
  }

  get wakeAtMs(): number {
    return this.#parts.sink.wakeAtMs;
  }

  get waitFd(): number {
    return this.#parts.sink.waitFd;
  }

  retry(): void {
    this.#parts.sink.retry();
    const first = this.#first();
    this.#flush(first);
    this.#flush(this.#other(first));
  }

  shed(): void {
    for (const lane of [this.#first(), this.#other(this.#first())]) {
      const from = lane.outStart + (this.#parts.state[lane.doneField] ?? 0);
      const closedEnd = this.#closedEnd(lane);
      if (closedEnd <= from) continue;
      this.#parts.sink.drop(this.#bytes, from, closedEnd - from);
      this.#compact(lane, closedEnd);
    }
  }

  reopen(): void {
    this.#parts.sink.reopen();
  }

  rest(): void {
    for (const lane of [this.#stdout, this.#stderr]) {
      // An open record, or closed ones that the file could not take, are still there.
      const out = this.#words[lane.words + FormatField.out / 4] ?? 0;
      const done = this.#parts.state[lane.doneField] ?? 0;
      if (out === lane.outStart && done === 0 && !this.holdsPartial(lane.stream, true))
        this.#parts.forget(lane.outStart, lane.outEnd);
    }
  }

  leave(): void {
    this.#parts.sink.leave(); // the file is the other one's
  }

  sync(): void {
    this.#parts.sink.sync();
  }

  close(): void {
    this.#parts.sink.close();
  }

  /** Writes the closed records and moves an open one to the start of the area. @returns false when some had to stay. */
  #flush(lane: Lane): boolean {
    const { sink, state } = this.#parts;
    // A record of the other lane that is half in the file must be ended before anything else.
    if ((state[DriverField.fragmentBytes] ?? 0) > 0) {
      const first = this.#first();
      if (first !== lane && !this.#flush(first)) return false;
    }
    const closedEnd = this.#closedEnd(lane);
    for (let from = lane.outStart + ((state[lane.doneField] ?? 0) | 0); from < closedEnd; ) {
      if (!sink.stalled) state[DriverField.writingLane] = lane.doneField;
      from += sink.write(this.#bytes, from, closedEnd - from);
      state[lane.doneField] = from - lane.outStart;
      if (sink.stalled && from < closedEnd) return false;
    }
    this.#compact(lane, closedEnd);
    return true;
  }

  /** The lane whose record may be half written goes first. */
  #first(): Lane {
    return this.#parts.state[DriverField.writingLane] === this.#stderr.doneField ? this.#stderr : this.#stdout;
  }

  #other(lane: Lane): Lane {
    return lane === this.#stdout ? this.#stderr : this.#stdout;
  }

  /** Where the closed records end, and the open one, if there is one, begins. */
  #closedEnd(lane: Lane): number {
    const open = this.#words[lane.words + FormatField.open / 4] ?? 0;
    return open === 0 ? (this.#words[lane.words + FormatField.out / 4] ?? 0) : open;
  }

  /** All closed records are gone: what is open begins the area, where it lies as its place in the file does. */
  #compact(lane: Lane, closedEnd: number): void {
    const openWord = lane.words + FormatField.open / 4;
    const outWord = lane.words + FormatField.out / 4;
    if (this.#words[openWord] === 0) {
      this.#words[outWord] = lane.outStart;
      this.#parts.state[lane.doneField] = 0;
      return;
    }
    const skew = this.#skew(lane);
    const begin = lane.outStart + skew;
    this.#parts.state[lane.doneField] = skew;
    if (closedEnd === begin) return;
    const out = this.#words[outWord] ?? 0;
    this.#bytes.copyWithin(begin, closedEnd, out);
    this.#words[openWord] = begin;
    this.#words[outWord] = begin + (out - closedEnd);
  }

  /** An empty area's next byte goes where it lies as its place in the file does. */
  #place(lane: Lane): void {
    const outWord = lane.words + FormatField.out / 4;
    if (this.#words[outWord] !== lane.outStart) return;
    const skew = this.#skew(lane);
    // In this order: a thread that dies in between leaves an area that holds less than nothing, which is nothing.
    this.#parts.state[lane.doneField] = skew;
    this.#words[outWord] = lane.outStart + skew;
  }

  /**
   * How many bytes of the area are left out so that what is written from it has the file's end's place in a line of a CPU's
   * cache: the kernel copies it into the page cache a tenth faster then (docs/adr/0047-large-writes.md).
   */
  #skew(lane: Lane): number {
    return ((this.#parts.sink.endBytes % CACHE_LINE_BYTES) - lane.outStart) & (CACHE_LINE_BYTES - 1);
  }

  #of(stream: Stream): Lane {
    return stream === STDOUT ? this.#stdout : this.#stderr;
  }

  #lane(stream: Stream, index: 0 | 1, doneField: number): Lane {
    const state = formatStateOffset(this.#parts.firstState + index);
    const area = this.#parts.outputs[index];
    const outStart = area + this.#parts.format.areaBytes;
    const lane = { stream, state, words: state / 4, area, outStart, outEnd: area + this.#parts.outputBytes, doneField };
    // A worker that takes over finds the state that its predecessor left; only fresh memory is set up.
    if (this.#words[lane.words + FormatField.out / 4] === 0) this.#words[lane.words + FormatField.out / 4] = outStart;
    return lane;
  }
}
