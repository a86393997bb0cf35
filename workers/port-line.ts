/** The way to main of a thread that runs one loop: a port of its own. Worker threads. */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Line } from '../src/proto/line.ts';

export function portLine<ToLoop, FromLoop>(port: MessagePort): Line<ToLoop, FromLoop> {
  return {
    next: () => receiveMessageOnPort(port)?.message as ToLoop | undefined,
    tell: (message) => port.postMessage(message),
  };
}
