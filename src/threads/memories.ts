/**
 * The shared memory of sessions that come and go in one daemon: what an ended one had is used again. V8 counts all of a
 * memory, used or not, as garbage to be, on each thread that is given it, and collects for it
 * (docs/adr/0036-memory-of-ended-execs.md). Main thread.
 */

import { createMemory } from '../kernel/kernel.ts';
import { MADV_DONTNEED } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** As many execs that log have been there at once often enough. One that waits has no pages, only addresses. */
const WAITING_MAX = 8;

/** Whoever gives a session its memory. */
export interface Memories {
  /** Zeros, at least `bytes`. */
  take(bytes: number): WebAssembly.Memory;
  /** Nobody uses it any longer. `intact`: its loops have all ended as they should, so that no other one still writes to it. */
  put(memory: WebAssembly.Memory, intact: boolean): void;
}

/** For a session that has a process of its own. */
export const freshMemories: Memories = {
  take: createMemory,
  put() {
    // It goes with the process.
  },
};

export class UsedMemories implements Memories {
  readonly #sys: Pick<Sys, 'madvise'>;
  readonly #onDropped: (memory: WebAssembly.Memory) => void;
  readonly #waiting: WebAssembly.Memory[] = [];

  /** `onDropped` is called with each memory that will not be used again. */
  constructor(sys: Pick<Sys, 'madvise'>, onDropped: (memory: WebAssembly.Memory) => void) {
    this.#sys = sys;
    this.#onDropped = onDropped;
  }

  take(bytes: number): WebAssembly.Memory {
    const fresh = (): WebAssembly.Memory => createMemory(bytes);
    // The one that was used last: who runs its loop has it in its caches.
    const at = this.#waiting.findLastIndex(({ buffer }) => isJustEnough(buffer.byteLength, bytes));
    return at === -1 ? fresh() : (this.#waiting.splice(at, 1)[0] ?? fresh());
  }

  put(memory: WebAssembly.Memory, intact: boolean): void {
    if (intact && this.#clear(memory) && this.#waiting.length < WAITING_MAX) this.#waiting.push(memory);
    else this.#onDropped(memory);
  }

  /**
   * Gives all pages back: nothing that one session has read is there for the next one, and a memory that waits, or that
   * the collector has not come to yet, costs nothing. @returns whether that is so.
   */
  #clear({ buffer }: WebAssembly.Memory): boolean {
    const words = new Int32Array(buffer);
    words[0] = -1;
    return this.#sys.madvise(new Uint8Array(buffer), MADV_DONTNEED) === 0 && words[0] === 0;
  }
}

/** Memory comes in pages of 64 KiB. */
function isJustEnough(haveBytes: number, wantBytes: number): boolean {
  return haveBytes >= wantBytes && haveBytes - wantBytes < 65536;
}
