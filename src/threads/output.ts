/**
 * A session's output and clients, as main sees them: which workers there are, and when. With log files the log worker
 * runs from the start; without, nobody reads but a discarding main thread until the first client comes. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import type { Sys } from '../native/sys.ts';
import type { LogCounters, Source } from '../proto/log-messages.ts';
import { type AttachPlan, AttachWorker } from './attach-worker.ts';
import { keepBackgroundBehind } from './background.ts';
import { Discard } from './discard.ts';
import { LogWorker, type LogWorkerPlan } from './log-worker.ts';
import { type Pool, WorkerPool } from './pool.ts';

/** How long the notice of the container's end waits for the clients: it usually comes after their last byte. */
const CLIENTS_GRACE_MS = 1000;

export class Output {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #plan: LogWorkerPlan;
  readonly #onEnded: (counters: LogCounters | undefined) => void;
  #pool: Pool | undefined;
  #log: LogWorker | undefined;
  #attach: AttachWorker | undefined;
  #discard: Discard | undefined;
  #sources: readonly Source[] | undefined;
  /** What to hand to an attach worker; undefined until it is known. */
  #stdinFd: number | undefined;
  #logging = false;
  #serving = false;
  #onLeft: (() => void) | undefined;
  #ended = false;
  #told = false;
  #graceOver = false;
  #grace: ReturnType<typeof setTimeout> | undefined;
  readonly #onClosed: (() => void)[] = [];
  #counters: LogCounters | undefined;

  /**
   * Takes the fds of `plan` over. `onEnded` is called once, after {@link end}, when everything is written.
   * @param pool who runs the loops; absent = threads of our own.
   */
  constructor(
    sys: Sys,
    diag: Diag,
    plan: LogWorkerPlan,
    onEnded: (counters: LogCounters | undefined) => void,
    pool?: Pool,
  ) {
    this.#pool = pool;
    this.#sys = sys;
    this.#diag = diag;
    this.#plan = plan;
    this.#onEnded = onEnded;
    if (plan.targets.length > 0) this.#startLog();
  }

  /** The runtime is done: reads the sources, which are ours from now on, and feeds `stdinFd` (-1: there is none). */
  begin(sources: readonly Source[], stdinFd: number): void {
    this.#sources = sources;
    this.#stdinFd = stdinFd;
    // A terminal hangs up and comes back, which the log worker can follow and Discard cannot.
    if (this.#log === undefined && sources.some(({ terminal }) => terminal)) this.#tryStartLog();
    if (this.#log && this.#logging) this.#log.begin(sources);
    else this.#startDiscard(sources); // no log, or its worker was lost for good
    this.#attach?.stdin(stdinFd);
    // Without a log, clients need the log thread's code too, which is three times as long: it is not kept.
    if (this.#logging) this.#pool?.keepAttach?.();
  }

  /**
   * A client is in the backlog of `plan.listenFd`. `onLeft` is called when nobody listens there any longer. @returns false
   * when nobody will: too many threads have died. Throws ConmonError DOORBELL when the machine has no fds left; it may be
   * asked again.
   */
  startAttach(plan: AttachPlan, onLeft: () => void): boolean {
    if (this.#ended || this.#serving) return true;
    if (this.#attach?.usable === false) return false;
    const log = this.#log ?? this.#startLog();
    if (!this.#logging) return false; // lost for good: there is nothing to give, and what is read must go on being read
    log.keepForClients();
    if (!this.#logging) return false; // it was lost for good just now
    if (this.#discard && this.#sources) {
      this.#discard.close();
      this.#discard = undefined;
      log.begin(this.#sources);
    }
    this.#serving = true;
    this.#onLeft = onLeft;
    this.#attach ??= this.#newAttach(log, plan);
    try {
      this.#attach.serve();
    } catch (error) {
      this.#serving = false;
      log.forgetClients();
      throw error;
    }
    return true;
  }

  #newAttach(log: LogWorker, plan: AttachPlan): AttachWorker {
    const attach = new AttachWorker(this.#sys, this.#diag, this.#thePool(), log, plan, () => {
      this.#serving = false;
      if (this.#logging && !this.#ended) log.clientsLeft();
      if (!this.#ended) this.#onLeft?.();
      this.#tellEnded();
      this.#release();
      if (this.#ended) for (const onClosed of this.#onClosed.splice(0)) onClosed();
    });
    if (this.#stdinFd !== undefined) attach.stdin(this.#stdinFd);
    return attach;
  }

  reopen(): void {
    this.#log?.reopen();
  }

  /**
   * The container is gone: what is there is read (`drain`), written and given to the clients; then `onEnded`. Clients that
   * take longer do not hold that up; {@link whenClosed} tells when they have everything, or were given up.
   */
  end(drain: boolean): void {
    this.#ended = true;
    this.#discard?.close();
    if (this.#log && this.#discard && this.#discard.bytes > 0 && this.#plan.targets.length > 0)
      this.#diag.warn(`at least ${this.#discard.bytes} bytes of output were thrown away: the log worker was lost`);
    this.#attach?.end();
    this.#log?.end(drain);
    this.#tellEnded();
    this.#release();
  }

  /** Calls back once no client is served any longer; at once when none is. */
  whenClosed(onClosed: () => void): void {
    if (this.#serving) this.#onClosed.push(onClosed);
    else onClosed();
  }

  #startLog(): LogWorker {
    const log = new LogWorker(this.#sys, this.#diag, this.#thePool(), this.#plan, (counters) => {
      this.#counters = counters;
      // The worker is lost for good: the container must not block on a pipe that nobody reads.
      if (!this.#ended && this.#sources) this.#startDiscard(this.#sources);
      this.#logging = false;
      this.#tellEnded();
      this.#release();
    });
    this.#logging = true;
    this.#log = log;
    return log;
  }

  /** For what Discard can do in its place. */
  #tryStartLog(): void {
    try {
      this.#startLog();
    } catch (error) {
      this.#diag.error(`the container's terminal is read until it hangs up, and no longer: ${errorText(error)}`);
    }
  }

  #startDiscard(sources: readonly Source[]): void {
    this.#discard ??= new Discard(
      this.#sys,
      this.#diag,
      sources.map(({ fd }) => fd),
    );
  }

  #thePool(): Pool {
    if (this.#pool === undefined) {
      this.#pool = new WorkerPool(this.#plan.giveBack);
      keepBackgroundBehind(this.#sys, this.#diag);
    }
    return this.#pool;
  }

  /** What no worker needs any longer is closed. */
  #release(): void {
    if (!this.#ended || this.#logging || this.#serving) return;
    this.#log?.close(this.#attach?.intact ?? true);
    for (const { fd } of this.#sources ?? []) this.#sys.close(fd);
    this.#sources = undefined;
    if (this.#attach) this.#attach.release();
    else if (this.#stdinFd !== undefined && this.#stdinFd >= 0) this.#sys.close(this.#stdinFd);
    this.#stdinFd = undefined;
  }

  /** Once, when the log is written and the clients have everything, or have had a second for it. */
  #tellEnded(): void {
    if (!this.#ended || this.#logging || this.#told) return;
    if (this.#serving && !this.#graceOver) {
      this.#grace ??= setTimeout(() => {
        this.#graceOver = true;
        this.#tellEnded();
      }, CLIENTS_GRACE_MS);
      return;
    }
    clearTimeout(this.#grace);
    this.#told = true;
    this.#onEnded(this.#counters);
  }
}
