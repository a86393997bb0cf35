/**
 * The lines that engines write to the control fifos: `TYPE A B\n` on ctl, `HEIGHT WIDTH\n` on winsz (contract section 5).
 * Bytes in, commands out; no I/O. Bounded: a line is at most {@link LINE_MAX} bytes, numbers are small integers.
 */

/** As conmon C's buffer: no valid line is nearly as long. */
export const LINE_MAX = 199;
const SIZE_MAX = 1000;
const RESIZE = 1;
const REOPEN = 2;
const NEWLINE = 0x0a;

export type ControlCommand =
  | { readonly kind: 'resize'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'reopen' };

/** What one fifo holds: which numbers its lines have. */
export type ControlFifo = 'ctl' | 'winsz';

/** Cuts a fifo's bytes into lines; a line may come in pieces. One value a fifo. */
export class ControlParser {
  readonly #fifo: ControlFifo;
  #rest = '';

  constructor(fifo: ControlFifo) {
    this.#fifo = fifo;
  }

  /**
   * Takes what one read gave. @returns the commands, and a warning when something was wrong: the rest of that read is
   * dropped then, and the next read begins afresh.
   */
  push(bytes: Uint8Array): { readonly commands: readonly ControlCommand[]; readonly warning: string | undefined } {
    const commands: ControlCommand[] = [];
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      const line = this.#rest + latin1(bytes.subarray(from, end));
      this.#rest = '';
      from = end + 1;
      const command = line.length > LINE_MAX ? 'line is too long' : parseLine(this.#fifo, line);
      if (typeof command === 'string') return { commands, warning: command };
      commands.push(command);
    }
    if (this.#rest.length + bytes.length - from > LINE_MAX) {
      this.#rest = '';
      return { commands, warning: 'Could not find newline in entire buffer' };
    }
    this.#rest += latin1(bytes.subarray(from));
    return { commands, warning: undefined };
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Two or three numbers, as conmon C's scanf reads them: what follows the last is not looked at. */
const NUMBERS = /^[ \t\v\f\r]*([+-]?\d+)[ \t\v\f\r]+([+-]?\d+)(?:[ \t\v\f\r]+([+-]?\d+))?/;

/** A text says what is wrong with the line. */
function parseLine(fifo: ControlFifo, line: string): ControlCommand | string {
  const fields = NUMBERS.exec(line);
  const numbers = (fields ?? []).slice(1).filter((field) => field !== undefined);
  if (fifo === 'winsz') {
    if (numbers.length < 2) return 'Failed to parse window size';
    return resize(Number(numbers[0]), Number(numbers[1]));
  }
  if (numbers.length !== 3) return 'Invalid control message format';
  const [type, rows, columns] = numbers.map(Number) as [number, number, number];
  if (type !== RESIZE && type !== REOPEN) return `Invalid control message type: ${type}`;
  const size = resize(rows, columns);
  return type === REOPEN && typeof size !== 'string' ? { kind: 'reopen' } : size;
}

function resize(rows: number, columns: number): ControlCommand | string {
  if (rows < 0 || columns < 0 || rows > SIZE_MAX || columns > SIZE_MAX)
    return `Invalid window size: ${rows}x${columns} (must be between 0 and ${SIZE_MAX})`;
  return { kind: 'resize', rows, columns };
}
