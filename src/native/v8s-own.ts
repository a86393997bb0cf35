/**
 * V8's own number of calls before it compiles a function with Maglev, as a flag that sets it again (src/native/tiering.ts). A code cache
 * is one of the flags that it was made under, so build.mjs, which makes ours, sets the same. It loads nothing.
 */
export const V8S_OWN = '--invocation-count-for-maglev=400';
