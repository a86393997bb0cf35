/**
 * The shared memory of sessions that come and go in one daemon: what an ended one had is used again. V8 counts all of a
 * memory, used or not, as garbage to be, on each thread that is given it, and collects for it
 * (docs/adr/0036-memory-of-ended-execs.md). Main thread.
 */

import { createMemory } from '../kernel/kernel.ts';
import { MADV_DONTNEED } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

/** As many execs that log have been there at once often enough. One that waits for long has no pages, only addresses. */
const WAITING_MAX = 8;

/** Parts of a memory, as offsets: from and to. */
type Ranges = readonly (readonly [number, number])[];

/** Whoever gives a session its memory. */
export interface Memories {
  /** Zeros, at least `bytes`. */
  take(bytes: number): WebAssembly.Memory;
  /**
   * Nobody uses it any longer. `intact`: its loops have all ended as they should, so that no other one still writes to it.
   * `often`: what each session uses of it, from and to, whole pages, ascending (src/ring/layout.ts).
   */
  put(memory: WebAssembly.Memory, intact: boolean, often?: Ranges): void;
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
  readonly #parts = new WeakMap<WebAssembly.Memory, Parts>();

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

  put(memory: WebAssembly.Memory, intact: boolean, often: Ranges = []): void {
    if (intact && this.#waiting.length < WAITING_MAX && (this.#wipe(memory) || this.#clear(memory, often)))
      this.#waiting.push(memory);
    else {
      if (intact) this.#clear(memory, []); // the collector may be long in coming
      this.#onDropped(memory);
    }
  }

  /** Nobody has come for a moment: those that wait keep no page. */
  rest(): void {
    for (const { buffer } of this.#waiting) this.#sys.madvise(new Uint8Array(buffer), MADV_DONTNEED);
  }

  /**
   * The pages that each session uses are filled with zeros, all others given back: the kernel takes ten times as long to give
   * the next one a new page. Only where giving back is known to leave zeros. @returns whether all of it is zeros.
   */
  #wipe(memory: WebAssembly.Memory): boolean {
    const parts = this.#parts.get(memory);
    if (parts === undefined) return false;
    for (const page of parts.often) page.fill(0);
    for (const rest of parts.rest) if (this.#sys.madvise(rest, MADV_DONTNEED) !== 0) return false;
    return true;
  }

  /**
   * Gives all pages back: nothing that one session has read is there for the next one, and a memory that waits, or that
   * the collector has not come to yet, costs nothing. @returns whether that is so.
   */
  #clear(memory: WebAssembly.Memory, often: Ranges): boolean {
    const { buffer } = memory;
    const words = new Int32Array(buffer);
    words[0] = -1;
    if (this.#sys.madvise(new Uint8Array(buffer), MADV_DONTNEED) !== 0 || words[0] !== 0) return false;
    this.#parts.set(memory, partsOf(buffer, often));
    return true;
  }
}

/** A memory in the two ways in which it becomes zeros; together they are all of it. */
interface Parts {
  readonly often: readonly Uint8Array[];
  readonly rest: readonly Uint8Array[];
}

function partsOf(buffer: ArrayBufferLike, ranges: Ranges): Parts {
  const often: Uint8Array[] = [];
  const rest: Uint8Array[] = [];
  let at = 0;
  for (const [from, to] of ranges) {
    if (from > at) rest.push(new Uint8Array(buffer, at, from - at));
    often.push(new Uint8Array(buffer, from, to - from));
    at = to;
  }
  if (at < buffer.byteLength) rest.push(new Uint8Array(buffer, at));
  return { often, rest };
}

/** Memory comes in pages of 64 KiB. */
function isJustEnough(haveBytes: number, wantBytes: number): boolean {
  return haveBytes >= wantBytes && haveBytes - wantBytes < 65536;
}
