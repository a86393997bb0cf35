/** A log file on a disk that a test can fill: writes go to a real file, but only as far as the test allows. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { type DriverState, ownDriverState } from '../../../src/log/driver-state.ts';
import { FileSink, type FileSinkParts, UNLIMITED } from '../../../src/log/file-sink.ts';
import { Loss } from '../../../src/log/loss.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { replacement } from '../../../src/log/rotation.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogCounters, SizeLimits } from '../../../src/proto/log-messages.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

/** What a test may leave out. */
export type SinkOptions = Omit<FileSinkParts, 'limits' | 'replacement' | 'state' | 'loss' | 'notice'> &
  Partial<FileSinkParts> & { readonly keepFiles?: number; readonly wallClock?: () => number };

/** A sink without limits that replaces its file, and says what was lost as `notice: TEXT`. */
export function fileSink(options: SinkOptions): FileSink {
  const state = options.state ?? ownDriverState();
  return new FileSink({
    limits: UNLIMITED,
    replacement: replacement(sys, options.path, { keepFiles: options.keepFiles ?? 0 }),
    loss: new Loss(options.sys, options.diag, options.path, state, options.wallClock),
    notice: (text) => Buffer.from(`notice: ${text}\n`),
    ...options,
    state,
  });
}

/** What the next write does: at most so many bytes are taken; a negative number is an errno. */
export type Answer = number;

const { ENOSPC } = constants.errno;

export class Disk {
  readonly dir: string;
  readonly path: string;
  readonly counters: LogCounters = newCounters();
  readonly complaints = new Complaints();
  sink: FileSink;
  /** Answers to the next writes; when there are none, {@link roomBytes} decides. */
  readonly answers: Answer[] = [];
  /** Bytes that still fit on the disk. */
  roomBytes = Number.POSITIVE_INFINITY;

  /** ms of both clocks, which stand still. */
  nowMs = Date.UTC(2026, 10, 25, 12);
  readonly state: DriverState = ownDriverState();
  readonly #options: Partial<SinkOptions>;
  /** What {@link write} handed over and the sink did not take. */
  held = '';

  /** @param limits none by default */
  constructor(test: Test, limits: Partial<SizeLimits> = {}, options: Partial<SinkOptions> = {}) {
    this.dir = mkdtempSync(join(tmpdir(), 'conmon-sink-'));
    this.path = join(this.dir, 'log');
    this.#options = { limits: { ...UNLIMITED, ...limits }, ...options };
    this.sink = this.takeOver();
    test.teardown(() => {
      this.sink.close();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** A sink on the same file and state, as of a thread that takes over. */
  takeOver(): FileSink {
    const write = (fd: number, bytes: Uint8Array, offset: number, length: number) =>
      this.#write(fd, bytes, offset, length);
    return fileSink({
      sys: fakeSys({ write, dup3: sys.dup3, close: sys.close, fstatat: sys.fstatat }),
      diag: this.complaints.diag,
      counters: this.counters,
      path: this.path,
      fd: openLog(this.path),
      state: this.state,
      now: () => this.nowMs,
      wallClock: () => this.nowMs,
      ...this.#options,
    });
  }

  /** Hands whole records to the sink, amid other bytes. */
  write(...records: readonly string[]): void {
    this.held += records.join('');
    this.#flush();
  }

  /** The next attempt's time has come. */
  retry(): void {
    this.nowMs += 60_000;
    this.sink.retry();
    this.#flush();
  }

  /** Gives up what is held. */
  drop(): void {
    const memory = Buffer.from(this.held, 'latin1');
    this.sink.drop(memory, 0, memory.length);
    this.held = '';
  }

  #flush(): void {
    do {
      const text = Buffer.from(this.held, 'latin1');
      if (text.length === 0) return;
      const memory = Buffer.concat([Buffer.from('before\n'), text, Buffer.from('\nbehind')]);
      const taken = this.sink.write(memory, 7, text.length);
      this.held = text.toString('latin1', taken);
    } while (!this.sink.stalled);
  }

  get content(): string {
    return readFileSync(this.path, 'latin1');
  }

  #write(fd: number, bytes: Uint8Array, offset: number, length: number): number {
    const answer = this.answers.shift();
    if (answer !== undefined && answer < 0) return answer;
    const taken = Math.min(answer ?? length, length, this.roomBytes);
    if (taken === 0 && length > 0) return -ENOSPC;
    this.roomBytes -= taken;
    return sys.write(fd, bytes, offset, taken);
  }
}
