/** A disk whose last space is that of an old file that is on its way: it is waited for, and nothing is held back or told. */
import {
  closeSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import type { FileSink } from '../../../src/log/file-sink.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { LARGE_FILE_BYTES } from '../../../src/log/removal.ts';
import { replacement } from '../../../src/log/rotation.ts';
import { ENOSPC } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { fileSink } from './sink-rig.ts';

/** A log that its next record fills, on a disk that has no room from the hand-over of an old file on until somebody waits for it. */
class FullDisk {
  readonly dir = mkdtempSync(join(tmpdir(), 'conmon-room-'));
  readonly path = join(this.dir, 'log');
  readonly complaints = new Complaints();
  readonly counters = newCounters();
  readonly sink: FileSink;
  waits = 0;
  /** What still fits when there is no room. */
  leftBytes = 0;
  /** Whether it stays full whoever waits. */
  hopeless = false;
  #held = -1;

  constructor(test: Test, keepFiles: number) {
    writeFileSync(this.path, 'old\n');
    truncateSync(this.path, LARGE_FILE_BYTES);
    if (keepFiles > 0) {
      writeFileSync(`${this.path}.1`, 'older\n');
      truncateSync(`${this.path}.1`, LARGE_FILE_BYTES);
    }
    const calls = this.#calls();
    this.sink = fileSink({
      ...{ sys: calls, diag: this.complaints.diag, counters: this.counters, path: this.path, fd: openLog(this.path) },
      limits: { fileMaxBytes: LARGE_FILE_BYTES, globalMaxBytes: Number.POSITIVE_INFINITY },
      replacement: replacement(calls, this.path, { keepFiles }),
      crowd: { isThere: () => false },
    });
    test.teardown(() => {
      this.sink.close();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  get #full(): boolean {
    return this.#held !== -1 || (this.hopeless && this.waits > 0);
  }

  #calls(): Sys {
    return realSysBut({
      write: (fd, bytes, offset, length) => {
        const most = this.#full ? Math.min(length, this.leftBytes) : length;
        if (most === 0) return ENOSPC;
        if (this.#full) this.leftBytes -= most;
        return sys.write(fd, bytes, offset, most);
      },
      fallocate: () => (this.#full ? ENOSPC : 0),
      openat: (directory, name, flags, mode) =>
        this.#full && name === 'log.new' ? ENOSPC : sys.openat(directory, name, flags, mode),
      closeLater: (fd) => {
        this.#held = fd;
        return 0;
      },
      awaitClose: () => {
        this.waits++;
        closeSync(this.#held);
        this.#held = -1;
        return 0;
      },
    });
  }

  /** Hands records over until the sink has taken them or is stalled. @returns what it did not take */
  write(text: string): string {
    let held = text;
    while (held !== '' && !this.sink.stalled) {
      const bytes = Buffer.from(held, 'latin1');
      held = held.slice(this.sink.write(bytes, 0, bytes.length));
    }
    return held;
  }
}

for (const keepFiles of [0, 1])
  t.test(`a write that finds no room waits for the old file, keeping ${keepFiles}`, async (t) => {
    for (const [leftBytes, lines] of [
      [0, 2],
      [6, 2],
      [0, 50_000], // a large write, which has its blocks first
    ] as const) {
      const disk = new FullDisk(t, keepFiles);
      disk.leftBytes = leftBytes;
      const text = 'one\ntwo\n'.repeat(lines / 2);
      t.equal(disk.write(text), '');
      t.equal(readFileSync(disk.path, 'latin1'), text);
      t.equal(disk.waits, 1);
      t.notOk(disk.sink.stalled);
      t.same(disk.complaints.lines, [], 'nobody has to hear of it');
      t.match(disk.counters, { writtenBytes: text.length, droppedBytes: 0 });
      t.same(readdirSync(disk.dir), keepFiles > 0 ? ['log', 'log.1'] : ['log']);
    }
  });

t.test('a disk that is full all the same is told once, and what it did not take is kept', async (t) => {
  const disk = new FullDisk(t, 0);
  disk.hopeless = true;
  t.equal(disk.write('one\ntwo\n'), 'one\ntwo\n');
  t.equal(disk.waits, 1);
  t.ok(disk.sink.stalled);
  t.same(disk.complaints.lines, [`[conmon:w]: failed to write to log ${disk.path}: No space left on device`]);
  disk.hopeless = false;
  disk.sink.retry();
  t.equal(disk.write('one\ntwo\n'), '');
  t.equal(readFileSync(disk.path, 'latin1'), 'one\ntwo\n');
  t.equal(disk.waits, 1, 'there is nothing more to wait for');
});

t.test('a new file for which there is no room waits for the old one too', async (t) => {
  const disk = new FullDisk(t, 1);
  disk.leftBytes = 4;
  t.equal(disk.write('one\n'), '');
  disk.sink.reopen();
  t.equal(disk.waits, 1);
  t.same(disk.complaints.lines, []);
  t.equal(statSync(disk.path).size, 0);
  t.equal(readFileSync(`${disk.path}.1`, 'latin1'), 'one\n');
});
