/**
 * Where container output goes: `--log-path` values -> log targets, and the rules between targets, tag, labels and id.
 * Main thread, pure; it never opens a log file. Source: conmon's parse_log_path and configure_log_drivers, in their
 * order and with their messages.
 */
import type { LogTarget } from './options.ts';

/** Either the targets, or the first thing wrong with them (no prefix). */
export type LogChoice =
  | { readonly kind: 'targets'; readonly targets: readonly LogTarget[] }
  | { readonly kind: 'problem'; readonly problem: string };

/** What the rules look at. An option that was not given is undefined: an empty tag or list of labels counts as given. */
export interface LogRequest {
  readonly logPaths: readonly string[] | undefined;
  readonly cid: string;
  readonly tag: string | undefined;
  readonly labels: readonly string[] | undefined;
}

/** Bytes of a container id that journald entries carry as CONTAINER_ID; the id itself must be longer. */
const SHORT_ID_BYTES = 12;
/** Every record carries them: what is longer is a mistake, and would not fit where records are made. */
const TAG_AND_LABELS_MAX_BYTES = 16384;

/** Each file has output areas of its own in the session's memory, and a container that needs more is misconfigured. */
const TARGETS_MAX = 16;

/**
 * Chooses the log targets: each one once, in the order of first mention, frozen. A driver that writes files may have
 * several. `none` stands alone: beside another driver it says nothing.
 */
export function chooseLogTargets(request: LogRequest): LogChoice {
  if (request.logPaths === undefined) return problem('Log driver not provided. Use --log-path');
  const chosen = new Map<string, LogTarget>();
  for (const text of request.logPaths) {
    const target = parseLogPath(text);
    if (typeof target === 'string') return problem(target);
    const name = 'path' in target ? `${target.driver}:${target.path}` : target.driver;
    if (!chosen.has(name)) chosen.set(name, target);
  }
  const wrong = checkTagAndLabels(request, new Set([...chosen.values()].map(({ driver }) => driver)));
  if (wrong !== undefined) return problem(wrong);
  if (chosen.size > 1) chosen.delete('none');
  if (chosen.size > TARGETS_MAX) return problem(`Too many log paths: ${chosen.size} of at most ${TARGETS_MAX}`);
  return { kind: 'targets', targets: Object.freeze([...chosen.values()]) };
}

/**
 * Reads one `--log-path` value: `driver:path`, `driver`, `:path` or a bare path.
 * A path keeps its colons; C cuts it at the second one and logs to another file than it was told (docs/compat.md).
 * @returns the target, frozen, or the message for what is wrong.
 */
export function parseLogPath(text: string): LogTarget | string {
  // C's strtok skips any number of colons before a word.
  const start = skipColons(text, 0);
  if (start === text.length) return 'log-path must not be empty';
  const colon = text.indexOf(':', start);
  const head = colon < 0 ? text.slice(start) : text.slice(start, colon);
  const tail = colon < 0 ? '' : text.slice(skipColons(text, colon));
  // `:none` is a file of that name, unlike `none`; with a path behind it `:none` is a driver again, as in C.
  if (start > 0 && tail === '') return Object.freeze({ driver: 'k8s-file', path: head });
  switch (head) {
    case 'off':
    case 'null':
    case 'none':
      return Object.freeze({ driver: 'none' });
    case 'passthrough':
    case 'journald':
      return Object.freeze({ driver: head });
    case 'k8s-file':
    case 'json-file':
      return tail === '' ? `${head} requires a filename` : Object.freeze({ driver: head, path: tail });
    default:
      return colon < 0 ? Object.freeze({ driver: 'k8s-file', path: head }) : `No such log driver ${head}`;
  }
}

function checkTagAndLabels(request: LogRequest, chosen: ReadonlySet<LogTarget['driver']>) {
  const journald = chosen.has('journald');
  if (chosen.has('k8s-file') && !journald) {
    if (request.tag !== undefined) return "k8s-file doesn't support --log-tag";
    if (request.labels !== undefined) return "k8s-file doesn't support --log-label";
  }
  if (journald && Buffer.byteLength(request.cid) <= SHORT_ID_BYTES) {
    return 'Container ID must be longer than 12 characters';
  }
  if (!journald && !chosen.has('json-file')) return undefined;
  const bytes = [request.tag ?? '', ...(request.labels ?? [])].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > TAG_AND_LABELS_MAX_BYTES) {
    return `log-tag and log-label together are longer than ${TAG_AND_LABELS_MAX_BYTES} bytes`;
  }
  for (const label of request.labels ?? []) {
    const wrong = checkLabel(label);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function checkLabel(label: string): string | undefined {
  if (label.startsWith('=')) {
    return `Container labels must be in format LABEL=VALUE (no LABEL present in '${label}')`;
  }
  const equals = label.indexOf('=');
  if (equals < 0 || label.includes('=', equals + 1)) {
    return `Container labels must be in format LABEL=VALUE (none or more than one '=' present in '${label}')`;
  }
  if (!/^[A-Z0-9_]+=/.test(label)) {
    return `Container label names must contain only uppercase letters, numbers and underscore (in '${label}')`;
  }
  return undefined;
}

function skipColons(text: string, from: number): number {
  let at = from;
  while (text[at] === ':') at++;
  return at;
}

function problem(text: string): LogChoice {
  return { kind: 'problem', problem: text };
}
