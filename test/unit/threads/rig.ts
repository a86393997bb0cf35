/** A session's output with the real pool: pipes, a log file, and a handle that is ended whatever becomes of the test. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Diag } from '../../../src/diag/diag.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { F_DUPFD_CLOEXEC, O_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogCounters, Source } from '../../../src/proto/log-messages.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { Doorbell } from '../../../src/ring/doorbell.ts';
import { LogWorker, type LogWorkerPlan } from '../../../src/threads/log-worker.ts';
import { WorkerPool } from '../../../src/threads/pool.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys, type Pipe, pipe, textOf } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

const NONE = Number.POSITIVE_INFINITY;
/** Nothing is open there: far above all that a test opens. */
export const NO_FD = 700;

export class Streams {
  readonly dir = mkdtempSync(join(tmpdir(), 'conmon-threads-'));
  readonly path = join(this.dir, 'log');
  readonly out: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly err: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly complaints = new Complaints('warn');
  /** What `onEnded` was called with, in order. */
  readonly endings: (LogCounters | undefined)[] = [];

  constructor(test: Test) {
    test.teardown(() => {
      for (const end of [this.out, this.err]) this.hangUp(end);
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** Stable: for `onEnded`. */
  readonly onEnded = (counters: LogCounters | undefined): void => {
    this.endings.push(counters);
  };

  get sources(): readonly Source[] {
    return [
      { fd: this.out.readFd, stream: STDOUT, terminal: false },
      { fd: this.err.readFd, stream: STDERR, terminal: false },
    ];
  }

  /** @param logFd the log's; by default it is opened at {@link path} */
  plan(logFd = openLog(this.path)): LogWorkerPlan {
    return {
      targets: [{ driver: 'k8s-file', path: this.path, fd: logFd }],
      limits: { fileMaxBytes: NONE, globalMaxBytes: NONE },
      rotation: { keepFiles: 0 },
      syncLog: true,
      diag: { level: 'error', syslogName: undefined },
    };
  }

  /** A plan without a log. */
  get nowhere(): LogWorkerPlan {
    return { ...this.plan(-1), targets: [] };
  }

  /** Writes all of `text`, as fast as somebody reads. */
  async print(text: string | Buffer, to: Pipe = this.out): Promise<void> {
    const bytes = Buffer.from(text);
    let at = 0;
    const write = () => {
      const result = sys.write(to.writeFd, bytes, at, bytes.length - at);
      if (result > 0) at += result;
      return at === bytes.length;
    };
    await waitFor('the pipe to take everything', write, { intervalMs: 1 });
  }

  hangUp(end: Pipe): void {
    if (end.writeFd !== -1) sys.close(end.writeFd);
    end.writeFd = -1;
  }

  get log(): string {
    return readFileSync(this.path, 'latin1');
  }

  /** The log's records without their times. */
  get records(): readonly string[] {
    return this.log
      .split('\n')
      .slice(0, -1)
      .map((line) => line.slice('2026-11-23T18:00:00.123456789+00:00 '.length));
  }

  /** What `onEnded` was called with first. */
  ended(): Promise<LogCounters | undefined> {
    return waitFor('the end', () => this.endings.length > 0 && { counters: this.endings[0] }).then(
      (end) => end.counters,
    );
  }
}

/** A log worker that can be killed: by a doorbell that cannot be read. The one that takes over finds it in order. */
export class MortalWorker {
  readonly worker: LogWorker;
  readonly deaths: string[] = [];
  readonly #bellFd: number;
  /** The doorbell itself, whatever its number is made to be. */
  readonly #copyFd: number;

  constructor(test: Test, streams: Streams) {
    const sayings = fakeSys({
      write: (_fd, bytes, offset, length) => {
        const line = textOf(bytes, offset, length);
        if (line.includes('log worker died')) {
          this.deaths.push(line);
          sys.dup3(this.#copyFd, this.#bellFd, O_CLOEXEC); // said before the next one starts
        }
        return length;
      },
    });
    const diag = new Diag(sayings, { level: 'warn', syslogName: undefined });
    this.worker = new LogWorker(sys, diag, new WorkerPool(), streams.plan(), streams.onEnded);
    this.#bellFd = this.worker.doorbells.own.fd;
    this.#copyFd = sys.fcntl(this.#bellFd, F_DUPFD_CLOEXEC, 3);
    test.teardown(async () => {
      if (streams.endings.length === 0) this.worker.end(false);
      await streams.ended();
      sys.close(this.#copyFd);
    });
  }

  /** Comes back when the worker is dead. */
  async kill(): Promise<void> {
    const before = this.deaths.length;
    const directory = openSync('/', 'r');
    sys.dup3(directory, this.#bellFd, O_CLOEXEC);
    closeSync(directory);
    new Doorbell(sys, this.#copyFd).ring();
    await waitFor('the death', () => this.deaths.length > before);
  }
}
