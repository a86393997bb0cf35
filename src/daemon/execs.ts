/**
 * Execs of the container that are held by this process too: whether they may come, and what they keep it for. What holds
 * them is loaded for the first one (./joining.ts, a bundle of its own). Main thread; docs/adr/0035-sessions.md.
 */

import { absoluteOptions } from '../cli/absolute.ts';
import { fileProbe, parseCommandLine } from '../cli/index.ts';
import type { Diag } from '../diag/diag.ts';
import { ConmonError, errorText } from '../diag/error.ts';
import type { Host } from '../host/host.ts';
import { buildId } from '../native/libexec.ts';
import { sys, type Watch } from '../native/sys.ts';
import { optimiseAsV8Does } from '../native/tiering.ts';
import type { Launch } from '../session/launch.ts';
import type { Reaper } from '../session/reaper.ts';
import type { Session } from '../session/session.ts';
import { SessionSocket } from '../session/session-socket.ts';
import { newSession } from './new-session.ts';
import { closeTargets, diagPlan, prepare } from './prepare.ts';
import { afterSecondGo } from './second-go.ts';

const ACCEPT_PAUSE_MS = 100;

export class Execs {
  readonly #reaper: Reaper;
  readonly #launch: Launch;
  #socket: SessionSocket | undefined;
  #watch: Watch | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  /** Whether sockets beside ours were looked at. */
  #swept = false;
  #host: Host | undefined;

  constructor(reaper: Reaper, launch: Launch) {
    this.#reaper = reaper;
    this.#launch = launch;
  }

  get busy(): boolean {
    return this.#host?.busy === true;
  }

  /** Lets them come, once the container's runtime has been started. */
  welcome(container: Session, diag: Diag): void {
    const alive = container.state === 'creating' || container.state === 'running';
    if (process.env['CONMON_SESSIONS'] === 'off' || !alive) return; // nobody would remove the socket of one that is gone
    try {
      const socket = new SessionSocket(sys, container.parts.options.cid, process.env['XDG_RUNTIME_DIR']);
      this.#socket = socket;
      this.#listen(socket, container, diag);
    } catch (error) {
      this.refuse();
      diag.debug(`execs cannot join: ${errorText(error)}`);
    }
  }

  #listen(socket: SessionSocket, container: Session, diag: Diag): void {
    const watch = sys.watch(socket.listenFd, () => {
      try {
        this.#host ??= this.#load(container, diag);
        if (this.#host.accept(socket.listenFd)) return;
        // No fds left: who knocks stays in the backlog, where we would be told of it again and again.
        if (this.#watch !== undefined) sys.unwatch(this.#watch);
        this.#watch = undefined;
        this.#pause = setTimeout(() => this.#listen(socket, container, diag), ACCEPT_PAUSE_MS);
      } catch (error) {
        this.refuse(); // conmon was taken away, or replaced, under the container: the launcher starts one of its own
        diag.warn(`execs cannot join: ${errorText(error)}`);
      }
    });
    if (typeof watch === 'number')
      throw new ConmonError('SESSIONS', 'Failed to watch session socket', { reason: sys.strerror(watch) });
    this.#watch = watch;
  }

  refuse(): void {
    clearTimeout(this.#pause);
    if (this.#watch !== undefined) sys.unwatch(this.#watch);
    this.#watch = undefined;
    this.#socket?.close();
    this.#socket = undefined;
  }

  /**
   * Looks for sockets that killed daemons have left beside this one's, once. When nobody says anything: it takes more than a
   * millisecond, in which a line would wait (docs/adr/0062-from-poll-to-the-line.md).
   */
  sweep(diag: Diag): void {
    if (this.#swept || this.#socket === undefined) return;
    this.#swept = true;
    try {
      const removed = this.#socket.sweep();
      if (removed > 0) diag.debug(`removed ${removed} session sockets of daemons that were killed`);
    } catch (error) {
      diag.debug(`session sockets are not looked through: ${errorText(error)}`);
    }
  }

  /** The container's session is done. */
  leave(status: number): void {
    if (this.#host) this.#host.containerDone(status);
    else sys.exitNow(status);
  }

  #load(container: Session, diag: Diag): Host {
    optimiseAsV8Does();
    const joining = require('./host.cjs') as typeof import('./joining.ts');
    if (joining.build !== buildId) throw new ConmonError('SESSIONS', 'conmon was replaced while the container ran');
    return joining.createHost({
      sys,
      diag,
      container,
      reaper: this.#reaper,
      nofileHard: this.#launch.nofileHard,
      make: {
        parseCommandLine,
        absoluteOptions,
        fileProbe,
        diagPlan,
        prepare,
        closeTargets,
        newSession,
        afterSecondGo,
      },
    });
  }
}
