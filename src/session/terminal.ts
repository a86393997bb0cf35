/**
 * The container's terminal, once the runtime has sent it: three fds of one pty master, each for one owner. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import { ConmonError } from '../diag/error.ts';
import { F_DUPFD_CLOEXEC } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

export class Terminal {
  /** For whoever reads the output. */
  readonly outputFd: number;
  /** For whoever writes the input. */
  readonly inputFd: number;
  readonly #sys: Sys;
  readonly #diag: Diag;
  #controlFd: number;

  /**
   * Takes `masterFd` over; `outputFd` and `inputFd` are handed on to others, who close them. Throws ConmonError CONSOLE
   * when the machine has no fds left; all are closed then.
   */
  constructor(sys: Sys, diag: Diag, masterFd: number) {
    this.#sys = sys;
    this.#diag = diag;
    this.#controlFd = masterFd;
    this.outputFd = sys.fcntl(masterFd, F_DUPFD_CLOEXEC, 3);
    this.inputFd = sys.fcntl(masterFd, F_DUPFD_CLOEXEC, 3);
    if (this.inputFd >= 0 && this.outputFd >= 0) return;
    for (const fd of [masterFd, this.outputFd, this.inputFd]) if (fd >= 0) sys.close(fd);
    const reason = sys.strerror(Math.min(this.outputFd, this.inputFd));
    throw new ConmonError('CONSOLE', 'Failed to dup console file descriptor:', { reason });
  }

  /** What is not handed on. */
  close(): void {
    if (this.#controlFd !== -1) this.#sys.close(this.#controlFd);
    this.#controlFd = -1;
  }

  /** 0 to 1000 each; 0x0 is what a terminal of unknown size has. */
  resize(rows: number, columns: number): void {
    const result = this.#sys.setWindowSize(this.#controlFd, rows, columns);
    if (result < 0) this.#diag.warn(`Failed to set process pty terminal size: ${this.#sys.strerror(result)}`);
  }
}
