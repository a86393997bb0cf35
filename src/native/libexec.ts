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

/** Names the build (see Makefile); the same in each bundle of it. Absent when Node runs the sources. */
declare const CONMON_BUILD_ID: string | undefined;

/** What this code was built from; empty for the sources themselves. */
export const buildId: string = typeof CONMON_BUILD_ID === 'string' ? CONMON_BUILD_ID : '';

/** Where main tells its threads which build it is of. */
export const BUILD_VARIABLE = 'CONMON_BUILD';

/**
 * Called by a thread before it touches what it shares with main. Its code was read from libexec just now, which an
 * upgrade may have replaced since main was started, perhaps weeks ago. Throws when the two are not of one build: shared
 * memory that is understood in two ways loses logs, a thread that does not start loses an attach.
 */
export function checkBuild(): void {
  const mains = process.env[BUILD_VARIABLE];
  // Tests run main from its sources, with threads of whatever was built last.
  if (mains !== undefined && mains !== '' && mains !== buildId)
    throw new Error(
      `conmon was replaced while the container ran: it is of build ${mains}, ${libexecDir} of ${buildId}`,
    );
}
