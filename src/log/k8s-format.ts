/** CRI log records, `TIMESTAMP STREAM TAG CONTENT\n`: what the kernel's k8s formatter needs around it. Log thread. */

import type { Kernel } from '../kernel/kernel.ts';
import { FormatField, PREFIX_BYTES } from '../kernel/layout.ts';
import { bytesOf } from '../native/shared-bytes.ts';
import { STDERR } from '../proto/stream.ts';
import type { Lane, RecordFormat } from './record-file.ts';
import type { Timestamp } from './timestamp.ts';

export class K8sFormat implements RecordFormat {
  readonly areaBytes = 0;
  readonly #bytes: Uint8Array;
  readonly #kernel: Kernel;
  readonly #timestamp: Timestamp;

  constructor(memory: WebAssembly.Memory, kernel: Kernel, timestamp: Timestamp) {
    this.#bytes = bytesOf(memory);
    this.#kernel = kernel;
    this.#timestamp = timestamp;
  }

  begin(lane: Lane): void {
    this.#timestamp.write(this.#bytes, lane.state + FormatField.prefix, lane.stream);
  }

  format(lane: Lane, offset: number, length: number): number {
    return this.#kernel.k8s(lane.state, offset, length, lane.outEnd);
  }

  flush(lane: Lane): void {
    this.#kernel.k8sFlush(lane.state);
  }

  keepsBack(): boolean {
    return false;
  }

  notice(text: string): Uint8Array {
    const content = Buffer.from(`${text}\n`);
    const record = new Uint8Array(PREFIX_BYTES + content.length);
    this.#timestamp.write(record, 0, STDERR);
    record.set(content, PREFIX_BYTES);
    return record;
  }
}
