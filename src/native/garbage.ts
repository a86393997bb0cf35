/**
 * Collects garbage on request. V8 puts gc() into contexts that are made while --expose-gc is set: one of our own is made for
 * it when it is first asked for (1 ms, 0.4 MiB), because the flag at start keeps V8 from Node's own compiled code in every
 * session (docs/adr/0043-flags-and-the-code-cache.md). Any thread; each has its own.
 */

let gc: (() => void) | undefined;

/** A full collection, on this thread's heap. Takes a millisecond and more: for moments in which nobody waits. */
export function collectGarbage(): void {
  gc ??= exposeGc();
  gc();
}

function exposeGc(): () => void {
  const v8 = process.getBuiltinModule('node:v8');
  const vm = process.getBuiltinModule('node:vm');
  v8.setFlagsFromString('--expose-gc');
  try {
    return vm.runInNewContext('gc') as () => void;
  } finally {
    v8.setFlagsFromString('--no-expose-gc');
  }
}
