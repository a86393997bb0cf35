/** A log file on a disk that a test can fill: writes go to a real file, but only as far as the test allows. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { FileSink } from '../../../src/log/file-sink.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogCounters, SizeLimits } from '../../../src/proto/log-messages.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

/** What the next write does: at most so many bytes are taken; a negative number is an errno. */
export type Answer = number;

const { ENOSPC } = constants.errno;

export class Disk {
  readonly dir: string;
  readonly path: string;
  readonly counters: LogCounters = newCounters();
  readonly complaints = new Complaints();
  readonly sink: FileSink;
  /** Answers to the next writes; when there are none, {@link roomBytes} decides. */
  readonly answers: Answer[] = [];
  /** Bytes that still fit on the disk. */
  roomBytes = Number.POSITIVE_INFINITY;

  /** @param limits none by default */
  constructor(test: Test, limits: Partial<SizeLimits> = {}) {
    this.dir = mkdtempSync(join(tmpdir(), 'conmon-sink-'));
    this.path = join(this.dir, 'log');
    const none = Number.POSITIVE_INFINITY;
    const write = (fd: number, bytes: Uint8Array, offset: number, length: number) =>
      this.#write(fd, bytes, offset, length);
    const fake = fakeSys({ write, dup3: sys.dup3 });
    const all = { fileMaxBytes: none, globalMaxBytes: none, ...limits };
    this.sink = new FileSink(fake, this.complaints.diag, this.counters, this.path, openLog(this.path), all);
    test.teardown(() => {
      this.sink.close();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** Hands whole records to the sink, amid other bytes. */
  write(...records: readonly string[]): void {
    const text = Buffer.from(records.join(''), 'latin1');
    const memory = Buffer.concat([Buffer.from('before\n'), text, Buffer.from('\nbehind')]);
    this.sink.write(memory, 7, text.length);
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
