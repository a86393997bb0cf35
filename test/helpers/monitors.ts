/**
 * The conmons that the e2e cases run against: ours (bin/conmon) and Debian's C conmon, the rival and the yardstick.
 * CONMON_UNDER_TEST picks: `c`, `ours`, a comma list of both, or the path of another conmon that promises what ours does.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { REPOSITORY } from './native.ts';

export type MonitorName = 'c' | 'ours';

export interface Monitor {
  readonly name: MonitorName;
  /** Absolute path of the executable. */
  readonly path: string;
  /** X.Y.Z as `--version` prints it. */
  readonly version: string;
  /** CONMON_SESSIONS for its containers and execs; absent = not set. */
  readonly sessions?: 'on' | 'off';
}

/** What a monitor is to find in its environment besides the engine's. */
export function ownEnvironment({ sessions }: Monitor): Readonly<Record<string, string>> {
  return sessions === undefined ? {} : { CONMON_SESSIONS: sessions };
}

const C_CONMON = '/usr/bin/conmon';
const OUR_CONMON = `${REPOSITORY}/bin/conmon`;

let found: readonly Monitor[] | undefined;

/**
 * The monitors to test, in order. Default: ours when it is built, and C.
 * Throws when one that was asked for is not there: a missing package is a failure, not a reason to skip.
 */
export function monitors(): readonly Monitor[] {
  found ??= (process.env['CONMON_UNDER_TEST'] ?? (existsSync(OUR_CONMON) ? 'ours,c' : 'c')).split(',').map((word) => {
    const name = word.trim();
    if (name === 'c') {
      return describe('c', C_CONMON);
    }
    if (name === 'ours') {
      return describe('ours', OUR_CONMON);
    }
    if (!isAbsolute(name)) {
      throw new Error(`CONMON_UNDER_TEST: '${name}' is neither c, ours nor an absolute path`);
    }
    return describe('ours', name);
  });
  return found;
}

function describe(name: MonitorName, path: string): Monitor {
  accessSync(path, constants.X_OK);
  const text = execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 20_000 });
  const version = /^conmon version (\d+\.\d+\.\d+)/.exec(text)?.[1];
  if (version === undefined) {
    throw new Error(`${path} --version says: ${text}`);
  }
  return { name, path, version };
}
