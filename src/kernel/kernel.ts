/**
 * Loads kernel.wasm over a session's shared memory. Runs on the log thread (and in tests). The module is 3 KB; it is
 * compiled where it is used, which costs less than posting a compiled one.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { libexecDir } from '../native/libexec.ts';

/** The kernel's exports; addresses are byte offsets into the shared memory. Behaviour: assembly/. */
export interface Kernel {
  /** @returns bytes taken of `length` at `source`; fewer when the output, which ends at `outEnd`, is full. */
  k8s(state: number, source: number, length: number, outEnd: number): number;
  /** Closes an open record as partial. @returns 1 when there was one. */
  k8sFlush(state: number): number;
  /** As {@link k8s}, for json-file records. Behaviour: assembly/json.ts. */
  json(state: number, source: number, length: number, outEnd: number): number;
  /** Closes an open record as partial. `last` = 1: what is left of a cut UTF-8 sequence goes out too. @returns 1 when there was one. */
  jsonFlush(state: number, last: 0 | 1): number;
  /**
   * Writes the offset behind each newline to the u32 words at `table`, at most `max`. Behaviour: assembly/scan.ts.
   * @returns how many.
   */
  scan(source: number, length: number, table: number, max: number): number;
}

const PAGE_BYTES = 65536;

/**
 * Shared memory of at least `bytes`, which has got its size when this returns. It grows to it: V8 counts for this thread's heap
 * what a memory has at first, and not what it has grown to, and would take what is no garbage for a reason to collect (Node 26.10,
 * docs/adr/0059-no-wake-up-of-v8s-own.md).
 */
export function createMemory(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: 0, maximum: pages, shared: true });
  memory.grow(pages);
  return memory;
}

/** Throws what WebAssembly throws when the file is damaged or the memory's limits are wrong. */
export function loadKernel(memory: WebAssembly.Memory): Kernel {
  const module = new WebAssembly.Module(readFileSync(join(libexecDir, 'kernel.wasm')));
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as unknown as Kernel; // the exports' types are assembly/index.ts's; TypeScript cannot see them
}
