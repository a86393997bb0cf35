/**
 * The frozen table of every option of conmon: name, letter, kind, what its value stands for, help text.
 * Runs on the main thread before the runtime is executed, so it is plain data and imports nothing.
 * It never parses (./goption.ts) and never judges values (./validate.ts).
 */

/**
 * What follows an option. `flag`: nothing. `string`: one value, the last one wins. `int`: 32 bits. `int64`: 64 bits.
 * `list`: one value, each use appends.
 */
export type OptionKind = 'flag' | 'string' | 'int' | 'int64' | 'list';

/** One row of the table. */
export interface OptionSpec {
  /** Long name, without the dashes. */
  readonly name: string;
  /** One-letter name, without the dash. */
  readonly short?: string;
  readonly kind: OptionKind;
  /** What the value stands for, in help; absent for flags. */
  readonly placeholder?: string;
  readonly help: string;
  /** Old long names that callers still use; not shown in help. Source: conmon's own deprecated options. */
  readonly hiddenAliases?: readonly string[];
}

const ROWS = [
  {
    name: 'api-version',
    kind: 'flag',
    help: 'Answer on the sync pipe in the newer format, whose key is "data". Takes no value: the 1 that callers write after it is ignored',
  },
  {
    name: 'bundle',
    short: 'b',
    kind: 'string',
    placeholder: 'DIR',
    help: 'OCI bundle of the container; the current directory unless this is an exec',
  },
  {
    name: 'cid',
    short: 'c',
    kind: 'string',
    placeholder: 'ID',
    help: 'Container id, as the runtime knows it. Required',
  },
  {
    name: 'conmon-pidfile',
    short: 'P',
    kind: 'string',
    placeholder: 'FILE',
    help: 'Where to write the pid of the monitor itself',
  },
  {
    name: 'container-pidfile',
    short: 'p',
    kind: 'string',
    placeholder: 'FILE',
    help: 'Where the runtime writes the pid of the container; pidfile-ID in the current directory when not given',
    hiddenAliases: ['pidfile'],
  },
  {
    name: 'cuuid',
    short: 'u',
    kind: 'string',
    placeholder: 'ID',
    help: 'Unique id of the container or exec session; names its directory of sockets. Required, but for an exec without --api-version',
  },
  { name: 'exec', short: 'e', kind: 'flag', help: 'Run another process in a container that is already running' },
  {
    name: 'exec-attach',
    kind: 'flag',
    help: 'Wait until the caller has attached before the exec is started; needs --exec and --api-version',
  },
  {
    name: 'exec-process-spec',
    kind: 'string',
    placeholder: 'FILE',
    help: 'OCI process description (JSON) for --exec',
  },
  {
    name: 'exit-command',
    kind: 'string',
    placeholder: 'PROGRAM',
    help: 'Program to run once the container has ended or could not be created',
  },
  {
    name: 'exit-command-arg',
    kind: 'list',
    placeholder: 'ARG',
    help: 'One argument for --exit-command; repeat it for more',
  },
  {
    name: 'exit-delay',
    kind: 'int',
    placeholder: 'SECONDS',
    help: 'How long to wait before --exit-command is run',
  },
  {
    name: 'exit-dir',
    kind: 'string',
    placeholder: 'DIR',
    help: 'Directory that receives a file named after the container id, holding its exit status',
  },
  {
    name: 'full-attach',
    kind: 'flag',
    help: 'Put the attach socket into the bundle itself; --socket-dir-path is then not used',
  },
  {
    name: 'leave-stdin-open',
    kind: 'flag',
    help: 'Keep stdin of the container open after an attached client has left',
  },
  {
    name: 'log-allowlist-dir',
    kind: 'list',
    placeholder: 'DIR',
    help: 'Log files must lie in or below this directory; repeat it for more',
  },
  {
    name: 'log-global-size-max',
    kind: 'int64',
    placeholder: 'BYTES',
    help: 'Stop logging after this much in all; 0 or less: no limit',
  },
  {
    name: 'log-label',
    kind: 'list',
    placeholder: 'NAME=VALUE',
    help: 'Extra field for every journal entry; repeat it for more. NAME is made of A-Z, 0-9 and _',
  },
  {
    name: 'log-level',
    kind: 'string',
    placeholder: 'LEVEL',
    help: "How much conmon tells about its own work: error, warn (the usual), info, debug or trace. It does not affect the container's log",
  },
  {
    name: 'log-max-files',
    kind: 'int',
    placeholder: 'COUNT',
    help: 'How many rotated log files --log-rotate keeps; 1 when not given',
  },
  {
    name: 'log-path',
    short: 'l',
    kind: 'list',
    placeholder: 'DRIVER[:FILE]',
    help: 'Where output of the container goes: k8s-file:FILE (or just FILE), json-file:FILE, journald, passthrough or none. Required; repeat it for more',
  },
  {
    name: 'log-rotate',
    kind: 'flag',
    help: 'Keep older log files as FILE.1, FILE.2 and so on when --log-size-max is reached, instead of starting over',
  },
  {
    name: 'log-size-max',
    kind: 'int64',
    placeholder: 'BYTES',
    help: 'Start a new log file before the current one outgrows this; 0 or less: no limit',
  },
  { name: 'log-tag', kind: 'string', placeholder: 'TEXT', help: 'Tag for every journal entry' },
  { name: 'name', short: 'n', kind: 'string', placeholder: 'NAME', help: 'Name of the container, for the journal' },
  {
    name: 'no-container-partial-message',
    kind: 'flag',
    help: 'Leave out the mark that journal entries get when they hold only part of a line',
  },
  { name: 'no-new-keyring', kind: 'flag', help: 'Pass --no-new-keyring on to the runtime' },
  { name: 'no-pivot', kind: 'flag', help: 'Pass --no-pivot on to the runtime' },
  { name: 'no-sync-log', kind: 'flag', help: 'Do not force the log onto the disk when the container has ended' },
  {
    name: 'persist-dir',
    short: '0',
    kind: 'string',
    placeholder: 'DIR',
    help: 'Directory that outlives the container: receives its exit status (exit) and a mark when it ran out of memory (oom)',
  },
  {
    name: 'replace-listen-pid',
    kind: 'flag',
    help: 'Give the runtime its own pid in LISTEN_PID whenever that variable is set',
  },
  {
    name: 'restore',
    kind: 'string',
    placeholder: 'DIR',
    help: 'Bring the container back from this checkpoint instead of creating it',
  },
  {
    name: 'runtime',
    short: 'r',
    kind: 'string',
    placeholder: 'PROGRAM',
    help: 'OCI runtime to execute (runc, crun, ...). Required',
  },
  {
    name: 'runtime-arg',
    kind: 'list',
    placeholder: 'ARG',
    help: 'Argument for the runtime, placed before its subcommand; repeat it for more',
  },
  {
    name: 'runtime-opt',
    kind: 'list',
    placeholder: 'ARG',
    help: "Argument for the runtime's create, exec or restore; repeat it for more",
    hiddenAliases: ['restore-arg'],
  },
  {
    name: 'sdnotify-socket',
    kind: 'string',
    placeholder: 'SOCKET',
    help: 'Service manager socket of the host that readiness and status messages are handed on to',
  },
  {
    name: 'socket-dir-path',
    kind: 'string',
    placeholder: 'DIR',
    help: 'Directory below which attach sockets are found; /var/run/crio when not given',
  },
  { name: 'stdin', short: 'i', kind: 'flag', help: 'Give the container a stdin that clients can write to' },
  {
    name: 'sync',
    kind: 'flag',
    help: 'Stay in the foreground: the process that was started ends with the status of the container',
  },
  { name: 'syslog', kind: 'flag', help: "Send conmon's own messages to syslog as well" },
  { name: 'systemd-cgroup', short: 's', kind: 'flag', help: 'Have the runtime make cgroups through systemd' },
  { name: 'terminal', short: 't', kind: 'flag', help: 'Give the container a terminal' },
  {
    name: 'timeout',
    short: 'T',
    kind: 'int',
    placeholder: 'SECONDS',
    help: 'Kill the container when it has run this long; 0 or less: never',
  },
  { name: 'version', kind: 'flag', help: 'Print version and commit, then exit' },
  {
    name: 'create-timeout',
    kind: 'int',
    placeholder: 'SECONDS',
    help: 'How long the runtime may take to create the container; 0: as long as it likes. Else from CONMON_CREATE_TIMEOUT',
  },
  {
    name: 'attach-stall-timeout',
    kind: 'int',
    placeholder: 'SECONDS',
    help: 'Disconnect an attached client that has read nothing for so long; 0: never. Else from CONMON_ATTACH_STALL_TIMEOUT',
  },
] as const satisfies readonly OptionSpec[];

type Row = (typeof ROWS)[number];
type NameOf<K extends OptionKind> = Extract<Row, { readonly kind: K }>['name'];

export type FlagName = NameOf<'flag'>;
export type StringName = NameOf<'string'>;
export type IntName = NameOf<'int' | 'int64'>;
export type ListName = NameOf<'list'>;

/** A row with its name known to the compiler, so that a value can only land where its kind belongs. */
export type KnownOption = Row;

function deepFreeze(rows: readonly OptionSpec[]): void {
  for (const row of rows) {
    if (row.hiddenAliases !== undefined) Object.freeze(row.hiddenAliases);
    Object.freeze(row);
  }
  Object.freeze(rows);
}
deepFreeze(ROWS);

/** Every option, in the order of help. Frozen, rows and aliases too. */
export const OPTION_TABLE: readonly KnownOption[] = ROWS;

/**
 * Finds an option by its long name, old names included, without the dashes.
 * @returns undefined when there is no such option. Exact names only: GOption knows no abbreviations.
 */
export function findLong(name: string): KnownOption | undefined {
  return BY_LONG_NAME.get(name);
}

/** Finds an option by its letter; undefined when no option has it. */
export function findShort(letter: string): KnownOption | undefined {
  return BY_LETTER.get(letter);
}

const BY_LONG_NAME: ReadonlyMap<string, KnownOption> = indexByLongName();
const BY_LETTER: ReadonlyMap<string, KnownOption> = indexByLetter();

function indexByLongName(): Map<string, KnownOption> {
  const index = new Map<string, KnownOption>();
  for (const row of ROWS) {
    index.set(row.name, row);
    if ('hiddenAliases' in row) for (const alias of row.hiddenAliases) index.set(alias, row);
  }
  return index;
}

function indexByLetter(): Map<string, KnownOption> {
  const index = new Map<string, KnownOption>();
  for (const row of ROWS) if ('short' in row) index.set(row.short, row);
  return index;
}
