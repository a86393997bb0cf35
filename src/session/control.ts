/**
 * Listens to the ctl and winsz fifos: resizes the terminal, asks for new log files (contract section 5). Garbage costs
 * the rest of its read and a warning, nothing else. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import type { Sys, Watch } from '../native/sys.ts';
import { type ControlCommand, type ControlFifo, ControlParser } from '../proto/control-line.ts';

/** One read: a fifo holds more only when somebody floods it, and then the loop gets its turn in between. */
const READ_BYTES = 4096;

export class ControlReader {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #fd: number;
  readonly #parser: ControlParser;
  readonly #onCommand: (command: ControlCommand) => void;
  readonly #bytes = new Uint8Array(READ_BYTES);
  #watch: Watch | undefined;

  /** @param fd a fifo's non-blocking read end; stays the caller's. */
  constructor(sys: Sys, diag: Diag, fifo: ControlFifo, fd: number, onCommand: (command: ControlCommand) => void) {
    this.#sys = sys;
    this.#diag = diag;
    this.#fd = fd;
    this.#parser = new ControlParser(fifo);
    this.#onCommand = onCommand;
    const watch = sys.watch(fd, () => this.#read());
    if (typeof watch === 'number') diag.error(`Failed to watch ${fifo} fifo: ${sys.strerror(watch)}`);
    else this.#watch = watch;
  }

  close(): void {
    if (this.#watch) this.#sys.unwatch(this.#watch);
    this.#watch = undefined;
  }

  #read(): void {
    const length = this.#sys.read(this.#fd, this.#bytes, 0, READ_BYTES);
    if (length <= 0) return;
    const { commands, warning } = this.#parser.push(this.#bytes.subarray(0, length));
    for (const command of commands) this.#onCommand(command);
    if (warning !== undefined) this.#diag.warn(warning);
  }
}
