/**
 * One view of a shared memory's bytes for each thread, so that all who read and write there hand in the same one: Sys.keep knows
 * it by that. Any thread.
 */

const views = new WeakMap<ArrayBufferLike, Uint8Array<ArrayBufferLike>>();

/** All of it, as large as it is now. */
export function bytesOf(memory: WebAssembly.Memory): Uint8Array {
  const { buffer } = memory;
  const known = views.get(buffer);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(buffer);
  views.set(buffer, bytes);
  return bytes;
}
