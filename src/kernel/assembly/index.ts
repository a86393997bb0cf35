/**
 * The formatting kernel: raw bytes of one stream in, log records out, both in the shared memory. No allocation, no
 * data of its own, no imports but the memory; state lives where the caller says (src/kernel/layout.ts), so that a
 * thread that takes over goes on where the last one stopped.
 */

export { json, jsonFlush } from './json';
export { k8s, k8sFlush } from './k8s';
export { scan } from './scan';
