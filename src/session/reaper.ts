/**
 * Reaps every child of this process, the container's orphans too: conmon is their subreaper. Main thread, the only
 * place that calls waitpid. Statuses of children that nobody has asked about yet are kept, since a container may end
 * before its pid is known.
 */

import type { Diag } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import { ECHILD, ESRCH, WNOHANG } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** Ends of unknown children that are kept, the latest ones; orphans of a fork bomb must not fill the memory. */
const KEPT_MAX = 4096;
/** How often a container that is no child of ours is probed. Engines' own start-time checks are no faster. */
const PROBE_MS = 100;

export type OnExit = (waitStatus: number) => void;

export class Reaper {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #watched = new Map<number, readonly OnExit[]>();
  readonly #kept = new Map<number, { readonly status: number; readonly moment: number }>();
  readonly #status = new Int32Array(1);
  readonly #probes = new Set<ReturnType<typeof setInterval>>();
  /** How many will ask for a child whose pid they do not know yet. */
  #expecting = 0;
  #moment = 0;

  constructor(sys: Sys, diag: Diag) {
    this.#sys = sys;
    this.#diag = diag;
  }

  /**
   * A child is about to be made whose pid is told later, and which may end before: from now on the ends of unknown
   * children are kept, until {@link settle}. @returns the moment, for {@link watchStranger}.
   */
  expect(): number {
    this.#expecting++;
    return ++this.#moment;
  }

  /** Once for each {@link expect}. When nobody expects a child any longer, nothing unknown is kept. */
  settle(): void {
    this.#expecting--;
    if (this.#expecting === 0) this.#kept.clear();
  }

  /** Calls `onExit` once, from {@link reap}, when a child that has just been started ends. */
  watch(pid: number, onExit: OnExit): void {
    // Whatever is kept of this pid is about an earlier process.
    this.#kept.delete(pid);
    // Callers may have named one pid file for two sessions: each is told of what it read there.
    this.#watched.set(pid, [...(this.#watched.get(pid) ?? []), onExit]);
  }

  /**
   * Watches a process that was made after the moment `since` and may have ended already: `onExit` is called at once then.
   * If the runtime did not leave it to us, its end is found by probing, and its status, which nobody but its parent can
   * know, counts as 0 (as conmon C has it).
   */
  watchStranger(pid: number, since: number, onExit: OnExit): void {
    const kept = this.#kept.get(pid);
    this.watch(pid, onExit);
    if (kept !== undefined && kept.moment >= since) this.#deliver(pid, kept.status);
    else if (!this.#isChild(pid)) this.#startProbe(pid);
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
    for (const probe of this.#probes) clearInterval(probe);
    this.#probes.clear();
    this.#watched.clear();
  }

  #deliver(pid: number, status: number): void {
    const watchers = this.#watched.get(pid);
    if (watchers === undefined) {
      if (this.#expecting > 0) this.#keep(pid, status);
      return;
    }
    this.#watched.delete(pid);
    for (const onExit of watchers)
      try {
        onExit(status);
      } catch (error) {
        // A bug in one session's step must not keep the others from hearing of their children.
        this.#diag.error(`internal error: ${(error instanceof Error && error.stack) || errorText(error)}`);
      }
  }

  #keep(pid: number, status: number): void {
    this.#kept.delete(pid);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= KEPT_MAX && oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(pid, { status, moment: this.#moment });
  }

  /** A waitpid for one pid tells a child from a stranger without reading /proc. */
  #isChild(pid: number): boolean {
    const result = this.#sys.waitpid(pid, WNOHANG, this.#status);
    if (result === pid) this.#deliver(pid, this.#status[0] ?? 0);
    return result !== ECHILD;
  }

  #startProbe(pid: number): void {
    this.#diag.info(`Container process ${pid} is still alive but not a direct child`);
    const probe = setInterval(() => {
      // Its parent may have ended meanwhile and left it to us: then its status is had after all.
      if (this.#watched.has(pid) && !this.#isChild(pid)) {
        if (this.#sys.kill(pid, 0) !== ESRCH) return;
        this.#diag.warn(`Container process ${pid} has exited, its status is not known: reporting 0`);
        this.#deliver(pid, 0);
      }
      clearInterval(probe);
      this.#probes.delete(probe);
    }, PROBE_MS);
    this.#probes.add(probe);
  }
}
