/**
 * Where the files that belong to this conmon lie: addon, kernel and bundles. Every thread asks here; nothing in the
 * environment can change the answer. In a bundle that is the bundle's own directory, in the source tree `libexec/conmon`.
 */

import { join } from 'node:path';

/** Set by the bundler (see build.mjs); absent when Node runs the sources, as the tests do. */
declare const CONMON_BUNDLE_DIR: string | undefined;

/** Absolute path of the directory that holds sys.node, kernel.wasm and the bundles. */
export const libexecDir: string =
  typeof CONMON_BUNDLE_DIR === 'string' ? CONMON_BUNDLE_DIR : join(import.meta.dirname, '../../libexec/conmon');
