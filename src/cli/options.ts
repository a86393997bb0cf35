/**
 * The frozen result of the command line: what one session was asked to do. Shape only; the dialect is ./goption.ts,
 * the table of options is ./table.ts, the checks between options are ./validate.ts.
 */

/** One `--log-path` value, resolved. Source: contract section 6, conmon.8 "--log-path". */
export type LogTarget =
  | { readonly driver: 'k8s-file' | 'json-file'; readonly path: string }
  | { readonly driver: 'journald' | 'passthrough' | 'none' };

/** conmon's own diagnostics. `error` stands for error, fatal and panic; `warn` is the default. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Everything a session needs to know from its command line. Frozen, arrays too. */
export interface Options {
  readonly apiVersion: boolean;
  /** Absolute or as given; undefined only for exec without --bundle (no attach socket then). */
  readonly bundle: string | undefined;
  readonly cid: string;
  readonly cuuid: string | undefined;
  readonly name: string | undefined;
  readonly conmonPidfile: string | undefined;
  /** Always set, as given when it was: the default is `$cwd/pidfile-$cid`. */
  readonly containerPidfile: string;
  readonly runtime: string;
  readonly runtimeArgs: readonly string[];
  readonly runtimeOpts: readonly string[];
  readonly systemdCgroup: boolean;
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly leaveStdinOpen: boolean;
  /** At least one; a driver that writes files may come several times. `none` stands alone. With `passthrough` the others get nothing, as in C. */
  readonly logTargets: readonly LogTarget[];
  /** Bytes a log file may hold; undefined = unlimited (0 and below on the command line mean unlimited too). */
  readonly logSizeMaxBytes: number | undefined;
  /** Bytes a container may log in all; undefined = unlimited. */
  readonly logGlobalSizeMaxBytes: number | undefined;
  readonly logRotate: boolean;
  readonly logMaxFiles: number;
  readonly logAllowlistDirs: readonly string[];
  readonly logTag: string | undefined;
  readonly logLabels: readonly string[];
  readonly noContainerPartialMessage: boolean;
  readonly syncLog: boolean;
  readonly logLevel: LogLevel;
  readonly syslog: boolean;
  readonly exitDir: string | undefined;
  readonly persistDir: string | undefined;
  readonly exitCommand: string | undefined;
  readonly exitCommandArgs: readonly string[];
  readonly exitDelaySeconds: number;
  readonly exec: boolean;
  readonly execProcessSpec: string | undefined;
  readonly execAttach: boolean;
  readonly restorePath: string | undefined;
  readonly socketDirPath: string;
  readonly fullAttach: boolean;
  readonly sdnotifySocket: string | undefined;
  /** Seconds; 0 = no timeout. */
  readonly timeoutSeconds: number;
  readonly sync: boolean;
  readonly replaceListenPid: boolean;
  /** Our own: seconds the runtime may take to create the container; 0 = for ever. `CONMON_CREATE_TIMEOUT`, `--create-timeout`. */
  readonly createTimeoutSeconds: number;
  /** Our own: seconds an attached client may make no progress; 0 = for ever. `CONMON_ATTACH_STALL_TIMEOUT`, `--attach-stall-timeout`. */
  readonly attachStallTimeoutSeconds: number;
}
