/**
 * Values that become names or paths of files: container id, uuid, and the path options. Main thread, pure.
 * The checks here are our own: C takes an id with a slash and writes outside the directory it was given.
 * They come after all of C's, so that C's messages win.
 */
import type { GivenOptions } from './goption.ts';
import type { LogTarget } from './options.ts';
import type { StringName } from './table.ts';

/** NAME_MAX, bytes. Source: limits.h; every Linux file system conmon meets has it. */
const FILE_NAME_MAX_BYTES = 255;

/** An empty path never names what the caller meant: with --exit-dir it would be the current directory. */
const PATH_OPTIONS: readonly StringName[] = [
  'conmon-pidfile',
  'container-pidfile',
  'exec-process-spec',
  'exit-command',
  'exit-dir',
  'persist-dir',
  'restore',
  'sdnotify-socket',
  'socket-dir-path',
];

/** @returns the message (no prefix) for the first value that cannot be a file name or path; undefined = all can. */
export function checkFileNames(given: GivenOptions, bundle: string | undefined, targets: readonly LogTarget[]) {
  const { strings } = given;
  const cid = strings.cid ?? '';
  return (
    checkId('--cid', cid) ??
    (strings['exit-dir'] === undefined ? undefined : checkFileName('--cid', cid, '')) ??
    (strings['container-pidfile'] === undefined ? checkFileName('--cid', cid, 'pidfile-') : undefined) ??
    checkSocketDirectoryName(given, bundle, targets) ??
    checkNoNul('--name', strings.name) ??
    checkNoNul('--log-tag', strings['log-tag']) ??
    checkPaths(given)
  );
}

/** SOCKET_DIR/CUUID exists only for an attach socket that is not in the bundle itself (contract section 5). */
function checkSocketDirectoryName(given: GivenOptions, bundle: string | undefined, targets: readonly LogTarget[]) {
  const cuuid = given.strings.cuuid;
  const named = bundle !== undefined && !given.flags.has('full-attach') && !hasPassthrough(targets);
  // Legacy exec may leave the uuid out; with a bundle C would then replace the socket directory itself.
  if (cuuid === undefined) return named ? 'Container UUID not provided. Use --cuuid' : undefined;
  return checkId('--cuuid', cuuid) ?? (named ? checkFileName('--cuuid', cuuid, '') : undefined);
}

function hasPassthrough(targets: readonly LogTarget[]): boolean {
  return targets.some((target) => target.driver === 'passthrough');
}

function checkId(option: string, id: string): string | undefined {
  return id === '' ? `${option} must not be empty` : checkNoNul(option, id);
}

function checkFileName(option: string, id: string, prefix: string): string | undefined {
  if (id.includes('/')) return `${option} must not contain '/', it becomes a file name: '${id}'`;
  if (prefix === '' && (id === '.' || id === '..')) return `${option} must not be '${id}', it becomes a file name`;
  const excess = Buffer.byteLength(id) - (FILE_NAME_MAX_BYTES - prefix.length);
  return excess > 0 ? `${option} is ${excess} bytes too long, it becomes a file name` : undefined;
}

/** argv cannot hold a NUL; arguments that come another way could. */
function checkNoNul(option: string, text: string | undefined): string | undefined {
  return text?.includes('\0') ? `${option} must not contain NUL` : undefined;
}

function checkPaths(given: GivenOptions): string | undefined {
  for (const name of PATH_OPTIONS) {
    const path = given.strings[name];
    if (path === undefined) continue;
    if (path === '') return `--${name} must not be empty`;
    const wrong = checkNoNul(`--${name}`, path);
    if (wrong !== undefined) return wrong;
  }
  return given.lists['log-allowlist-dir']?.includes('') ? '--log-allowlist-dir must not be empty' : undefined;
}
