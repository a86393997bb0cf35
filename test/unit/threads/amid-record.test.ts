/**
 * A record whose beginning is in the file for good, and whose end only the loop that was there holds: main ends it before a thread
 * goes on with the log, and where that cannot be, what is missing counts as lost. For src/threads/main-logs.ts and src/log/file-sink.ts.
 */
import { closeSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  F_ADD_SEALS,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogCounters } from '../../../src/proto/log-messages.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { ATTACH_CONSUMER } from '../../../src/ring/layout.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { MainLogs, type Pacing } from '../../../src/threads/main-logs.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import * as code from '../../../workers/log.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Journal } from '../log/journald-rig.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const { EAGAIN, ENOSPC } = constants.errno;
const F_SEAL_SHRINK = 0x2;
/** Of the first record: amid its time. */
const BEGUN_BYTES = 10;
const FLOOD_LINES = 40_000;

/** A log of main's in a file that is not cut, as one that may only be appended to (chattr +a), on a disk that is full amid its first record. */
class Rig {
  readonly streams: Streams;
  readonly worker: LogWorker;
  /** What main's loop, or all loops, may take: see {@link Pacing}. */
  busyMs = Number.POSITIVE_INFINITY;
  readonly #complaints = new Complaints('debug');
  readonly #readFd: number;
  /** Beside the file. It takes everything, until main finds it full. */
  readonly journal: Journal;
  journalIsFull = false;
  #roomBytes = BEGUN_BYTES;
  #refused = 0;

  constructor(test: Test, { withJournal = false } = {}) {
    this.streams = new Streams(test);
    this.journal = new Journal(join(this.streams.dir, 'journal'));
    const logFd = sys.memfdCreate('log', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    test.equal(sys.fcntl(logFd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    this.#readFd = sys.fcntl(logFd, F_DUPFD_CLOEXEC, 3);
    // Main's calls alone: a thread has its own, and the same file.
    const { write, sendmmsg } = sys;
    test.teardown(() => {
      sys.write = write;
      sys.sendmmsg = sendmmsg;
      closeSync(this.#readFd);
      this.journal.close();
    });
    sys.sendmmsg = (_fd, _memory, _table, _partsEach, count) => (this.journalIsFull ? -EAGAIN : count);
    sys.write = (fd, bytes, offset, length) => {
      if (fd !== logFd) return write(fd, bytes, offset, length);
      const taken = Math.min(this.#roomBytes, length);
      if (taken === 0) this.#refused++;
      this.#roomBytes -= taken;
      return taken === 0 ? -ENOSPC : write(fd, bytes, offset, taken);
    };
    const rig = this;
    const pacing: Pacing = {
      calmBytes: 0,
      calmMs: 1 << 30,
      get busyMs() {
        return rig.busyMs;
      },
    };
    const mainLogs = new MainLogs(sys, this.#complaints.diag, { code, pacing });
    const who = { cid: 'c'.repeat(64), name: undefined, tag: undefined, labels: [], tellPartial: true };
    const journald = { driver: 'journald', socketPath: this.journal.path, ...who } as const;
    const { targets, ...rest } = this.streams.plan(logFd);
    const plan = { ...rest, targets: withJournal ? [...targets, journald] : targets, mainLogs: () => mainLogs };
    this.worker = new LogWorker(sys, this.#complaints.diag, new WorkerPool(), plan, this.streams.onEnded);
    this.worker.begin(this.streams.sources);
  }

  /** Until the first record is given up, but for the end that it is owed. */
  async giveUpFirst(): Promise<void> {
    await this.print('first');
    await waitFor('the disk to be full', () => this.#refused > 0);
    await this.print('x'.repeat(99), FLOOD_LINES); // more than is kept
    await this.heard();
  }

  async print(line: string, times = 1): Promise<void> {
    await this.streams.print(`${line}\n`.repeat(times));
  }

  /** Comes back when main has read what was printed, and has done what it does then. */
  async heard(): Promise<void> {
    await waitFor('the lines to be read', () => sys.fionread(this.streams.out.readFd) === 0);
    await new Promise((resolve) => setImmediate(resolve));
  }

  makeRoom(): void {
    this.#roomBytes = Number.POSITIVE_INFINITY;
  }

  get onThread(): boolean {
    return this.#complaints.lines.some((line) => line.includes('a thread goes on'));
  }

  async ended(): Promise<LogCounters | undefined> {
    this.worker.end(true);
    const counters = await this.streams.ended();
    this.worker.close(true);
    return counters;
  }

  get log(): string {
    const bytes = Buffer.alloc(1 << 23);
    return bytes.toString('latin1', 0, readSync(this.#readFd, bytes, 0, bytes.length, 0));
  }
}

/** Behind the first line: what was lost, and then lines as they were printed, the last one `last`. */
function isWhole(t: Test, { log }: Rig, counters: LogCounters | undefined, firstIsWhole: boolean): void {
  const [, notice, ...others] = log.split('\n');
  t.match(notice, /^\S{35} stderr F \[conmon\] dropped \d+ bytes in \d+ records /);
  t.equal(others.pop(), '');
  t.match(others.at(-1), /^\S{35} stdout F last$/);
  // A read may end amid a line, which is then two records.
  t.ok(others.every((record) => /^\S{35} stdout [FP] (x{0,99}|busy|last)$/.test(record)));
  t.equal(counters?.writtenBytes, log.length, 'the books balance');
  t.equal(counters?.records, others.length + (counters?.droppedRecords ?? 0) + (firstIsWhole ? 1 : 0));
}

t.test('a record that a full disk has cut for good is ended before a thread goes on', async (t) => {
  const rig = new Rig(t);
  await rig.giveUpFirst();
  rig.busyMs = 0;
  for (let i = 0; i < 5; i++) {
    await rig.print('busy');
    await rig.heard();
  }
  t.equal(rig.onThread, false);
  rig.makeRoom();
  await waitFor('a thread to go on', async () => {
    await rig.print('busy');
    return rig.onThread;
  });
  await rig.print('last');
  const counters = await rig.ended();
  t.match(rig.log, /^\S{35} stdout F first\n/);
  isWhole(t, rig, counters, true);
});

t.test('so it is when a journal beside the file is full, which a thread could wait for', async (t) => {
  const rig = new Rig(t, { withJournal: true });
  await rig.giveUpFirst();
  rig.journalIsFull = true;
  for (let i = 0; i < 5; i++) {
    await rig.print('busy');
    await rig.heard();
  }
  t.equal(rig.onThread, false);
  rig.makeRoom();
  await waitFor('a thread to go on', () => rig.onThread);
  await rig.print('last');
  await rig.ended();
  t.match(rig.log, /^\S{35} stdout F first\n\S{35} stderr F \[conmon\] dropped .*\n/);
  t.match(rig.log, /stdout F last\n$/);
});

t.test('main keeps its doorbells after the last client rather than begin anew amid such a record', async (t) => {
  const rig = new Rig(t);
  rig.worker.keepForClients();
  const { own, attach } = rig.worker.doorbells;
  const { memory, geometry } = rig.worker;
  new RingConsumer(memory, geometry.capacityBytes, ATTACH_CONSUMER, undefined).leave(); // as its worker does
  await rig.giveUpFirst();
  rig.worker.clientsLeft();
  for (const { fd } of [own, attach]) t.ok(sys.fcntl(fd, F_GETFD, 0) >= 0);
  rig.makeRoom();
  await rig.print('busy');
  await waitFor('the log to go on', () => rig.log.includes('busy'));
  await rig.print('last');
  const counters = await rig.ended();
  t.match(rig.log, /^\S{35} stdout F first\n/);
  isWhole(t, rig, counters, true);
});

t.test('when a client has to be let in before, its line is ended, and what is missing counts as lost', async (t) => {
  const rig = new Rig(t);
  await rig.giveUpFirst();
  rig.worker.keepForClients();
  rig.worker.forgetClients();
  await rig.print('busy');
  await rig.heard();
  rig.makeRoom();
  await waitFor('the log to go on', () => rig.log.includes('busy'));
  await rig.print('last');
  const counters = await rig.ended();
  const [first = ''] = rig.log.split('\n');
  t.match(first, /^\d{4}-\d\d-\d\d$/);
  isWhole(t, rig, counters, false);
});
