/**
 * The command line of conmon: argv in, frozen Options or a reason to exit out. Main thread, on the path between exec
 * and the runtime, so it imports nothing heavy (help has its own door, ./help.ts).
 * It prints nothing and never exits: the caller does both.
 */
import { parseArguments } from './goption.ts';
import type { Options } from './options.ts';
import { fileProbe } from './probe.ts';
import { textTest } from './raw-argv.ts';
import { checkEarly, type Surroundings, validate } from './validate.ts';

export type { LogLevel, LogTarget, Options } from './options.ts';
export { type FileProbe, fileProbe } from './probe.ts';
export { readRawArgv } from './raw-argv.ts';

/** Everything the command line is read from. */
export interface CommandLineInput extends Partial<Pick<Surroundings, 'probe'>>, Omit<Surroundings, 'probe'> {
  /** The arguments after the program's name. */
  readonly argv: readonly string[];
  /** Their bytes (readRawArgv), asked for only when an argument may not have been UTF-8; its tail lines up with argv. */
  readonly rawArgv?: () => Buffer[];
  /** X.Y.Z: CRI-O refuses anything else. */
  readonly version: string;
  readonly commit: string;
}

/**
 * `run`: go; print the warnings at their level first. `help`: print helpText() on stdout, exit 0.
 * `exit`: print both texts, exit with the status; when `syslog` is set, send it there too with priority LOG_ERR.
 */
export type CommandLine =
  | { readonly kind: 'run'; readonly options: Options; readonly warnings: readonly string[] }
  | {
      readonly kind: 'exit';
      readonly status: number;
      readonly stdout: string;
      readonly stderr: string;
      readonly syslog: string | undefined;
    }
  | { readonly kind: 'help' };

/**
 * Reads the command line. Pure but for the functions handed in; never throws for what a caller may have typed.
 * Order of precedence as in C: syntax errors and help options from left to right, then --version, then the checks.
 */
export function parseCommandLine(input: CommandLineInput): CommandLine {
  const outcome = parseArguments(input.argv, textTest(input.argv, input.rawArgv));
  if (outcome.kind === 'help') return outcome;
  if (outcome.kind === 'failed') return fail(`conmon: option parsing failed: ${outcome.message}\n`);

  const { given } = outcome;
  if (given.flags.has('version')) {
    const stdout = `conmon version ${input.version}\ncommit: ${input.commit}\n`;
    return { kind: 'exit', status: 0, stdout, stderr: '', syslog: undefined };
  }

  const early = checkEarly(given);
  if (early !== undefined) return fail(`conmon: ${early}\n`);

  const verdict = validate(given, { env: input.env, cwd: input.cwd, probe: input.probe ?? fileProbe });
  if (verdict.kind === 'accepted') return { kind: 'run', options: verdict.options, warnings: verdict.warnings };
  const syslog = given.flags.has('syslog') ? syslogLine(given.strings, verdict.problem) : undefined;
  return fail(`[conmon:e]: ${verdict.problem}\n`, syslog);
}

/** C names the container, with its tag, in at most 20 bytes. */
function syslogLine(strings: { readonly cid?: string; readonly 'log-tag'?: string }, problem: string): string {
  const tag = strings['log-tag'];
  const container = tag === undefined ? `${strings.cid}` : `${strings.cid}: ${tag}`;
  return `conmon ${container.slice(0, 20)} <error>: ${problem}`;
}

function fail(stderr: string, syslog?: string): CommandLine {
  return { kind: 'exit', status: 1, stdout: '', stderr, syslog };
}
