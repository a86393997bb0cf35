/**
 * The part of the WebAssembly JavaScript API that conmon uses. TypeScript ships it only with the browser's types, which
 * would let `window` and friends into a daemon. Source: the WebAssembly JavaScript Interface specification.
 */

declare namespace WebAssembly {
  interface MemoryDescriptor {
    initial: number;
    maximum: number;
    shared: true;
  }
  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: SharedArrayBuffer;
    /** By so many pages, never above `maximum`; the pages that it had. Throws RangeError when there is no memory. */
    grow(pages: number): number;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: Record<string, unknown>;
  }
}
