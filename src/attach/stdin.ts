/**
 * The container's stdin, fed by the attach clients. Runs on the attach thread. One packet is held when the container
 * does not take it at once; until it is gone no client is read from, so that nothing is lost and nothing grows. The fd is
 * main's: a worker may die or leave, and the next one goes on with it.
 */

import { EAGAIN } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { type AttachCounters, CLIENT_PACKET_MAX } from '../proto/attach-messages.ts';

export class ContainerStdin {
  readonly #sys: Sys;
  readonly #counters: AttachCounters;
  readonly #onEnded: () => void;
  /** Not known yet: input waits for it. */
  #awaited = true;
  /** No input follows; to be told once nothing is pending. */
  #closing = false;
  #ended = false;
  /** Where a client's packet is received. */
  readonly buffer = new Uint8Array(CLIENT_PACKET_MAX);
  #fd = -1;
  #from = 0;
  #to = 0;

  /** @param onEnded called once, when nothing more will be written: the fd is to be closed, whether it has come or not. */
  constructor(sys: Sys, counters: AttachCounters, onEnded: () => void) {
    this.#sys = sys;
    this.#counters = counters;
    this.#onEnded = onEnded;
  }

  /** Writes to `fd` (non-blocking, or -1 for none) from now on; what came before it is written now. */
  open(fd: number): void {
    // The input has ended before it came: main has been told, or is being told.
    if (!this.#awaited) return;
    this.#awaited = false;
    this.#fd = fd;
    this.flush();
  }

  /** -1 when there is none, or its input has ended. */
  get fd(): number {
    return this.#fd;
  }

  /** Whether bytes wait for the container. */
  get pending(): boolean {
    return this.#from < this.#to;
  }

  /** Passes on the first `length` bytes of {@link buffer}. Only when nothing is pending. */
  write(length: number): void {
    this.#from = 0;
    this.#to = length;
    this.flush();
  }

  /** Goes on with what is pending. */
  flush(): void {
    if (this.#awaited) return;
    while (this.pending) {
      const result = this.#fd === -1 ? -1 : this.#sys.write(this.#fd, this.buffer, this.#from, this.#to - this.#from);
      if (result === EAGAIN) return;
      if (result < 0) {
        // There is none, the container has closed its end (EPIPE), or the terminal is gone (EIO).
        this.#drop();
        break;
      }
      this.#from += result;
      this.#counters.stdinBytes += result;
    }
    if (this.#closing) this.abandon();
  }

  /** The container sees the end of its input once it has taken what is pending: now, or from a later {@link flush}. */
  close(): void {
    if (this.pending) this.#closing = true;
    else this.abandon();
  }

  /** It ends now; what is pending is dropped. */
  abandon(): void {
    this.#drop();
    if (this.#ended) return;
    this.#ended = true;
    this.#awaited = false;
    this.#fd = -1;
    this.#onEnded();
  }

  #drop(): void {
    this.#counters.droppedStdinBytes += this.#to - this.#from;
    this.#from = 0;
    this.#to = 0;
  }
}
