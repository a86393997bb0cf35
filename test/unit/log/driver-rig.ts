/** A driver of log files over a real kernel and a real file, with a clock that a test sets; k8s-file unless it is said. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createMemory, type Kernel, loadKernel } from '../../../src/kernel/kernel.ts';
import { newCounters } from '../../../src/log/counters.ts';
import { driverState } from '../../../src/log/driver-state.ts';
import { K8sFormat } from '../../../src/log/k8s-format.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { RecordFile, type RecordFormat } from '../../../src/log/record-file.ts';
import { Timestamp } from '../../../src/log/timestamp.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { memoryBytes, outputOffset, RING_OFFSET, type RingGeometry } from '../../../src/ring/layout.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { fileSink, type SinkOptions } from './sink-rig.ts';

export type MakeFormat = (memory: WebAssembly.Memory, kernel: Kernel, clock: Sys) => RecordFormat;

const k8s: MakeFormat = (memory, kernel, clock) => new K8sFormat(memory, kernel, new Timestamp(clock, () => 0));

export class DriverRig {
  readonly path: string;
  readonly counters = newCounters();
  readonly geometry: RingGeometry;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly complaints = new Complaints();
  /** What sinks get that is not the usual. */
  calls: Partial<SinkOptions> = {};
  driver: RecordFile;
  /** Where the areas begin whose pages were given back; they read as zero since. */
  readonly forgotten: number[] = [];
  readonly #makeFormat: MakeFormat;
  /** Nanoseconds of the clock, which stands otherwise still. */
  nanoseconds = 0;
  readonly clock = fakeSys({
    clockGettime: (_clock, out) => {
      out[0] = Date.parse('2026-11-23T18:00:00Z') / 1000;
      out[1] = this.nanoseconds;
      return 0;
    },
  });
  readonly kernel: Kernel;

  constructor(test: Test, geometry: Partial<RingGeometry> = {}, makeFormat = k8s) {
    this.#makeFormat = makeFormat;
    const dir = mkdtempSync(join(tmpdir(), 'conmon-driver-'));
    this.path = join(dir, 'log');
    this.geometry = { capacityBytes: 1 << 17, softBytes: 1 << 17, outputBytes: 1 << 17, outputCount: 2, ...geometry };
    this.memory = createMemory(memoryBytes(this.geometry));
    this.bytes = new Uint8Array(this.memory.buffer);
    this.kernel = loadKernel(this.memory);
    this.driver = this.takeOver();
    test.teardown(() => {
      this.driver.close();
      rmSync(dir, { recursive: true, force: true });
    });
  }

  /** A driver on the same memory and file, as of a thread that takes over. */
  takeOver(): RecordFile {
    const format = this.#makeFormat(this.memory, this.kernel, this.clock);
    const state = driverState(this.memory, 0);
    const sink = fileSink({
      sys,
      diag: this.complaints.diag,
      counters: this.counters,
      path: this.path,
      fd: openLog(this.path),
      state,
      notice: (text) => format.notice(text),
      ...this.calls,
    });
    return new RecordFile({
      memory: this.memory,
      format,
      sink,
      counters: this.counters,
      state,
      firstState: 0,
      outputs: [outputOffset(this.geometry, 0), outputOffset(this.geometry, 1)],
      outputBytes: this.geometry.outputBytes,
      forget: (from, to) => {
        this.forgotten.push(from);
        this.bytes.fill(0, from, to);
      },
    });
  }

  /** What a record that begins now begins with, but for the tag. */
  lead(stream: Stream): string {
    const fraction = String(this.nanoseconds).padStart(9, '0');
    return `2026-11-23T18:00:00.${fraction}+00:00 ${stream === STDOUT ? 'stdout' : 'stderr'} `;
  }

  /** Hands a chunk to the driver, `at` bytes into the ring; what lies behind it is full of newlines. */
  consume(stream: Stream, chunk: Uint8Array, at = 0): boolean {
    const offset = RING_OFFSET + at;
    this.bytes.fill(0x0a, offset + chunk.length, offset + chunk.length + 32);
    this.bytes.set(chunk, offset);
    return this.driver.consume(stream, offset, chunk.length);
  }

  get content(): Buffer {
    return readFileSync(this.path);
  }
}
