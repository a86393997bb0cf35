/**
 * What the log worker gets for a log that was asked for: files are opened, on the main thread before the daemon says that
 * it is ready, since a log that cannot be opened is an option error. A journal is not connected to: it may come later.
 */

import type { Diag } from '../diag/diag.ts';
import type { Sys } from '../native/sys.ts';
import type { DriverTarget } from '../proto/log-messages.ts';
import { LogFiles, type LogRules } from './open-log.ts';

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
 * The targets of a session, in the order asked for; a file that is named twice once. The caller owns the fds.
 * Throws ConmonError LOG_PATH_REFUSED or LOG_OPEN_FAILED, with none of them left open.
 */
export function openTargets(
  sys: Pick<Sys, 'close' | 'fstatat'>,
  diag: Diag,
  logs: readonly AskedLog[],
  identity: LogIdentity,
  rules: LogRules,
): DriverTarget[] {
  const files = new LogFiles(sys, diag, rules);
  try {
    return logs.flatMap((log) => openTarget(files, log, identity));
  } catch (error) {
    files.closeAll();
    throw error;
  }
}

/** One target, or none: `none`, `passthrough`, a file that is open already. */
function openTarget(files: LogFiles, log: AskedLog, identity: LogIdentity): DriverTarget[] {
  switch (log.driver) {
    case 'k8s-file':
      return files.open(log.path).map((file) => ({ driver: 'k8s-file', ...file }));
    case 'json-file':
      return files.open(log.path).map((file) => ({ driver: 'json-file', ...file, attributes: attributesOf(identity) }));
    case 'journald':
      return [journaldTarget(identity)];
    default:
      return [];
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
