/** A journald driver that talks to a socket of the test's, over a real kernel and real system calls. */
import { mkdtempSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createMemory, loadKernel } from '../../../src/kernel/kernel.ts';
import { formatStateOffset } from '../../../src/kernel/layout.ts';
import { newCounters } from '../../../src/log/counters.ts';
import { DriverField, driverState } from '../../../src/log/driver-state.ts';
import { Journald } from '../../../src/log/journald.ts';
import { Loss } from '../../../src/log/loss.ts';
import { F_GET_SEALS, F_SEAL_ALL, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import type { JournaldTarget } from '../../../src/proto/log-messages.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import {
  DRIVER_BYTES,
  DRIVERS_OFFSET,
  FORMATS_OFFSET,
  memoryBytes,
  outputOffset,
  RING_OFFSET,
  type RingGeometry,
} from '../../../src/ring/layout.ts';
import { decodeEntry, field, type JournalEntry } from '../../helpers/journal-entry.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

export const CID = `0123456789abcdef${'f'.repeat(48)}`;
const MESSAGE_MOST = 1 << 21;
/** What is in memory that is nobody's, or the ring's. */
const FILLED = 0xee;

/** The other end of the socket. */
export class Journal {
  readonly path: string;
  #fd = -1;
  /** What has arrived so far. */
  readonly entries: JournalEntry[] = [];
  /** How many of them came as files. */
  files = 0;
  readonly #bytes = Buffer.alloc(MESSAGE_MOST);

  constructor(path: string) {
    this.path = path;
    this.open();
  }

  open(): void {
    this.#fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC);
    const result = sys.bind(this.#fd, this.path);
    if (result < 0) throw new Error(`bind: ${sys.strerror(result)}`);
  }

  /** Is gone, its path too. */
  close(): void {
    if (this.#fd === -1) return;
    sys.close(this.#fd);
    this.#fd = -1;
    rmSync(this.path, { force: true });
  }

  /** Takes what waits, at most `most` messages. @returns how many there were. */
  take(most = Number.POSITIVE_INFINITY): number {
    let taken = 0;
    for (; taken < most; taken++) {
      const fds = new Int32Array(2);
      const length = sys.recvmsg(this.#fd, this.#bytes, 0, this.#bytes.length, fds, MSG_DONTWAIT);
      if (length < 0) break;
      if (fds[0] === 1) {
        this.files++;
        this.entries.push(decodeEntry(this.#readFile(fds[1] ?? -1)));
      } else this.entries.push(decodeEntry(Buffer.from(this.#bytes.subarray(0, length))));
    }
    return taken;
  }

  #readFile(fd: number): Buffer {
    if (sys.fcntl(fd, F_GET_SEALS, 0) !== F_SEAL_ALL) throw new Error('the file is not sealed');
    const copy = Buffer.alloc(MESSAGE_MOST);
    // Its position is the end, where the sender has written.
    const length = readSync(fd, copy, 0, copy.length, 0);
    sys.close(fd);
    return copy.subarray(0, length);
  }
}

export interface JournaldRigOptions {
  readonly target?: Partial<JournaldTarget>;
  readonly calls?: Partial<Sys>;
  /** As a thread's: a full socket is waited for. Here nobody reads meanwhile: it costs the test's time. */
  readonly waits?: boolean | 'unsaid';
}

export class JournaldRig {
  readonly journal: Journal;
  readonly counters = newCounters();
  readonly complaints = new Complaints();
  readonly memory: WebAssembly.Memory;
  readonly #bytes: Uint8Array;
  readonly #geometry: RingGeometry = {
    capacityBytes: 1 << 20,
    softBytes: 1 << 20,
    outputBytes: 1 << 20,
    outputCount: 2,
  };
  readonly #options: JournaldRigOptions;
  driver: Journald;
  loss!: Loss;
  /** Milliseconds of the driver's clock. */
  nowMs = 1000;

  constructor(test: Test, options: JournaldRigOptions = {}) {
    const dir = mkdtempSync(join(tmpdir(), 'conmon-journald-'));
    this.journal = new Journal(join(dir, 'socket'));
    this.#options = options;
    this.memory = createMemory(memoryBytes(this.#geometry));
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#bytes.fill(FILLED, RING_OFFSET);
    this.driver = this.takeOver();
    test.teardown(() => {
      this.driver.close();
      this.journal.close();
      rmSync(dir, { recursive: true, force: true });
    });
  }

  get takenBytes(): number {
    return driverState(this.memory, 0)[DriverField.takenBytes] ?? 0;
  }

  takeOver(): Journald {
    const target: JournaldTarget = {
      driver: 'journald',
      socketPath: this.journal.path,
      cid: CID,
      name: 'web',
      tag: undefined,
      labels: [],
      tellPartial: true,
      ...this.#options.target,
    };
    const state = driverState(this.memory, 0);
    this.loss = new Loss(sys, this.complaints.diag, 'journald', state, () => Date.parse('2026-11-23T18:00:00Z'));
    return new Journald(target, {
      sys: realSysBut(this.#options.calls ?? {}),
      memory: this.memory,
      kernel: loadKernel(this.memory),
      counters: this.counters,
      state,
      loss: this.loss,
      firstState: 0,
      outputs: [outputOffset(this.#geometry, 0), outputOffset(this.#geometry, 1)],
      outputBytes: this.#geometry.outputBytes,
      now: () => this.nowMs,
      ...(this.#options.waits !== 'unsaid' && { waits: this.#options.waits ?? false }),
    });
  }

  /** Memory that is neither the driver's, nor the formatters', nor of the ring behind `usedBytes` of it, and was written to: offsets. */
  strays(usedBytes: number): number[] {
    const behind = (index: number): number => outputOffset(this.#geometry, index) + this.#geometry.outputBytes;
    const places: readonly (readonly [number, number, number])[] = [
      [0, FORMATS_OFFSET, 0],
      [formatStateOffset(2), DRIVERS_OFFSET, 0],
      [DRIVERS_OFFSET + DRIVER_BYTES, RING_OFFSET, 0],
      [RING_OFFSET + usedBytes, outputOffset(this.#geometry, 0), FILLED],
      [behind(0), outputOffset(this.#geometry, 1), FILLED],
      [behind(1), memoryBytes(this.#geometry), FILLED],
    ];
    return places.flatMap(([from, to, byte]) => {
      const at = this.#bytes.subarray(from, to).findIndex((each) => each !== byte);
      return at === -1 ? [] : [from + at];
    });
  }

  /** Hands a chunk to the driver once, `at` bytes into the ring. */
  offer(chunk: string | Uint8Array, stream: Stream = STDOUT, at = 0): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk;
    const offset = RING_OFFSET + at;
    this.#bytes.fill(0x0a, offset + bytes.length, offset + bytes.length + 64);
    this.#bytes.set(bytes, offset);
    return this.driver.consume(stream, offset, bytes.length);
  }

  /** Hands a chunk in until it is taken, as the pump does with a journal that reads. */
  print(chunk: string | Uint8Array, stream: Stream = STDOUT, at = 0): void {
    for (let tries = 0; !this.offer(chunk, stream, at); tries++) {
      if (tries > 100_000) throw new Error('the driver takes nothing');
      this.journal.take();
      this.driver.retry();
    }
    this.journal.take();
  }

  /** What arrived, as `PRIORITY|MESSAGE`, with a `+` behind for a part. */
  get lines(): string[] {
    this.journal.take();
    return this.journal.entries.map((entry) => {
      const part = field(entry, 'CONTAINER_PARTIAL_MESSAGE');
      if (part !== undefined && part !== 'true') throw new Error(`CONTAINER_PARTIAL_MESSAGE=${part}`);
      return `${field(entry, 'PRIORITY')}|${field(entry, 'MESSAGE')}${part === undefined ? '' : '+'}`;
    });
  }

  end(): void {
    for (const stream of [STDOUT, STDERR] as const)
      if (this.driver.holdsPartial(stream, true)) this.driver.settle(stream, true);
  }
}
