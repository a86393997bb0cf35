/**
 * The k8s-file driver: CRI log records through the kernel into one file. Runs on the log thread. A line that a batch
 * leaves unfinished stays open at the start of its stream's output area until more comes or the pump says that there
 * is no more for now.
 */

import type { Kernel } from '../kernel/kernel.ts';
import { FormatField, formatStateOffset } from '../kernel/layout.ts';
import type { LogCounters } from '../proto/log-messages.ts';
import { STDOUT, type Stream } from '../proto/stream.ts';
import type { LogDriver } from './driver.ts';
import type { FileSink } from './file-sink.ts';
import type { Timestamp } from './timestamp.ts';

/** Where one stream's formatter works. Addresses are byte offsets in the shared memory. */
interface Lane {
  /** Its state, in bytes, and as an index of u32 words. */
  readonly state: number;
  readonly words: number;
  readonly outStart: number;
  readonly outEnd: number;
}

/** What the driver is made of; the caller wires it (workers/log.ts). */
export interface K8sFileParts {
  readonly memory: WebAssembly.Memory;
  readonly kernel: Kernel;
  readonly timestamp: Timestamp;
  readonly sink: FileSink;
  readonly counters: LogCounters;
  /** Number of the first of two formatter states and the two output areas, stdout's and stderr's. */
  readonly firstState: number;
  readonly outputs: readonly [number, number];
  readonly outputBytes: number;
}

export class K8sFile implements LogDriver {
  readonly #parts: K8sFileParts;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #stdout: Lane;
  readonly #stderr: Lane;

  constructor(parts: K8sFileParts) {
    this.#parts = parts;
    this.#bytes = new Uint8Array(parts.memory.buffer);
    this.#words = new Uint32Array(parts.memory.buffer);
    this.#stdout = this.#lane(0);
    this.#stderr = this.#lane(1);
  }

  consume(stream: Stream, offset: number, length: number): void {
    const lane = this.#of(stream);
    const { kernel, timestamp } = this.#parts;
    timestamp.write(this.#bytes, lane.state + FormatField.prefix, stream);
    for (let taken = 0; taken < length; ) {
      taken += kernel.k8s(lane.state, offset + taken, length - taken, lane.outEnd);
      this.#flush(lane);
    }
  }

  settle(stream: Stream): void {
    const lane = this.#of(stream);
    if (this.#parts.kernel.k8sFlush(lane.state) === 1) this.#flush(lane);
  }

  holdsPartial(stream: Stream): boolean {
    return this.#words[this.#of(stream).words + FormatField.open / 4] !== 0;
  }

  reopen(): void {
    this.#parts.sink.reopen();
  }

  sync(): void {
    this.#parts.sink.sync();
  }

  close(): void {
    this.#parts.sink.close();
  }

  /** Writes the closed records and moves an open one to the start of the area. */
  #flush(lane: Lane): void {
    const outWord = lane.words + FormatField.out / 4;
    const openWord = lane.words + FormatField.open / 4;
    const recordsWord = lane.words + FormatField.records / 4;
    const out = this.#words[outWord] ?? 0;
    const open = this.#words[openWord] ?? 0;
    const closedEnd = open === 0 ? out : open;
    if (closedEnd > lane.outStart) {
      this.#parts.sink.write(this.#bytes, lane.outStart, closedEnd - lane.outStart);
      this.#parts.counters.records += this.#words[recordsWord] ?? 0;
      this.#words[recordsWord] = 0;
    }
    if (open === 0) {
      this.#words[outWord] = lane.outStart;
    } else if (open !== lane.outStart) {
      this.#bytes.copyWithin(lane.outStart, open, out);
      this.#words[openWord] = lane.outStart;
      this.#words[outWord] = lane.outStart + (out - open);
    }
  }

  #of(stream: Stream): Lane {
    return stream === STDOUT ? this.#stdout : this.#stderr;
  }

  #lane(index: 0 | 1): Lane {
    const state = formatStateOffset(this.#parts.firstState + index);
    const outStart = this.#parts.outputs[index];
    const lane = { state, words: state / 4, outStart, outEnd: outStart + this.#parts.outputBytes };
    // A worker that takes over finds the state that its predecessor left; only fresh memory is set up.
    if (this.#words[lane.words + FormatField.out / 4] === 0) this.#words[lane.words + FormatField.out / 4] = outStart;
    return lane;
  }
}
