/**
 * Reads a container's output and throws it away: a session without a log driver (`none`) and without a client. It costs
 * no worker, and node:net and Node's streams neither. Main thread; the one place where main touches stream bytes, and it
 * looks at none of them.
 */

import type { Diag } from '../diag/diag.ts';
import { PAUSE_MS, Pace, PLENTY_BYTES, ROOMY_BYTES } from '../log/pace.ts';
import { nowMs } from '../native/clock.ts';
import { EAGAIN, F_GETPIPE_SZ } from '../native/constants.ts';
import type { Sys, Watch } from '../native/sys.ts';

const BUFFER_BYTES = 65536;
/** Reads of one stream before the event loop gets its turn. */
const READS_A_TURN = 16;
const NOTHING = new Int32Array(0);

export class Discard {
  /** How much it has thrown away. */
  bytes = 0;
  readonly #sys: Sys;
  readonly #watches = new Map<number, Watch>();
  /** Never read; untouched, and so no memory, until there is output. */
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  /** A container that writes a line at a time has main read a hundred of them in one go (docs/adr/0054-a-line-a-write.md). */
  readonly #pace: Pace;
  #pacedBytes = 0;

  /**
   * @param fds non-blocking; they stay the caller's, to be closed after {@link close}.
   * @param now a clock that only goes forward, ms
   */
  constructor(sys: Sys, diag: Diag, fds: readonly number[], now: () => number = nowMs) {
    this.#sys = sys;
    this.#pace = new Pace(now);
    for (const fd of fds) {
      const roomy = sys.fcntl(fd, F_GETPIPE_SZ, 0) >= ROOMY_BYTES;
      const watch = sys.watch(fd, () => {
        this.#read(fd);
        if (roomy) this.#letComeTogether();
      });
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

  /** After a turn of a pipe that holds what comes meanwhile: keeps main for a moment where that spares it many turns. */
  #letComeTogether(): void {
    if (this.#pace.turnsLeft > 1) {
      this.#pace.turnsLeft--;
      return;
    }
    const bytes = this.bytes - this.#pacedBytes;
    this.#pacedBytes = this.bytes;
    if (this.#pace.pauses(bytes)) this.#sys.poll(NOTHING, 0, PAUSE_MS);
    // Large writes need no pause to come together; how quickly they come without one is to be seen first.
    else if (bytes >= PLENTY_BYTES) this.#pace.reset();
  }

  #stop(fd: number): void {
    const watch = this.#watches.get(fd);
    if (watch !== undefined) this.#sys.unwatch(watch);
    this.#watches.delete(fd);
  }
}
