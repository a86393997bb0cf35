/**
 * Tells the engine that a container has run out of memory: an empty file `oom` in the bundle and in the persist
 * directory (contract section 8). Watches from the moment the pid is known to the container's end; without events it
 * costs no wake-up. Whatever is missing costs the notice, never the container. Main thread.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Diag } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import { ENOENT, O_CLOEXEC } from '../native/constants.ts';
import { failureText, type Sys, type Watch } from '../native/sys.ts';
import { CGROUP_TREES, type CgroupTrees, findMemoryCgroup } from './memory-cgroup.ts';
import { type MemoryEvents, MemoryEventsV1, MemoryEventsV2 } from './memory-events.ts';

export interface OomWatchPlan {
  readonly pid: number;
  /** The cgroup is older than this session (exec): only what happens from now on counts. */
  readonly fromNow: boolean;
  readonly trees?: CgroupTrees;
}

export class OomWatch {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #onOom: () => void;
  #events: MemoryEvents | undefined;
  #watch: Watch | undefined;

  /** Calls `onOom` each time, from the event loop or from {@link finish}. Never throws. */
  constructor(sys: Sys, diag: Diag, plan: OomWatchPlan, onOom: () => void) {
    this.#sys = sys;
    this.#diag = diag;
    this.#onOom = onOom;
    try {
      this.#events = this.#open(plan);
    } catch (error) {
      this.#explain(error);
    }
    if (this.#events === undefined) return;
    this.#startWatch(this.#events);
    // What happened between the container's creation and this watch has left no event, only its count.
    this.#look();
  }

  /** The container's end: looks once more, as its last event may not have been seen yet, and stops. */
  finish(): void {
    this.#look();
    this.#stop();
  }

  #open({ pid, fromNow, trees = CGROUP_TREES }: OomWatchPlan): MemoryEvents | undefined {
    const cgroup = findMemoryCgroup(pid, trees);
    if (cgroup === undefined) {
      this.#diag.debug(`process ${pid} is in no memory cgroup of its own, skipping OOM monitoring`);
      return undefined;
    }
    return cgroup.version === 2
      ? new MemoryEventsV2(this.#sys, cgroup.path, fromNow)
      : new MemoryEventsV1(this.#sys, cgroup.path);
  }

  /** A container that has ended, or a kernel without the interface, is nothing to warn of. */
  #explain(error: unknown): void {
    const reason = error instanceof ConmonError ? error.message : failureText(error);
    const absent = error instanceof ConmonError ? error.detail.cause === ENOENT : isAbsent(error);
    const text = `no OOM monitoring: ${reason}`;
    if (absent) this.#diag.debug(text);
    else this.#diag.warn(text);
  }

  #startWatch(events: MemoryEvents): void {
    const watch = this.#sys.watch(events.fd, () => this.#look());
    if (typeof watch === 'number') this.#diag.warn(`Failed to watch for OOM events: ${this.#sys.strerror(watch)}`);
    else this.#watch = watch;
  }

  #look(): void {
    if (this.#events === undefined) return;
    if (this.#events.happened()) {
      this.#diag.info('OOM event received');
      this.#onOom();
    }
    if (this.#events.over) this.#stop();
  }

  #stop(): void {
    if (this.#watch) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
    this.#events?.close();
    this.#events = undefined;
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'errno' in error && error.errno === ENOENT;
}

/**
 * Makes the empty file in each directory that there is; never through a symlink. The persist directory's comes first.
 * @returns a text for each failure, naming the directory.
 */
export function writeOomFiles(directories: readonly (string | undefined)[]): readonly string[] {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK | O_CLOEXEC;
  const failures: string[] = [];
  for (const directory of directories) {
    if (directory === undefined) continue;
    try {
      closeSync(openSync(join(directory, 'oom'), flags, 0o666));
    } catch (error) {
      failures.push(`Failed to write oom file to the ${directory} path: ${errorText(error)}`);
    }
  }
  return failures;
}
