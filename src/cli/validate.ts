/**
 * The checks between options, in C's order and with C's messages, and the frozen Options that pass them.
 * Main thread, before anything is forked or opened: every mistake of the caller is told to the process that it
 * waits for. It prints nothing and touches files only through the probe.
 * Source: conmon's initialize_cli, process_cli and configure_log_drivers (2.2.1).
 */
import { checkFileNames } from './file-names.ts';
import type { GivenOptions } from './goption.ts';
import { chooseLogTargets } from './log-target.ts';
import type { LogLevel, LogTarget, Options } from './options.ts';
import { readOwnSettings } from './own-settings.ts';
import { type FileProbe, lookupErrorText } from './probe.ts';

/** What the checks may look at outside of the command line. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** getcwd(3); throws when the directory is gone. Asked only when an option depends on it. */
  readonly cwd: () => string;
  readonly probe: FileProbe;
}

/** `refused`: the first thing wrong, without a prefix. `warnings`: for the caller to print, without a prefix. */
export type Verdict =
  | { readonly kind: 'accepted'; readonly options: Options; readonly warnings: readonly string[] }
  | { readonly kind: 'refused'; readonly problem: string };

/**
 * C makes these checks while it parses, before diagnostics are set up; hence their own prefix (`conmon: `).
 * @returns the message, undefined when all is well.
 */
export function checkEarly(given: GivenOptions): string | undefined {
  const maxFiles = given.ints['log-max-files'] ?? DEFAULT_LOG_MAX_FILES;
  if (maxFiles < 0) return `log-max-files must be non-negative, got ${maxFiles}`;
  if (maxFiles === 0 && given.flags.has('log-rotate')) {
    return `log-max-files must be at least 1 when log-rotate is enabled, got ${maxFiles}`;
  }
  return given.strings.cid === undefined ? 'Container ID not provided. Use --cid' : undefined;
}

/** Everything else. Diagnostics' own prefix (`[conmon:e]: `) goes before the problem. */
export function validate(given: GivenOptions, surroundings: Surroundings): Verdict {
  const { flags, strings, lists } = given;
  const cid = strings.cid ?? '';

  const logLevel = readLogLevel(strings['log-level']);
  if (logLevel === undefined) return refuse(`No such log level ${strings['log-level']}`);

  const mode = checkMode(given) ?? checkRuntime(given, surroundings.probe) ?? checkProcessSpec(given);
  if (mode !== undefined) return refuse(mode);

  const cwd = readCwdIfNeeded(given, surroundings.cwd);
  if (cwd === undefined) return refuse('Failed to get working directory');
  const bundle = strings.bundle ?? (flags.has('exec') ? undefined : cwd);
  if ((given.ints['exit-delay'] ?? 0) < 0) {
    return refuse('Delay before invoking exit command must be greater than or equal to 0');
  }

  const log = chooseLogTargets({
    logPaths: lists['log-path'],
    cid,
    tag: strings['log-tag'],
    labels: lists['log-label'],
  });
  if (log.kind === 'problem') return refuse(log.problem);

  const files = checkBundle(given, bundle, surroundings.probe) ?? checkFileNames(given, bundle, log.targets);
  if (files !== undefined) return refuse(files);

  const own = readOwnSettings(given, surroundings.env);
  if (own.kind === 'problem') return refuse(own.problem);

  const options: Options = {
    ...sessionOptions(given, cwd, bundle),
    ...logOptions(given, log.targets, logLevel),
    createTimeoutSeconds: own.createTimeoutSeconds,
    attachStallTimeoutSeconds: own.attachStallTimeoutSeconds,
  };
  return { kind: 'accepted', options: Object.freeze(options), warnings: Object.freeze(findWarnings(options)) };
}

const DEFAULT_LOG_MAX_FILES = 1;

/** Source: config.h's default, which CRI-O relies on. */
const DEFAULT_SOCKET_DIR = '/var/run/crio';

const LOG_LEVELS: ReadonlyMap<string, LogLevel> = new Map([
  ['error', 'error'],
  ['fatal', 'error'],
  ['panic', 'error'],
  ['warn', 'warn'],
  ['warning', 'warn'],
  ['info', 'info'],
  ['debug', 'debug'],
  ['trace', 'trace'],
]);

/** Case does not matter (strcasecmp). undefined = no such level. */
function readLogLevel(name: string | undefined): LogLevel | undefined {
  return name === undefined ? 'warn' : LOG_LEVELS.get(name.toLowerCase());
}

function checkMode({ flags, strings }: GivenOptions): string | undefined {
  const exec = flags.has('exec');
  const attach = flags.has('exec-attach');
  const apiVersion = flags.has('api-version');
  if (strings.restore !== undefined && exec) return "Cannot use 'exec' and 'restore' at the same time";
  if (attach && !exec) return 'Attach can only be specified with exec';
  if (attach && !apiVersion) return 'Attach can only be specified for a non-legacy exec session';
  // CRI-O's ExecSync, the legacy exec, gives no uuid.
  if (strings.cuuid === undefined && (!exec || apiVersion)) return 'Container UUID not provided. Use --cuuid';
  return undefined;
}

function checkRuntime({ strings }: GivenOptions, probe: FileProbe): string | undefined {
  const runtime = strings.runtime;
  if (runtime === undefined) return 'Runtime path not provided. Use --runtime';
  const errno = probe.canExecute(runtime);
  return errno === 0 ? undefined : `Runtime path ${runtime} is not valid ${lookupErrorText(errno)}`;
}

function checkProcessSpec({ flags, strings }: GivenOptions): string | undefined {
  return flags.has('exec') && strings['exec-process-spec'] === undefined
    ? 'Exec process spec path not provided. Use --exec-process-spec'
    : undefined;
}

/**
 * C always asks for the working directory. A directory that was deleted under a caller that gave absolute paths is no
 * reason to fail, so it is asked for only when a default is made of it or a main path is relative to it.
 * @returns '' when it is not needed, undefined when it is needed and gone.
 */
function readCwdIfNeeded({ flags, strings }: GivenOptions, cwd: () => string): string | undefined {
  const bundle = strings.bundle ?? (flags.has('exec') ? '/' : '');
  const pidfile = strings['container-pidfile'] ?? '';
  if (bundle.startsWith('/') && pidfile.startsWith('/')) return '';
  try {
    return cwd();
  } catch {
    return undefined;
  }
}

/** create and restore need the bundle now; an exec only puts its attach socket there. C fails later, as a daemon. */
function checkBundle({ flags }: GivenOptions, bundle: string | undefined, probe: FileProbe): string | undefined {
  if (bundle === '') return '--bundle must not be empty';
  if (bundle === undefined || flags.has('exec')) return undefined;
  const errno = probe.canEnter(bundle);
  return errno === 0 ? undefined : `Bundle path ${bundle} is not valid ${lookupErrorText(errno)}`;
}

type LogOptionName = Extract<keyof Options, `log${string}`> | 'noContainerPartialMessage' | 'syncLog' | 'syslog';
type OwnOptionName = 'createTimeoutSeconds' | 'attachStallTimeoutSeconds';

function sessionOptions(
  { flags, strings, ints, lists }: GivenOptions,
  cwd: string,
  bundle: string | undefined,
): Omit<Options, LogOptionName | OwnOptionName> {
  const cid = strings.cid ?? '';
  return {
    apiVersion: flags.has('api-version'),
    bundle,
    cid,
    cuuid: strings.cuuid,
    name: strings.name,
    conmonPidfile: strings['conmon-pidfile'],
    containerPidfile: strings['container-pidfile'] ?? `${cwd}/pidfile-${cid}`,
    runtime: strings.runtime ?? '',
    runtimeArgs: frozenList(lists['runtime-arg']),
    runtimeOpts: frozenList(lists['runtime-opt']),
    systemdCgroup: flags.has('systemd-cgroup'),
    noPivot: flags.has('no-pivot'),
    noNewKeyring: flags.has('no-new-keyring'),
    terminal: flags.has('terminal'),
    stdin: flags.has('stdin'),
    leaveStdinOpen: flags.has('leave-stdin-open'),
    exitDir: strings['exit-dir'],
    persistDir: strings['persist-dir'],
    exitCommand: strings['exit-command'],
    exitCommandArgs: frozenList(lists['exit-command-arg']),
    exitDelaySeconds: ints['exit-delay'] ?? 0,
    exec: flags.has('exec'),
    execProcessSpec: strings['exec-process-spec'],
    execAttach: flags.has('exec-attach'),
    restorePath: strings.restore,
    socketDirPath: strings['socket-dir-path'] ?? DEFAULT_SOCKET_DIR,
    fullAttach: flags.has('full-attach'),
    sdnotifySocket: strings['sdnotify-socket'],
    // C arms its timer for positive values only.
    timeoutSeconds: Math.max(ints.timeout ?? 0, 0),
    sync: flags.has('sync'),
    replaceListenPid: flags.has('replace-listen-pid'),
  };
}

function logOptions(
  { flags, strings, ints, lists }: GivenOptions,
  logTargets: readonly LogTarget[],
  logLevel: LogLevel,
): Pick<Options, LogOptionName> {
  return {
    logTargets,
    logSizeMaxBytes: limit(ints['log-size-max']),
    logGlobalSizeMaxBytes: limit(ints['log-global-size-max']),
    logRotate: flags.has('log-rotate'),
    logMaxFiles: ints['log-max-files'] ?? DEFAULT_LOG_MAX_FILES,
    logAllowlistDirs: frozenList(lists['log-allowlist-dir']),
    logTag: strings['log-tag'],
    logLabels: frozenList(lists['log-label']),
    noContainerPartialMessage: flags.has('no-container-partial-message'),
    syncLog: !flags.has('no-sync-log'),
    logLevel,
    syslog: flags.has('syslog'),
  };
}

function findWarnings(options: Options): string[] {
  const journald = options.logTargets.some((target) => target.driver === 'journald');
  return options.noContainerPartialMessage && !journald
    ? ['--no-container-partial-message has no effect without journald log driver']
    : [];
}

function limit(bytes: number | undefined): number | undefined {
  return bytes !== undefined && bytes > 0 ? bytes : undefined;
}

function frozenList(list: readonly string[] | undefined): readonly string[] {
  return Object.freeze(list === undefined ? [] : [...list]);
}

function refuse(problem: string): Verdict {
  return { kind: 'refused', problem };
}
