/**
 * Reads a container's output and throws it away: a session without a log driver (`none`) and without a client. It costs
 * no worker, and node:net and Node's streams neither. Main thread; the one place where main touches stream bytes, and it
 * looks at none of them.
 */

import type { Diag } from '../diag/diag.ts';
import { EAGAIN } from '../native/constants.ts';
import type { Sys, Watch } from '../native/sys.ts';

const BUFFER_BYTES = 65536;
/** Reads of one stream before the event loop gets its turn. */
const READS_A_TURN = 16;

export class Discard {
  /** How much it has thrown away. */
  bytes = 0;
  readonly #sys: Sys;
  readonly #watches = new Map<number, Watch>();
  /** Never read; untouched, and so no memory, until there is output. */
  readonly #buffer = new Uint8Array(BUFFER_BYTES);

  /** @param fds non-blocking; they stay the caller's, to be closed after {@link close}. */
  constructor(sys: Sys, diag: Diag, fds: readonly number[]) {
    this.#sys = sys;
    for (const fd of fds) {
      const watch = sys.watch(fd, () => this.#read(fd));
      if (typeof watch === 'number') diag.error(`Failed to watch the container's output: ${sys.strerror(watch)}`);
      else this.#watches.set(fd, watch);
    }
  }

  /** Stops reading. */
  close(): void {
    for (const fd of [...this.#watches.keys()]) this.#stop(fd);
  }

  #read(fd: number): void {
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      const result = this.#sys.read(fd, this.#buffer, 0, BUFFER_BYTES);
      if (result === EAGAIN) return;
      // Its end, or EIO of a terminal that nobody has open any longer: poll would say so again and again.
      if (result <= 0) {
        this.#stop(fd);
        return;
      }
      this.bytes += result;
      if (result < BUFFER_BYTES) return;
    }
  }

  #stop(fd: number): void {
    const watch = this.#watches.get(fd);
    if (watch !== undefined) this.#sys.unwatch(watch);
    this.#watches.delete(fd);
  }
}
