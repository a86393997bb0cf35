/**
 * Makes every path of the options absolute, as the daemon leaves the caller's working directory: worker threads cannot
 * start in one that was deleted, and a daemon should keep no mount busy. The runtime and the exit command are started in
 * the caller's directory all the same. Main thread; pure but for the function handed in.
 */

import { isAbsolute, join } from 'node:path';
import type { LogTarget, Options } from './options.ts';

/** @param cwd asked for only when some path is relative; what it throws, when that directory is gone, passes through. */
export function absoluteOptions(options: Options, cwd: () => string): Options {
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(cwd(), path));
  const perhaps = (path: string | undefined): string | undefined => (path === undefined ? undefined : absolute(path));
  return Object.freeze({
    ...options,
    bundle: perhaps(options.bundle),
    conmonPidfile: perhaps(options.conmonPidfile),
    containerPidfile: absolute(options.containerPidfile),
    runtime: absolute(options.runtime),
    logAllowlistDirs: Object.freeze(options.logAllowlistDirs.map(absolute)),
    logTargets: Object.freeze(options.logTargets.map((target) => absoluteTarget(target, absolute))),
    exitDir: perhaps(options.exitDir),
    persistDir: perhaps(options.persistDir),
    exitCommand: perhaps(options.exitCommand),
    execProcessSpec: perhaps(options.execProcessSpec),
    restorePath: perhaps(options.restorePath),
    socketDirPath: absolute(options.socketDirPath),
    // '@NAME' is how the service manager writes an abstract socket: no path (src/session/notify-relay.ts refuses it).
    sdnotifySocket: options.sdnotifySocket?.startsWith('@') ? options.sdnotifySocket : perhaps(options.sdnotifySocket),
  });
}

function absoluteTarget(target: LogTarget, absolute: (path: string) => string): LogTarget {
  return 'path' in target ? Object.freeze({ ...target, path: absolute(target.path) }) : target;
}
