/**
 * A record whose beginning is in the file for good, and whose end only the loop that was there holds: main ends it, and no thread
 * goes on with the log before. For src/threads/main-logs.ts; docs/adr/0049-quiet-logs-on-main.md.
 */
import { closeSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { F_ADD_SEALS, F_DUPFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_CLOEXEC } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import { MainLogs, type Pacing } from '../../../src/threads/main-logs.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import * as code from '../../../workers/log.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

const { ENOSPC } = constants.errno;
const F_SEAL_SHRINK = 0x2;
/** Of the first record: amid its time. */
const BEGUN_BYTES = 10;

t.test(
  'a record that a full disk has cut in a file that must not shrink is ended before a thread goes on',
  async (t) => {
    const streams = new Streams(t);
    const complaints = new Complaints('debug');
    // As a file that may only be appended to (chattr +a).
    const logFd = sys.memfdCreate('log', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    t.equal(sys.fcntl(logFd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    const readFd = sys.fcntl(logFd, F_DUPFD_CLOEXEC, 3);
    t.teardown(() => closeSync(readFd));
    let roomBytes = BEGUN_BYTES;
    let refused = 0;
    // Main's disk alone: a thread has calls of its own, and the same file.
    const { write } = sys;
    t.teardown(() => {
      sys.write = write;
    });
    sys.write = (fd, bytes, offset, length) => {
      if (fd !== logFd) return write(fd, bytes, offset, length);
      const taken = Math.min(roomBytes, length);
      if (taken === 0) refused++;
      roomBytes -= taken;
      return taken === 0 ? -ENOSPC : write(fd, bytes, offset, taken);
    };
    let busyMs = Number.POSITIVE_INFINITY;
    const pacing: Pacing = {
      calmBytes: 0,
      calmMs: 1 << 30,
      get busyMs() {
        return busyMs;
      },
    };
    const mainLogs = new MainLogs(sys, complaints.diag, { code, pacing });
    const plan = { ...streams.plan(logFd), mainLogs: () => mainLogs };
    const worker = new LogWorker(sys, complaints.diag, new WorkerPool(), plan, streams.onEnded);
    const moved = (): boolean => complaints.lines.some((line) => line.includes('a thread goes on'));
    const line = 'x'.repeat(99);
    worker.begin(streams.sources);
    await streams.print('first\n');
    await waitFor('the disk to be full', () => refused > 0);
    // More than is kept: the first record is given up, but for the end that it is owed.
    await streams.print(`${line}\n`.repeat(40_000));
    busyMs = 0;
    for (let i = 0; i < 5; i++) {
      await streams.print('busy\n');
      await waitFor('the line to be read', () => sys.fionread(streams.out.readFd) === 0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(moved(), false);
    roomBytes = Number.POSITIVE_INFINITY;
    await waitFor('a thread to go on', async () => {
      await streams.print('busy\n');
      return moved();
    });
    await streams.print('last\n');
    worker.end(true);
    const counters = await streams.ended();
    worker.close(true);

    const bytes = Buffer.alloc(1 << 23);
    const log = bytes.toString('latin1', 0, readSync(readFd, bytes, 0, bytes.length, 0));
    const [first, second, ...others] = log.split('\n');
    t.match(first, /^\S{35} stdout F first$/);
    t.match(second, /^\S{35} stderr F \[conmon\] dropped \d+ bytes in \d+ records /);
    t.equal(others.pop(), '');
    t.match(others.at(-1), /^\S{35} stdout F last$/);
    t.ok(others.every((record) => /^\S{35} stdout F (x{99}|busy|last)$/.test(record)));
    t.equal(counters?.writtenBytes, log.length, 'the books balance');
  },
);
