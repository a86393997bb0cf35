/**
 * Raw mode of our own terminal: every byte passes both ways as it is. Node's setRawMode leaves the output processing on,
 * which would turn the container's `\r\n` into `\r\r\n`. Source: termios(3), cfmakeraw.
 */

import type { Sys } from '../native/sys.ts';
import { ClientError } from './client-error.ts';

/** The calls that raw mode needs. */
export type TerminalSys = Pick<Sys, 'tcgetattr' | 'tcsetattr' | 'strerror'>;

/** Larger than struct termios of any libc. */
const ATTRIBUTES_BYTES = 64;
/** Where things are in struct termios: four words of flags, the line discipline, the control characters. */
const INPUT_FLAGS = 0;
const OUTPUT_FLAGS = 4;
const CONTROL_FLAGS = 8;
const LOCAL_FLAGS = 12;
const CHARACTERS = 17;
const VTIME = 5;
const VMIN = 6;
/** IGNBRK, BRKINT, PARMRK, ISTRIP, INLCR, IGNCR, ICRNL, IXON. */
const COOKED_INPUT = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000;
const OPOST = 0o1;
/** CSIZE, PARENB. */
const CHARACTER_SIZE = 0o60 | 0o400;
const CS8 = 0o60;
/** ISIG, ICANON, ECHO, ECHONL, IEXTEN. */
const COOKED_LOCAL = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000;

/** Switches the terminal to raw mode. @returns a function that puts it back as it was; may be called again. */
export function makeRaw(sys: TerminalSys, fd: number): () => void {
  const check = (what: string, result: number) => {
    if (result < 0) throw new ClientError(`terminal: ${what}: ${sys.strerror(result)}`);
  };
  const saved = new Uint8Array(ATTRIBUTES_BYTES);
  check('tcgetattr', sys.tcgetattr(fd, saved));
  const raw = saved.slice();
  const view = new DataView(raw.buffer);
  const change = (offset: number, off: number, on = 0) => {
    view.setUint32(offset, (view.getUint32(offset, true) & ~off) | on, true);
  };
  change(INPUT_FLAGS, COOKED_INPUT);
  change(OUTPUT_FLAGS, OPOST);
  change(CONTROL_FLAGS, CHARACTER_SIZE, CS8);
  change(LOCAL_FLAGS, COOKED_LOCAL);
  raw[CHARACTERS + VTIME] = 0;
  raw[CHARACTERS + VMIN] = 1;
  check('tcsetattr', sys.tcsetattr(fd, raw));
  return () => {
    // Our terminal may be gone by now; then there is nothing to put back.
    sys.tcsetattr(fd, saved);
  };
}
