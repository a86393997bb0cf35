/** A session's output with the real pool and its attach socket, and main's part in it: it listens while no worker does. */
import { openSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Diag } from '../../../src/diag/diag.ts';
import {
  F_DUPFD_CLOEXEC,
  O_CLOEXEC,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Doorbell } from '../../../src/ring/doorbell.ts';
import type { LogWorkerPlan } from '../../../src/threads/log-worker.ts';
import { Output } from '../../../src/threads/output.ts';
import { AttachClient } from '../../helpers/attach-client.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys, type Pipe, pipe, realSysBut, textOf } from '../native/fake-sys.ts';
import { Streams } from './rig.ts';

const BACKLOG = 10;

export interface Plan {
  readonly unusedMs?: number;
  readonly closeStdin?: boolean;
  readonly plan?: (streams: Streams) => LogWorkerPlan;
}

/** A session's output, its attach socket, and main's part in it: it listens while no worker does. */
export class Place {
  readonly streams: Streams;
  readonly output: Output;
  readonly path: string;
  readonly stdin: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly deaths: string[] = [];
  /** Times that a worker was asked for, and that one left. */
  calls = 0;
  lefts = 0;
  /** Times that nobody would serve. */
  refusals = 0;
  readonly #listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
  readonly #plan: Plan;
  readonly #doorbellFds: number[] = [];
  #onDeath: () => void = () => {};
  #unwatch: (() => void) | undefined;

  constructor(test: Test, plan: Plan = {}) {
    this.#plan = plan;
    this.streams = new Streams(test);
    this.path = join(this.streams.dir, 'attach');
    if (sys.bind(this.#listenFd, this.path) < 0 || sys.listen(this.#listenFd, BACKLOG) < 0) throw new Error('listen');
    const sayings = fakeSys({
      write: (_fd, bytes, offset, length) => {
        const line = textOf(bytes, offset, length);
        if (line.includes('died')) {
          this.#onDeath(); // before another one starts
          this.deaths.push(line.trimEnd());
        }
        return length;
      },
    });
    const diag = new Diag(sayings, { level: 'warn', syslogName: undefined });
    const logPlan = plan.plan ? plan.plan(this.streams) : this.streams.plan();
    const counting = realSysBut({
      eventfd: (initial, flags) => {
        const fd = sys.eventfd(initial, flags);
        this.#doorbellFds.push(fd);
        return fd;
      },
    });
    this.output = new Output(counting, diag, logPlan, this.streams.onEnded);
    this.#listen();
    test.teardown(async () => {
      this.#unwatch?.();
      if (this.streams.endings.length === 0) this.output.end(false);
      await this.streams.ended();
      await new Promise<void>((resolve) => this.output.whenClosed(resolve));
      sys.close(this.#listenFd);
      sys.close(this.stdin.readFd);
    });
  }

  begin(): void {
    this.output.begin(this.streams.sources, this.stdin.writeFd);
  }

  async connect(): Promise<AttachClient> {
    return await AttachClient.connect(this.path);
  }

  /** What has come to the container's stdin. */
  heard(): string {
    const bytes = new Uint8Array(4096);
    const length = sys.read(this.stdin.readFd, bytes, 0, bytes.length);
    return Buffer.from(bytes.subarray(0, Math.max(length, 0))).toString('latin1');
  }

  #listen(): void {
    const watch = sys.watch(this.#listenFd, () => {
      this.#unwatch?.();
      this.calls++;
      const { closeStdin = false, unusedMs = 60_000 } = this.#plan;
      const plan = { listenFd: this.#listenFd, closeStdin, unusedMs, stallTimeoutMs: 0 };
      const served = this.output.startAttach({ ...plan, diag: { level: 'error', syslogName: undefined } }, () => {
        this.lefts++;
        this.#listen();
      });
      if (!served) this.refusals++;
    });
    if (typeof watch === 'number') throw new Error('watch');
    this.#unwatch = () => {
      sys.unwatch(watch);
      this.#unwatch = undefined;
    };
  }

  /** Kills a worker: its doorbell becomes something that can be rung and not be read. Comes back when it is dead. */
  async kill(who: 'attach' | 'log' = 'attach'): Promise<void> {
    const before = this.deaths.length;
    const bell = this.#doorbellFds[who === 'log' ? 0 : 1] ?? -1;
    const copy = sys.fcntl(bell, F_DUPFD_CLOEXEC, 3);
    const nowhere = openSync('/dev/null', 'w'); // poll finds it ready at all times
    this.#onDeath = () => {
      sys.dup3(copy, bell, O_CLOEXEC);
      for (const fd of [copy, nowhere]) sys.close(fd);
      this.#onDeath = () => {};
    };
    sys.dup3(nowhere, bell, O_CLOEXEC);
    new Doorbell(sys, copy).ring();
    await waitFor('the death', () => this.deaths.length > before);
  }
}
