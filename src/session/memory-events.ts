/**
 * Events of one memory cgroup, in either version of cgroups: an fd that becomes readable, and the question whether the
 * container has run out of memory since it was asked last. No files are written here. Main thread.
 */

import { closeSync, constants, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ConmonError } from '../diag/error.ts';
import {
  EAGAIN,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  IN_CLOEXEC,
  IN_MODIFY,
  IN_NONBLOCK,
  O_CLOEXEC,
} from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** Room for a few events of an inotify watch on one file; what they say does not matter. */
const EVENTS_BYTES = 4096;

export interface MemoryEvents {
  /** Readable when {@link happened} is worth asking. Its owner is this object. */
  readonly fd: number;
  /** Out of memory since the last time? Never waits. */
  happened(): boolean;
  /** Nothing can happen any more: the cgroup was removed. */
  readonly over: boolean;
  close(): void;
}

/**
 * cgroup v2: inotify on memory.events, which the kernel reports as modified whenever a counter rises (cgroup-v2.rst).
 * Throws ConmonError OOM when it cannot be watched.
 */
export class MemoryEventsV2 implements MemoryEvents {
  readonly fd: number;
  over = false;
  readonly #sys: Sys;
  readonly #file: string;
  #last: Counters;

  /** @param fromNow events of before do not count: the cgroup is older than this session. */
  constructor(sys: Sys, cgroup: string, fromNow: boolean) {
    this.#sys = sys;
    this.#file = join(cgroup, 'memory.events');
    this.fd = sys.inotifyInit(IN_CLOEXEC | IN_NONBLOCK);
    if (this.fd < 0) throw new ConmonError('OOM', 'Failed to create inotify fd', { reason: sys.strerror(this.fd) });
    const watch = sys.inotifyAddWatch(this.fd, this.#file, IN_MODIFY);
    if (watch < 0) {
      sys.close(this.fd);
      const reason = sys.strerror(watch);
      throw new ConmonError('OOM', `Failed to add inotify watch for ${this.#file}:`, { reason, cause: watch });
    }
    this.#last = (fromNow ? this.#read() : undefined) ?? NEVER;
  }

  happened(): boolean {
    const events = new Uint8Array(EVENTS_BYTES);
    while (this.#sys.read(this.fd, events, 0, EVENTS_BYTES) > 0);
    const now = this.#read();
    if (now === undefined) {
      this.over = true;
      return false;
    }
    const risen = now.oom > this.#last.oom || now.oomKill > this.#last.oomKill;
    this.#last = now;
    return risen;
  }

  close(): void {
    this.#sys.close(this.fd);
  }

  /** undefined when the file is gone with its cgroup. */
  #read(): Counters | undefined {
    try {
      return parseCounters(readFileSync(this.#file, 'latin1'));
    } catch {
      return undefined;
    }
  }
}

interface Counters {
  readonly oom: number;
  readonly oomKill: number;
}

const NEVER: Counters = { oom: 0, oomKill: 0 };

/** A line `NAME COUNT` each; a counter that is missing or no number is 0. */
export function parseCounters(text: string): Counters {
  const count = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { oom: count('oom'), oomKill: count('oom_kill') };
}

/**
 * cgroup v1: an eventfd that the kernel counts up at each out-of-memory, and once when the cgroup is removed
 * (cgroup-v1/memory.rst, section 10). Throws what node:fs throws when the files are not there, or the kernel was built
 * without the interface.
 */
export class MemoryEventsV1 implements MemoryEvents {
  readonly fd: number;
  readonly over = false;
  readonly #sys: Sys;
  readonly #control: string;

  constructor(sys: Sys, cgroup: string) {
    this.#sys = sys;
    this.#control = join(cgroup, 'cgroup.event_control');
    this.fd = sys.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (this.fd < 0) throw new ConmonError('OOM', 'Failed to create eventfd', { reason: sys.strerror(this.fd) });
    try {
      this.#register(join(cgroup, 'memory.oom_control'));
    } catch (error) {
      sys.close(this.fd);
      throw error;
    }
  }

  happened(): boolean {
    const count = new BigUint64Array(1);
    // Before the read: a removal after it is counted by the next read alone.
    const removed = !existsSync(this.#control);
    const result = this.#sys.read(this.fd, new Uint8Array(count.buffer), 0, count.byteLength);
    if (result === EAGAIN || result <= 0) return false;
    // Of the events on a cgroup that is gone one is its removal.
    return (count[0] ?? 0n) > (removed ? 1n : 0n);
  }

  close(): void {
    this.#sys.close(this.fd);
  }

  /** The kernel keeps the eventfd and what it needs of the cgroup: neither file has to stay open. */
  #register(oomControl: string): void {
    const controlFd = openSync(this.#control, constants.O_WRONLY | O_CLOEXEC);
    try {
      const oomFd = openSync(oomControl, O_CLOEXEC);
      try {
        writeSync(controlFd, `${this.fd} ${oomFd}`);
      } finally {
        closeSync(oomFd);
      }
    } finally {
      closeSync(controlFd);
    }
  }
}
