/**
 * Reaps every child of this process, the container's orphans too: conmon is their subreaper. Main thread, the only
 * place that calls waitpid. Statuses of children that nobody has asked about yet are kept, since a container may end
 * before its pid is known.
 */

import type { Diag } from '../diag/diag.ts';
import { ECHILD, ESRCH, WNOHANG } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** Ends of unknown children that are kept; orphans of a fork bomb must not fill the memory. */
const KEPT_MAX = 4096;
/** How often a container that is no child of ours is probed. Engines' own start-time checks are no faster. */
const PROBE_MS = 100;

export type OnExit = (waitStatus: number) => void;

export class Reaper {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #watched = new Map<number, OnExit>();
  readonly #kept = new Map<number, number>();
  readonly #status = new Int32Array(1);
  #probe: ReturnType<typeof setInterval> | undefined;

  constructor(sys: Sys, diag: Diag) {
    this.#sys = sys;
    this.#diag = diag;
  }

  /** Calls `onExit` once, from {@link reap} or at once when the process has ended already. */
  watch(pid: number, onExit: OnExit): void {
    const status = this.#kept.get(pid);
    if (status === undefined) {
      this.#watched.set(pid, onExit);
      return;
    }
    this.#kept.delete(pid);
    onExit(status);
  }

  /**
   * Watches a process that may not be ours: if the runtime did not leave it to us, its end is found by probing, and its
   * status, which nobody but its parent can know, counts as 0 (as conmon C has it).
   */
  watchStranger(pid: number, onExit: OnExit): void {
    this.watch(pid, onExit);
    if (this.#watched.has(pid) && !this.#isChild(pid)) this.#startProbe(pid);
  }

  /** Nothing unknown is kept from now on: every pid that matters is watched. */
  forgetUnknown(): void {
    this.#kept.clear();
  }

  /** Collects every child that has ended. Called on SIGCHLD, and after a spawn. */
  reap(): void {
    for (;;) {
      const pid = this.#sys.waitpid(-1, WNOHANG, this.#status);
      if (pid === 0 || pid === ECHILD) return;
      if (pid < 0) {
        this.#diag.warn(`Failed to read child process status: ${this.#sys.strerror(pid)}`);
        return;
      }
      this.#deliver(pid, this.#status[0] ?? 0);
    }
  }

  /** Stops probing; pids that are watched are forgotten. */
  close(): void {
    clearInterval(this.#probe);
    this.#watched.clear();
  }

  #deliver(pid: number, status: number): void {
    const onExit = this.#watched.get(pid);
    if (onExit !== undefined) {
      this.#watched.delete(pid);
      onExit(status);
    } else if (this.#kept.size < KEPT_MAX) this.#kept.set(pid, status);
  }

  /** A waitpid for one pid tells a child from a stranger without reading /proc. */
  #isChild(pid: number): boolean {
    const result = this.#sys.waitpid(pid, WNOHANG, this.#status);
    if (result === pid) this.#deliver(pid, this.#status[0] ?? 0);
    return result !== ECHILD;
  }

  #startProbe(pid: number): void {
    this.#diag.info(`Container process ${pid} is still alive but not a direct child`);
    this.#probe = setInterval(() => {
      if (!this.#watched.has(pid)) clearInterval(this.#probe);
      // Its parent may have ended meanwhile and left it to us: then its status is had after all.
      else if (this.#isChild(pid)) clearInterval(this.#probe);
      else if (this.#sys.kill(pid, 0) === ESRCH) {
        clearInterval(this.#probe);
        this.#diag.warn(`Container process ${pid} has exited, its status is not known: reporting 0`);
        this.#deliver(pid, 0);
      }
    }, PROBE_MS);
  }
}
