/** The way to main of a thread that runs one loop: a port of its own. Worker threads. */

import type { MessagePort } from 'node:worker_threads';
import type { Line } from '../src/proto/line.ts';

export function portLine<ToLoop, FromLoop>(port: MessagePort): Line<ToLoop, FromLoop> {
  // Main runs the same code without a port (src/threads/main-logs.ts), and would load Node's streams with this module.
  const { receiveMessageOnPort } = process.getBuiltinModule('node:worker_threads');
  return {
    next: () => receiveMessageOnPort(port)?.message as ToLoop | undefined,
    tell: (message) => port.postMessage(message),
  };
}
