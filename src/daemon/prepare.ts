/**
 * What a session needs of its caller before that one may hear "ready": the pipes that the environment names, the log
 * files, the container's streams. Main thread; for a session of its own process and for one that joins.
 */

import type { Options } from '../cli/index.ts';
import type { Diag, DiagPlan } from '../diag/diag.ts';
import { openTargets } from '../log/open-target.ts';
import { sys } from '../native/sys.ts';
import type { DriverTarget } from '../proto/log-messages.ts';
import type { Environment } from '../session/environment.ts';
import type { Launch } from '../session/launch.ts';
import { openStdio, type Stdio } from '../session/stdio.ts';

/** Who calls, and what came with the call: our own launcher, or that of an exec that joins. */
export interface Source {
  readonly launch: Launch;
  /** The caller's working directory, which may have been deleted. */
  readonly cwdFd: number;
  readonly environment: Environment;
  /** The fd that the environment variable `name` holds; -1 when it is not set. Throws ConmonError PIPE. */
  pipe(name: string): number;
}

/** Everything that can fail as an option error, done before the caller hears that conmon is ready. */
export interface Prepared extends Source {
  readonly syncFd: number;
  /** With --exec-attach only, else -1. */
  readonly attachFd: number;
  readonly startFd: number;
  readonly logs: readonly DriverTarget[];
  readonly stdio: Stdio | undefined;
}

/** With a log tag the system's log shows it beside the id, as conmon C does. */
export function diagPlan({ logLevel, syslog, cid, logTag }: Options): DiagPlan {
  const name = logTag === undefined ? cid : `${cid}: ${logTag}`;
  return { level: logLevel, syslogName: syslog ? name : undefined };
}

/** Throws ConmonError for what the caller must hear about. */
export function prepare(source: Source, options: Options, diag: Diag): Prepared {
  const syncFd = source.pipe('_OCI_SYNCPIPE');
  const startFd = source.pipe('_OCI_STARTPIPE');
  const attachFd = options.execAttach ? source.pipe('_OCI_ATTACHPIPE') : -1;
  if (options.execAttach && attachFd === -1) throw new Error('--attach specified but _OCI_ATTACHPIPE was not');
  const passthrough = options.logTargets.some((target) => target.driver === 'passthrough');
  const rules = { rotate: options.logRotate, allowlistDirs: options.logAllowlistDirs };
  const logs = openTargets(sys, diag, options.logTargets, options, rules);
  try {
    const plan = { stdin: options.stdin, terminal: options.terminal };
    return { ...source, syncFd, startFd, attachFd, logs, stdio: passthrough ? undefined : openStdio(sys, diag, plan) };
  } catch (error) {
    closeTargets(logs);
    throw error;
  }
}

/** For a process that goes on: what no log worker has taken over. */
export function closeTargets(logs: readonly DriverTarget[]): void {
  for (const target of logs) if ('fd' in target) sys.close(target.fd);
}
