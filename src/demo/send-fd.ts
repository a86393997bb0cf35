/**
 * Hands an fd to whoever listens on a console socket: the one message a runtime sends there. Blocks for one connect and
 * one send. Source: runc docs/terminals.md, "detached new terminal".
 */

import { SOCK_CLOEXEC, SOCK_STREAM } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { DemoError } from './demo-error.ts';

/**
 * Sends `fd` with `payload` (runc sends the name of the terminal) to the listening SOCK_STREAM socket at `path`.
 * The caller keeps its own copy of the fd. @throws DemoError naming the socket.
 */
export function sendFd(sys: Sys, path: string, fd: number, payload: string): void {
  const socketFd = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  const check = (what: string, result: number) => {
    if (result < 0) throw new DemoError(`console socket ${path}: ${what}: ${sys.strerror(result)}`);
  };
  check('socket', socketFd);
  try {
    check('connect', sys.connect(socketFd, path));
    const bytes = Buffer.from(payload);
    check('sendmsg', sys.sendmsg(socketFd, bytes, 0, bytes.length, Int32Array.of(fd), 0));
  } finally {
    sys.close(socketFd);
  }
}
