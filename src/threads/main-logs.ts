/**
 * Logs that the main thread writes itself, while they take little of its time: a container that says little costs no thread,
 * which would be another V8 and another event loop. Only into files of this machine, of which a write waits for nobody else's
 * server, and to the journal, whose socket says when it is full; a flood that lasts, and a disk that is slow, are a thread's. Main thread; docs/adr/0049-quiet-logs-on-main.md.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import { type Kernel, loadKernel } from '../kernel/kernel.ts';
import { DriverField, driverState } from '../log/driver-state.ts';
import { type SyncFile, syncNow } from '../log/file-sink.ts';
import { EINVAL, EROFS, F_DUPFD_CLOEXEC, S_IFREG } from '../native/constants.ts';
import { fileKind, LOCAL_MAGICS } from '../native/files.ts';
import { buildId, libexecDir } from '../native/libexec.ts';
import type { Steps } from '../native/steps.ts';
import type { Sys } from '../native/sys.ts';
import type { Line } from '../proto/line.ts';
import type { DriverTarget, FromLogWorker, LogResult, LogTask, ToLogWorker } from '../proto/log-messages.ts';
import { MainLoop } from './main-loop.ts';

/** Main's time is the container's, its clients' and its engine's: logs may have half of it. */
const BUSY_MS = 500;
const WINDOW_MS = 1000;
/** A thread that has read less than that in so long, one part in a thousand of what it could, is not needed any longer. */
const CALM_BYTES = 1 << 26;
const CALM_MS = 30_000;
/** A step that took so long had to wait: for a disk, most likely. Others must not wait for that. */
const SLOW_STEP_MS = 50;
/** Fds from here on: below are the standard streams. */
const FIRST_FD = 3;

/** How a loop's way of working differs from a thread's. */
export interface LogLoopWays {
  readonly diag?: Diag;
  readonly syncFile?: SyncFile;
  readonly waits?: boolean;
  readonly giveBack?: () => void;
}

/** The log worker's code (workers/log.ts), from its bundle. */
export interface LogCode {
  readonly build: string;
  logSteps(task: LogTask, line: Line<ToLogWorker, FromLogWorker>, kernel: Kernel, ways: LogLoopWays): Steps<LogResult>;
}

/** Whose loop it is. */
export interface QuietOwner {
  /** The session's own: what a sync says comes after the loop's end. */
  readonly diag: Diag;
  heard(message: FromLogWorker): void;
  /** It is a flood, or a disk that is slow: a thread's. May be called again. */
  onBusy(): void;
  onEnd(result: LogResult | undefined, error: unknown): void;
}

export interface QuietLog {
  tell(message: ToLogWorker): void;
  /** Leaves the loop, so that another one can go on. */
  stop(): void;
}

/** Throws when conmon was taken away, or replaced, meanwhile. */
export function loadLogCode(): LogCode {
  const code = requireLog();
  // Tests run main from its sources, with whatever was built last.
  if (buildId !== '' && code.build !== buildId)
    throw new ConmonError('WORKER', 'conmon was replaced while the container ran');
  return code;
}

/** In a bundle there is a require already; the sources, which tests run as they are, have none. */
function requireLog(): LogCode {
  if (typeof require === 'function') return require('./log.cjs') as LogCode;
  const { createRequire } = process.getBuiltinModule('node:module');
  return createRequire(join(libexecDir, 'threads.cjs'))('./log.cjs') as LogCode;
}

/** Whether main may write to all of these without waiting for anybody. Asks files' file systems, as opening them did. */
export function mayBeOnMain(sys: Sys, targets: readonly DriverTarget[]): boolean {
  return targets.every(
    (target) => !('fd' in target) || (fileKind(sys, target.fd) === S_IFREG && LOCAL_MAGICS.has(sys.fstatfs(target.fd))),
  );
}

/** When a loop moves. */
export interface Pacing {
  /** To a thread, when all loops on main together take more than that of {@link WINDOW_MS}. */
  readonly busyMs: number;
  /** Back to main, when a thread reads less than that in so long. */
  readonly calmBytes: number;
  readonly calmMs: number;
}

export interface MainLogsOptions {
  readonly code?: LogCode;
  readonly pacing?: Pacing;
  /** Called when a loop has had nothing to do for a moment; absent = nothing is given back. */
  readonly giveBack?: () => void;
}

const PACING: Pacing = { busyMs: BUSY_MS, calmBytes: CALM_BYTES, calmMs: CALM_MS };

export class MainLogs {
  readonly pacing: Pacing;
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #code: LogCode;
  readonly #giveBack: (() => void) | undefined;
  /** What loops have taken of the window that began then. */
  #sinceMs = Number.NEGATIVE_INFINITY;
  #spentMs = 0;
  /** What main had had of the CPU when half of what is too much was spent. */
  #halfCpuMs = 0;
  /** {@link cpuWaitMs} when a step was long last. */
  #cpuWaitMs = cpuWaitMs();
  /** Those of execs are used one after the other (./memories.ts). */
  readonly #kernels = new WeakMap<WebAssembly.Memory, Kernel>();

  /** Throws what {@link loadLogCode} throws. */
  constructor(sys: Sys, diag: Diag, { code = loadLogCode(), pacing = PACING, giveBack }: MainLogsOptions = {}) {
    this.pacing = pacing;
    this.#giveBack = giveBack;
    this.#sys = sys;
    this.#diag = diag;
    this.#code = code;
  }

  run(task: LogTask, owner: QuietOwner): QuietLog {
    const told: ToLogWorker[] = [];
    const line: Line<ToLogWorker, FromLogWorker> = {
      next: () => told.shift(),
      tell: (message) => {
        loop.giveWay();
        owner.heard(message);
      },
    };
    const syncs = new Syncs(this.#sys);
    const giveBack = this.#giveBack;
    const steps = this.#code.logSteps(task, line, this.#kernel(task.memory), {
      syncFile: syncs.start,
      waits: false,
      diag: owner.diag,
      ...(giveBack && {
        giveBack: () => {
          loop.giveWay();
          giveBack();
        },
      }),
    });
    const loop: MainLoop<LogResult> = new MainLoop(this.#sys, steps, {
      onStep: (tookMs, nowMs) => {
        const ownMs = tookMs > SLOW_STEP_MS ? this.#withoutCpuWait(tookMs) : tookMs;
        const slow = ownMs > SLOW_STEP_MS;
        if (!this.#spend(ownMs, nowMs) && !slow) return;
        if (slow) this.#diag.debug(`a step of the log's took ${Math.round(tookMs)} ms`);
        if (!isBetweenRecords(task)) return;
        loop.giveWay();
        owner.onBusy();
      },
      // A journal that does not keep up: a thread may wait for it, which costs a third (src/log/journal-socket.ts).
      onFull: () => {
        if (isBetweenRecords(task)) owner.onBusy(); // it is asked again at the next wait
      },
      onEnd: (result, error) => {
        syncs.whenDone(() => owner.onEnd(result, error));
      },
    });
    return {
      tell: (message) => {
        told.push(message);
        loop.wake();
      },
      stop: () => loop.stop(),
    };
  }

  /** @returns whether it is too much. For a line it calls nothing, also where a window begins: what V8 has not seen, it compiles anew for. */
  #spend(tookMs: number, nowMs: number): boolean {
    const over = nowMs - this.#sinceMs > WINDOW_MS;
    this.#sinceMs = over ? nowMs : this.#sinceMs;
    const beforeMs = over ? 0 : this.#spentMs;
    this.#spentMs = beforeMs + tookMs;
    return this.#spentMs > this.pacing.busyMs / 2 && this.#isBusy(beforeMs);
  }

  /** Where many want the CPU, steps last long for others' sake: a thread would only be one more. The second half of too much tells. */
  #isBusy(beforeMs: number): boolean {
    const { busyMs } = this.pacing;
    const first = beforeMs <= busyMs / 2;
    if (this.#spentMs <= busyMs) {
      if (first) this.#halfCpuMs = cpuMs();
      return false;
    }
    const busy = first || cpuMs() - this.#halfCpuMs >= busyMs / 4;
    if (!busy) this.#sinceMs = Number.NEGATIVE_INFINITY;
    return busy;
  }

  /** A long step's time but for what main was ready and did not run: where many want the CPU, a thread would only be one more. */
  #withoutCpuWait(tookMs: number): number {
    const beforeMs = this.#cpuWaitMs;
    this.#cpuWaitMs = cpuWaitMs();
    return Math.max(tookMs - (this.#cpuWaitMs - beforeMs), 0);
  }

  #kernel(memory: WebAssembly.Memory): Kernel {
    const known = this.#kernels.get(memory);
    if (known !== undefined) return known;
    const kernel = loadKernel(memory);
    this.#kernels.set(memory, kernel);
    return kernel;
  }
}

/** How long main was ready to run and did not (/proc/PID/schedstat, sched-stats.rst of the kernel's); 0 where the kernel does not count it. */
function cpuWaitMs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ')[1]) / 1e6 || 0;
  } catch {
    return 0;
  }
}

/** What this thread has had of the CPU. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** A record's beginning in a file, whose rest is not in the shared memory, would be ended for it by who takes over. */
export function isBetweenRecords({ memory, targets }: Pick<LogTask, 'memory' | 'targets'>): boolean {
  return targets.every((_, index) => driverState(memory, index)[DriverField.fragmentBytes] === 0);
}

/** fsync(2) takes as long as a disk wants: a thread of its own does it, and the log's end waits for it. */
class Syncs {
  readonly #sys: Sys;
  #running = 0;
  #onDone: (() => void) | undefined;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  readonly start: SyncFile = (fd, onDone) => {
    // The sink closes its own at once.
    const copy = this.#sys.fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    const started = copy < 0 ? copy : this.#sys.fsyncLater(copy, (result) => this.#ended(copy, result, onDone));
    if (started === 0) {
      this.#running++;
      return;
    }
    // Neither fds nor threads are to be had: then main waits.
    if (copy >= 0) this.#sys.close(copy);
    syncNow(fd, onDone);
  };

  #ended(copy: number, result: number, onDone: (error: unknown) => void): void {
    this.#sys.close(copy);
    onDone(result < 0 ? failureOf(this.#sys, result) : undefined);
    this.#running--;
    if (this.#running === 0) this.#onDone?.();
  }

  whenDone(onDone: () => void): void {
    if (this.#running === 0) onDone();
    else this.#onDone = onDone;
  }
}

/** As node:fs names those that the sink looks for. */
function failureOf(sys: Sys, errno: number): Error {
  const code = errno === EINVAL ? 'EINVAL' : errno === EROFS ? 'EROFS' : '';
  return Object.assign(new Error(sys.strerror(errno)), { code });
}
