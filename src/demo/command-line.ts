/**
 * The demo runtime's command line: one table, read by yargs-parser on the usual path and by yargs for --help and for
 * every mistake. yargs costs 60 ms to load (Intl.Segmenter and emoji tables, Node 26, measured 2026-11) and touches
 * process.stdout, which is the container's; so it stays away from a command line that is right. It runs nothing.
 */

import type { Options } from 'yargs';
import parse from 'yargs-parser';
import { DemoError } from './demo-error.ts';

/** All values that any command takes; a command reads those of its own options. */
export interface Arguments {
  readonly command: CommandName;
  readonly id: string;
  readonly signal: string;
  readonly root: string;
  readonly log: string | undefined;
  readonly logFormat: string;
  readonly bundle: string;
  readonly pidFile: string | undefined;
  readonly consoleSocket: string | undefined;
  readonly preserveFds: number;
  readonly process: string;
  readonly detach: boolean;
  readonly all: boolean;
  readonly force: boolean;
}

/** The parts of the help that ./runtime.ts knows. */
export interface ProgramText {
  readonly name: string;
  readonly about: string;
  readonly version: string;
  readonly defaultRoot: string;
}

type OptionTable = Readonly<Record<string, Options>>;

interface Command {
  /** As yargs writes it: `kill <id> [signal]`. */
  readonly usage: string;
  readonly describe: string;
  readonly options: OptionTable;
}

const text = { type: 'string', requiresArg: true } as const;
const flag = { type: 'boolean', default: false } as const;
const ignored = { ...flag, describe: 'accepted, ignored' } as const;

const globalOptions: OptionTable = {
  root: { ...text, describe: 'directory for the state of containers' },
  log: { ...text, describe: 'append errors to this file, too' },
  'log-format': { ...text, choices: ['text', 'json'], default: 'text' },
  debug: ignored,
  'systemd-cgroup': ignored,
};

const processOptions: OptionTable = {
  'pid-file': { ...text, describe: 'write the pid of the process to this file' },
  'console-socket': { ...text, describe: 'send the terminal to this socket' },
  'preserve-fds': { type: 'number', requiresArg: true, default: 0, describe: 'keep fds 3 .. 2+N open (N <= 6)' },
};

const commands = {
  create: {
    usage: 'create <id>',
    describe: 'start a container up to the point where it waits for "start"',
    options: {
      bundle: { ...text, alias: 'b', default: '.', describe: 'directory with config.json' },
      ...processOptions,
      'no-pivot': ignored,
      'no-new-keyring': ignored,
    },
  },
  start: { usage: 'start <id>', describe: 'run the command of a created container', options: {} },
  state: { usage: 'state <id>', describe: 'print the state as JSON', options: {} },
  exec: {
    usage: 'exec <id>',
    describe: 'start one more process',
    options: {
      process: { ...text, alias: 'p', demandOption: true, describe: 'file with an OCI process object' },
      detach: { ...flag, alias: 'd', describe: 'do not wait for the process' },
      ...processOptions,
    },
  },
  kill: {
    usage: 'kill <id> [signal]',
    describe: 'send a signal (default TERM)',
    options: { all: { ...flag, alias: 'a', describe: 'to all its processes' } },
  },
  delete: {
    usage: 'delete <id>',
    describe: 'forget a container that has ended or was never started',
    options: { force: { ...flag, alias: 'f', describe: 'end it first; no error when there is none' } },
  },
  features: { usage: 'features', describe: 'print what this runtime knows as JSON', options: {} },
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof commands;

const DEFAULT_SIGNAL = 'TERM';
const DIALECT = {
  'boolean-negation': false,
  'duplicate-arguments-array': false,
  'parse-positional-numbers': false,
} as const;

/**
 * @returns undefined when --help or --version was asked for and has been printed.
 * @throws DemoError that says what is wrong with the command line.
 */
export async function parseCommandLine(argv: readonly string[], program: ProgramText): Promise<Arguments | undefined> {
  return parseQuickly(argv, program) ?? (await parseWithHelp(argv, program));
}

/** @returns undefined for anything that is not plainly right. */
function parseQuickly(argv: readonly string[], program: ProgramText): Arguments | undefined {
  const name = argv.find((word) => isCommand(word));
  if (name === undefined || !isCommand(name)) return undefined;
  const options: OptionTable = { ...globalOptions, ...commands[name].options };
  const namesOf = (type: Options['type']) => Object.keys(options).filter((option) => options[option]?.type === type);
  const parsed = parse([...argv], {
    string: namesOf('string'),
    boolean: namesOf('boolean'),
    number: namesOf('number'),
    alias: Object.fromEntries(Object.entries(options).map(([option, { alias = [] }]) => [option, [alias].flat()])),
    configuration: { ...DIALECT, 'unknown-options-as-args': true },
  });
  const words = parsed._.map(String);
  const [first, ...positionals] = words;
  const { required, optional } = positionalsOf(name);
  if (first !== name || words.some((word) => word.startsWith('-'))) return undefined;
  if (positionals.length < required || positionals.length > required + optional) return undefined;
  const isRight = Object.entries(options).every(([option, { type, choices, demandOption }]) => {
    const value: unknown = parsed[option];
    if (value === undefined) return demandOption !== true;
    if (type === 'number') return typeof value === 'number' && Number.isInteger(value);
    return type !== 'string' || (value !== '' && (choices?.includes(String(value)) ?? true));
  });
  return isRight ? toArguments(name, parsed, positionals, program) : undefined;
}

async function parseWithHelp(argv: readonly string[], program: ProgramText): Promise<Arguments | undefined> {
  const { default: yargs } = await import('yargs');
  let result: Arguments | undefined;
  const parser = yargs([...argv])
    .scriptName(program.name)
    .usage(`$0 [options] <command>\n\n${program.about}`)
    .parserConfiguration(DIALECT)
    .options(globalOptions)
    .default('root', program.defaultRoot)
    .demandCommand(1, 'no command given; see --help')
    .strict()
    .version(program.version)
    .help()
    .wrap(115)
    .fail((message: string | null, error: Error | undefined) => {
      if (error instanceof DemoError) throw error;
      throw new DemoError((message ?? String(error?.message)).replaceAll(/\s*\n\s*/g, ' '), { cause: error });
    });
  for (const name of Object.keys(commands).filter(isCommand)) {
    const { usage, describe, options } = commands[name];
    const addOptions = (command: typeof parser) =>
      command.options(options).positional('id', { type: 'string' }).positional('signal', { type: 'string' });
    parser.command(usage, describe, addOptions, (parsed) => {
      const positionals = [parsed['id'], parsed['signal']].filter((value) => typeof value === 'string');
      result = toArguments(name, parsed, positionals, program);
    });
  }
  await parser.parseAsync();
  return result;
}

function toArguments(
  command: CommandName,
  parsed: Readonly<Record<string, unknown>>,
  positionals: readonly string[],
  program: ProgramText,
): Arguments {
  const string = (name: string) => (typeof parsed[name] === 'string' ? parsed[name] : undefined);
  const [id = '', signal = DEFAULT_SIGNAL] = positionals;
  const preserveFds = parsed['preserve-fds'] ?? 0;
  if (typeof preserveFds !== 'number' || !Number.isInteger(preserveFds)) {
    throw new DemoError('--preserve-fds: not a number');
  }
  return {
    command,
    id,
    signal,
    root: string('root') ?? program.defaultRoot,
    log: string('log'),
    logFormat: string('log-format') ?? 'text',
    bundle: string('bundle') ?? '.',
    pidFile: string('pid-file'),
    consoleSocket: string('console-socket'),
    preserveFds,
    process: string('process') ?? '',
    detach: parsed['detach'] === true,
    all: parsed['all'] === true,
    force: parsed['force'] === true,
  };
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(commands, word);
}

function positionalsOf(name: CommandName): { readonly required: number; readonly optional: number } {
  const { usage } = commands[name];
  return { required: usage.match(/<\w+>/g)?.length ?? 0, optional: usage.match(/\[\w+\]/g)?.length ?? 0 };
}
