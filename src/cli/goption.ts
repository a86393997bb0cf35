/**
 * GLib's GOption dialect: argv -> values by option, or GLib's own error text. Main thread, before the runtime is
 * executed; pure. Callers were written against this dialect and its oddities, so each oddity is kept and told where
 * it stands; checked against GLib 2.74 (test/unit/cli/reference.test.ts). It never checks options against each
 * other: that is ./validate.ts.
 */
import { parseInteger } from './integer.ts';
import {
  type FlagName,
  findLong,
  findShort,
  type IntName,
  type KnownOption,
  type ListName,
  type StringName,
} from './table.ts';

/** What was given, by option. An option that was not given has no entry; an empty value is an entry. */
export interface GivenOptions {
  readonly flags: ReadonlySet<FlagName>;
  readonly strings: Readonly<Partial<Record<StringName, string>>>;
  readonly ints: Readonly<Partial<Record<IntName, number>>>;
  readonly lists: Readonly<Partial<Record<ListName, readonly string[]>>>;
}

/** `help`: a help option was met before any error; nothing after it was read. `message`: GLib's, without a prefix. */
export type ParseOutcome =
  | { readonly kind: 'given'; readonly given: GivenOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'failed'; readonly message: string };

interface Collected {
  readonly flags: Set<FlagName>;
  readonly strings: Partial<Record<StringName, string>>;
  readonly ints: Partial<Record<IntName, number>>;
  readonly lists: Partial<Record<ListName, string[]>>;
}

/** A walk over argv: the argument being read, and what was collected so far. */
interface Walk {
  readonly argv: readonly string[];
  readonly isText: (index: number) => boolean;
  readonly collected: Collected;
  index: number;
}

/** The step of one argument: undefined = go on; a string = GLib's error. */
type Step = string | undefined | typeof HELP;
const HELP = Symbol('help');

/**
 * Parses the arguments after the program's name.
 * @param isText tells whether the argument at that index of argv was valid UTF-8 (see ./raw-argv.ts). Only values of
 * string and list options are asked about, as in GLib: an ignored positional may hold any bytes.
 */
export function parseArguments(argv: readonly string[], isText: (index: number) => boolean): ParseOutcome {
  const collected: Collected = { flags: new Set(), strings: {}, ints: {}, lists: {} };
  const walk: Walk = { argv, isText, collected, index: 0 };
  for (; walk.index < argv.length; walk.index++) {
    const argument = argv[walk.index] ?? '';
    // Everything that does not start with a dash is a positional: callers write `--api-version 1`. A lone '-' is one, too: no letters.
    if (argument[0] !== '-') continue;
    if (argument === '--') break;
    const step = argument[1] === '-' ? readLong(walk, argument) : readCluster(walk, argument);
    if (step === HELP) return { kind: 'help' };
    if (step !== undefined) return { kind: 'failed', message: step };
  }
  return { kind: 'given', given: collected };
}

function readLong(walk: Walk, argument: string): Step {
  if (argument === '--help' || argument === '--help-all') return HELP;
  const equals = argument.indexOf('=');
  const name = equals < 0 ? argument.slice(2) : argument.slice(2, equals);
  const option = findLong(name);
  if (option === undefined) return `Unknown option ${argument}`;
  // GLib takes `--flag=value`, whatever the value, for the bare flag: `--version=0` prints the version.
  if (option.kind === 'flag') {
    walk.collected.flags.add(option.name);
    return undefined;
  }
  const written = `--${name}`;
  if (equals >= 0) return store(walk, option, written, argument.slice(equals + 1));
  walk.index++;
  const value = walk.argv[walk.index];
  // Whatever comes next is the value, `--` and what looks like an option included.
  return value === undefined ? `Missing argument for ${written}` : store(walk, option, written, value);
}

/** `-it`, `-ic VALUE`: letters in a row; one of them may take the next argument as its value, wherever it stands. */
function readCluster(walk: Walk, argument: string): Step {
  const clusterIndex = walk.index;
  for (const letter of argument.slice(1)) {
    if (letter === 'h' || letter === '?') return HELP;
    const option = findShort(letter);
    // The whole argument is named, and letters before this one have already had their say (GLib's order).
    if (option === undefined) return `Unknown option ${argument}`;
    if (option.kind === 'flag') {
      walk.collected.flags.add(option.name);
      continue;
    }
    const written = `-${letter}`;
    if (walk.index > clusterIndex) return `Error parsing option ${written}`;
    walk.index++;
    const value = walk.argv[walk.index];
    if (value === undefined) return `Missing argument for ${written}`;
    const problem = store(walk, option, written, value);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function store(
  walk: Walk,
  option: Exclude<KnownOption, { kind: 'flag' }>,
  written: string,
  value: string,
): string | undefined {
  const { collected } = walk;
  if (option.kind === 'int' || option.kind === 'int64') {
    const outcome = parseInteger(value, option.kind === 'int' ? 32 : 64);
    if (outcome.kind === 'malformed') return `Cannot parse integer value “${value}” for ${written}`;
    if (outcome.kind === 'out-of-range') return `Integer value “${value}” for ${written} out of range`;
    collected.ints[option.name] = outcome.value;
    return undefined;
  }
  if (!walk.isText(walk.index)) return 'Invalid byte sequence in conversion input';
  if (option.kind === 'string') {
    collected.strings[option.name] = value;
    return undefined;
  }
  const list = collected.lists[option.name];
  if (list === undefined) collected.lists[option.name] = [value];
  else list.push(value);
  return undefined;
}
