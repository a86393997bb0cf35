/**
 * The text of --help, rendered by yargs. Loaded only when help is asked for: yargs takes longer to load than the rest
 * of conmon (docs/adr/0002-option-dialect.md). Main thread. It never parses: ./goption.ts has found out that help is
 * wanted.
 */
import { type KnownOption, OPTION_TABLE } from './table.ts';

/** Columns. Fixed, not the terminal's: CRI-O and scripts search this text for option names. */
const WIDTH = 110;

/**
 * Renders the help text, one entry for each option that is not hidden.
 * @param version X.Y.Z, named in the last line.
 * @returns the text, ending in a newline, for stdout.
 */
export async function helpText(version: string): Promise<string> {
  const { default: yargs } = await import('yargs');
  const program = yargs([])
    .scriptName('conmon')
    .locale('en')
    .wrap(WIDTH)
    .usage('Usage: $0 [OPTION...]\n\nMonitors one OCI container, or one process run inside of it.')
    .version(false)
    .help(false)
    .epilogue(EPILOGUE.replace('VERSION', version))
    .option('help', { alias: 'h', describe: 'Print this text, then exit; also -? and --help-all' });
  for (const option of OPTION_TABLE) program.option(option.name, describe(option));
  return `${withDigitLetters(await program.getHelp())}\n`;
}

const EPILOGUE = `A value follows its option as the next argument, or after "=" when the long name is used. Letters without a
value can share a dash: -it. Arguments that belong to no option are ignored. "--" ends the options.

conmon VERSION`;

function describe(option: KnownOption) {
  const value = 'placeholder' in option ? `${option.placeholder}: ` : '';
  const alias = 'short' in option ? { alias: option.short } : {};
  // No type: yargs would add its own words for it, and its parser is not used.
  return { ...alias, describe: `${value}${option.help}` };
}

/** yargs takes a digit for a long name and writes `--persist-dir, --0`; same width, the usual way round. */
function withDigitLetters(text: string): string {
  return text.replace(/^ {6}--(\S+), --(\d)/gm, '  -$2, --$1     ');
}
