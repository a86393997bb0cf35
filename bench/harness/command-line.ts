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
    ...['-r', paths.runtime, '--runtime-arg', `--root=${paths.bundle}`],
    ...['--socket-dir-path', paths.socketDir, '--syslog', '-u', paths.id, '--no-sync-log'],
    ...(options.extra ?? []),
  ];
}

/** How CRI-O's ExecSync starts conmon: no bundle, no exit directory; the log file and the pid file exist already. */
export function execSyncArguments(paths: {
  readonly id: string;
  readonly pidFile: string;
  readonly logPath: string;
  readonly runtime: string;
  readonly socketDir: string;
  readonly processSpec: string;
}): readonly string[] {
  return [
    ...['-c', paths.id, '-n', `k8s_bench_${paths.id}`, '-r', paths.runtime, '-p', paths.pidFile, '-e'],
    ...['-l', paths.logPath, '--socket-dir-path', paths.socketDir, '--log-level', 'info', '--sync'],
    ...['--log-global-size-max', '16777216', '--exec-process-spec', paths.processSpec],
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

/** The file in which the daemon leaves its own pid. */
export function conmonPidfile(bundle: string): string {
  return `${bundle}/conmon-pidfile`;
}
