// How CRI-O starts conmon for a container: arguments and environment. Pure.

export interface ContainerPaths {
  readonly id: string;
  readonly bundle: string;
  readonly logPath: string;
  readonly runtime: string;
  readonly exitDir: string;
  readonly persistDir: string;
  readonly socketDir: string;
}

/** What a scenario may want otherwise than CRI-O. */
export interface ArgumentOptions {
  /** Instead of a k8s-file log at `logPath`: the value of --log-path, from that path. */
  readonly log?: (logPath: string) => string;
  /** Appended. */
  readonly extra?: readonly string[];
}

/**
 * The argument vector of CRI-O 1.36 for a container without a terminal.
 * --no-sync-log throughout: an fsync measures the disk, not the monitor.
 */
export function crioArguments(paths: ContainerPaths, options: ArgumentOptions = {}): readonly string[] {
  const log = options.log?.(paths.logPath) ?? paths.logPath;
  return [
    ...['-b', paths.bundle, '-c', paths.id, '--exit-dir', paths.exitDir, '-l', log],
    ...['--log-level', 'info', '-n', `k8s_bench_${paths.id}`],
    ...['-P', conmonPidfile(paths.bundle), '-p', `${paths.bundle}/pidfile`, '--persist-dir', paths.persistDir],
    ...['-r', paths.runtime, '--runtime-arg', rootArgument(paths.bundle)],
    ...['--socket-dir-path', paths.socketDir, '--syslog', '-u', paths.id, '--no-sync-log'],
    ...(options.extra ?? []),
  ];
}

export interface ExecPaths {
  /** The container's id. */
  readonly id: string;
  readonly pidFile: string;
  /** A file, or the name of a driver. */
  readonly logPath: string;
  readonly runtime: string;
  readonly socketDir: string;
  readonly processSpec: string;
  /** What conmon was given for the container itself. */
  readonly runtimeArgs: readonly string[];
}

/** How CRI-O's ExecSync starts conmon: no bundle, no exit directory; the log file and the pid file exist already. */
export function execSyncArguments(paths: ExecPaths): readonly string[] {
  return [
    ...['-c', paths.id, '-n', `k8s_bench_${paths.id}`, '-r', paths.runtime, '-p', paths.pidFile, '-e'],
    ...['-l', paths.logPath, '--socket-dir-path', paths.socketDir, '--log-level', 'info', '--sync'],
    ...['--log-global-size-max', '16777216', '--exec-process-spec', paths.processSpec],
    ...paths.runtimeArgs.flatMap((each) => ['--runtime-arg', each]),
  ];
}

/** How Podman starts conmon for an exec: nobody waits for conmon, and it is to clean up after `exitDelaySeconds`. */
export function podmanExecArguments(
  paths: ExecPaths & { readonly bundle: string; readonly exitDir: string; readonly persistDir: string },
  exitDelaySeconds: number,
): readonly string[] {
  return [
    ...['--api-version', '1', '-c', paths.id, '-u', paths.id, '-n', 'bench', '-r', paths.runtime, '-b', paths.bundle],
    ...['-p', paths.pidFile, '-l', 'none', '--exit-dir', paths.exitDir, '--persist-dir', paths.persistDir],
    ...['--full-attach', '--log-level', 'info', '--syslog', '-e', '--exec-process-spec', paths.processSpec],
    ...paths.runtimeArgs.flatMap((each) => ['--runtime-arg', each]),
    ...['--exit-delay', String(exitDelaySeconds), '--exit-command', '/bin/true', '--exit-command-arg', paths.bundle],
  ];
}

/** Everything that CRI-O leaves in the environment; the bench's own would change what is measured. */
export function crioEnvironment(): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    CRI_O_EXTERNAL: '1',
    _OCI_SYNCPIPE: '3',
    _OCI_STARTPIPE: '4',
  };
}

/** What the runtime is told of where it keeps its containers. */
export function rootArgument(bundle: string): string {
  return `--root=${bundle}`;
}

/** The file in which the daemon leaves its own pid. */
export function conmonPidfile(bundle: string): string {
  return `${bundle}/conmon-pidfile`;
}
