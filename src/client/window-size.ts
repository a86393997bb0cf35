/**
 * Tells conmon the size of our terminal through the container's control FIFO, which lies beside its attach socket. A FIFO
 * that cannot be written to costs the resizing and nothing else.
 */

import { closeSync, constants, openSync, writeSync } from 'node:fs';

/** What conmon takes. Source: conmon contract section 5. */
const SIZE_MAX = 1000;

export class WindowSize {
  readonly #ctlFd: number;
  #sent = '';

  /** @throws what openSync throws, ENXIO when nobody reads the FIFO. */
  constructor(ctlPath: string) {
    this.#ctlFd = openSync(ctlPath, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  }

  /** Sends a size, when it is another one than the last. */
  send(columns: number, rows: number): void {
    const line = `1 ${Math.min(rows, SIZE_MAX)} ${Math.min(columns, SIZE_MAX)}\n`;
    if (line === this.#sent) return;
    try {
      writeSync(this.#ctlFd, line);
      this.#sent = line;
    } catch {
      // Full, or conmon has gone: the next size is as good.
    }
  }

  close(): void {
    closeSync(this.#ctlFd);
  }
}
