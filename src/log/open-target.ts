/**
 * What the log worker gets for a log that was asked for: files are opened, on the main thread before the daemon says that
 * it is ready, since a log that cannot be opened is an option error. A journal is not connected to: it may come later.
 */

import { closeSync } from 'node:fs';
import type { DriverTarget } from '../proto/log-messages.ts';
import { openLog } from './open-log.ts';

/** Source: systemd's JOURNAL_NATIVE_PROTOCOL. */
const JOURNAL_SOCKET = '/run/systemd/journal/socket';

/** A log as the command line names it (src/cli/options.ts); `none` and `passthrough` need nobody to write them. */
export type AskedLog =
  | { readonly driver: 'k8s-file' | 'json-file'; readonly path: string }
  | { readonly driver: 'journald' | 'passthrough' | 'none' };

/** Whose log it is, and what its records say of that. */
export interface LogIdentity {
  readonly cid: string;
  readonly name: string | undefined;
  readonly logTag: string | undefined;
  /** `NAME=VALUE`, checked. */
  readonly logLabels: readonly string[];
  readonly noContainerPartialMessage: boolean;
}

/**
 * The targets of a session, in the order asked for. The caller owns the fds. Throws ConmonError LOG_OPEN_FAILED, with none
 * of them left open.
 */
export function openTargets(logs: readonly AskedLog[], identity: LogIdentity): DriverTarget[] {
  const targets: DriverTarget[] = [];
  try {
    for (const log of logs) {
      const target = openTarget(log, identity);
      if (target !== undefined) targets.push(target);
    }
    return targets;
  } catch (error) {
    for (const target of targets) if ('fd' in target) closeSync(target.fd);
    throw error;
  }
}

function openTarget(log: AskedLog, identity: LogIdentity): DriverTarget | undefined {
  switch (log.driver) {
    case 'k8s-file':
      return { driver: 'k8s-file', path: log.path, fd: openLog(log.path) };
    case 'json-file':
      return { driver: 'json-file', path: log.path, fd: openLog(log.path), attributes: attributesOf(identity) };
    case 'journald':
      return journaldTarget(identity);
    default:
      return undefined;
  }
}

function journaldTarget({ cid, name, logTag, logLabels, noContainerPartialMessage }: LogIdentity): DriverTarget {
  return {
    driver: 'journald',
    socketPath: JOURNAL_SOCKET,
    cid,
    name,
    tag: logTag,
    labels: logLabels,
    tellPartial: !noContainerPartialMessage,
  };
}

/** Labels by their names, and the tag as `tag`, as Docker has them. */
function attributesOf({ logTag, logLabels }: LogIdentity): Record<string, string> {
  const attributes = Object.fromEntries(
    logLabels.map((label) => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)]),
  );
  return logTag === undefined ? attributes : { ...attributes, tag: logTag };
}
