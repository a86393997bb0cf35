/**
 * Tells arguments that were valid UTF-8 from those that were not. Node decodes argv with replacement characters, so
 * the bytes are looked up again, but only when an argument holds one. Main thread. It never changes an argument.
 */
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';

const REPLACEMENT = '\uFFFD';

/**
 * Reads the bytes of this process's arguments.
 * @returns every argument from /proc/self/cmdline, Node's own in front included; [] when /proc cannot be read.
 */
export function readRawArgv(): Buffer[] {
  try {
    return splitArguments(readFileSync('/proc/self/cmdline'));
  } catch {
    // Without the bytes a replacement character is taken as typed: nothing else depends on /proc here.
    return [];
  }
}

/** Cuts the NUL-terminated arguments of a cmdline file apart. Empty arguments are kept. */
export function splitArguments(cmdline: Buffer): Buffer[] {
  const list: Buffer[] = [];
  for (let start = 0; start < cmdline.length; ) {
    const nul = cmdline.indexOf(0, start);
    const end = nul < 0 ? cmdline.length : nul;
    list.push(cmdline.subarray(start, end));
    start = end + 1;
  }
  return list;
}

/**
 * Makes the test "was the argument at this index valid UTF-8?" for ./goption.ts.
 * @param rawArgv the bytes; its tail must line up with argv, else (process title changed) argv is believed.
 */
export function textTest(argv: readonly string[], rawArgv: (() => Buffer[]) | undefined): (index: number) => boolean {
  let raw: Buffer[] | undefined;
  return (index) => {
    const argument = argv[index];
    if (rawArgv === undefined || argument === undefined || !argument.includes(REPLACEMENT)) return true;
    raw ??= rawArgv();
    const bytes = raw[raw.length - argv.length + index];
    return bytes === undefined || bytes.toString('utf8') !== argument || isUtf8(bytes);
  };
}
