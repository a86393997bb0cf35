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

/**
 * The argument vector of CRI-O 1.36 for a container without a terminal, plus `extra`.
 * --no-sync-log throughout: an fsync measures the disk, not the monitor.
 */
export function crioArguments(paths: ContainerPaths, extra: readonly string[] = []): readonly string[] {
  return [
    ...['-b', paths.bundle, '-c', paths.id, '--exit-dir', paths.exitDir, '-l', paths.logPath],
    ...['--log-level', 'info', '-n', `k8s_bench_${paths.id}`],
    ...['-P', conmonPidfile(paths.bundle), '-p', `${paths.bundle}/pidfile`, '--persist-dir', paths.persistDir],
    ...['-r', paths.runtime, '--runtime-arg', `--root=${paths.bundle}`],
    ...['--socket-dir-path', paths.socketDir, '--syslog', '-u', paths.id, '--no-sync-log'],
    ...extra,
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
