/**
 * Reads a container's output and throws it away: a session without a log driver (`none`) and without a client. It costs
 * no worker. Main thread; the one place where main touches stream bytes, and it looks at none of them.
 */

import type { Socket } from 'node:net';

const BUFFER_BYTES = 65536;
/** Written by all, read by nobody. */
let buffer: Buffer | undefined;

export class Discard {
  /** How much it has thrown away. */
  bytes = 0;
  readonly #sockets: readonly Socket[];

  /** Takes over non-blocking fds. */
  constructor(fds: readonly number[]) {
    // Loaded here: node:net takes 1 ms that only such a session should pay, and only after its runtime.
    const { Socket } = process.getBuiltinModule('node:net');
    buffer ??= Buffer.allocUnsafe(BUFFER_BYTES);
    const callback = (length: number): boolean => {
      this.bytes += length;
      return true;
    };
    const onread = { buffer, callback };
    this.#sockets = fds.map((fd) => {
      const socket = new Socket({ fd, readable: true, writable: false, onread });
      socket.on('error', () => socket.destroy()); // EIO of a terminal: nobody has it open any longer
      return socket;
    });
  }

  /** Stops reading and closes the fds. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
