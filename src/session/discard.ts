/**
 * Reads a container's output and throws it away: a session without a log driver (`none`) and without a client. It costs
 * no worker. Main thread; the one place where main touches stream bytes, and it looks at none of them.
 */

import type { Socket } from 'node:net';
import type { OutputReader } from './session.ts';

const BUFFER_BYTES = 65536;

/** Takes over the non-blocking read ends. `onEnded` is called once, from {@link OutputReader.end}. */
export class Discard implements OutputReader {
  readonly #fds: readonly number[];
  readonly #onEnded: () => void;
  #sockets: readonly Socket[] = [];

  constructor(fds: readonly number[], onEnded: () => void) {
    this.#fds = fds;
    this.#onEnded = onEnded;
  }

  begin(): void {
    // Loaded here: node:net takes 1 ms that only such a session should pay, and only after its runtime.
    const { Socket } = process.getBuiltinModule('node:net');
    const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
    this.#sockets = this.#fds.map((fd) => {
      const socket = new Socket({ fd, readable: true, writable: false, onread: { buffer, callback: () => true } });
      socket.on('error', () => socket.destroy()); // EIO of a terminal: nobody has it open any longer
      return socket;
    });
  }

  end(_drain: boolean): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#onEnded();
  }
}
