// The bench's end of a fake container's socket: one command, one reply, a line each (bench/native/fake-runtime.c).
// Main thread only; it never touches the container's output. The container ends when this end closes.

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import { within } from './wait.ts';

/** A reply: its name and its numbers, times being CLOCK_MONOTONIC ns. */
export interface Reply {
  readonly name: string;
  readonly values: ReadonlyMap<string, number>;
}

/** Parses `name key=value key=value`. */
export function parseReply(line: string): Reply {
  const [name = '', ...pairs] = line.trim().split(' ');
  const values = new Map<string, number>();
  for (const pair of pairs) {
    const [key = '', value = ''] = pair.split('=');
    values.set(key, Number(value));
  }
  return { name, values };
}

/** The value of a reply's key. Throws when the reply has none: then it was a `failed` one. */
export function numberIn(reply: Reply, key: string): number {
  const value = reply.values.get(key);
  if (value === undefined) throw new Error(`the container says: ${reply.name} ${JSON.stringify([...reply.values])}`);
  return value;
}

/** Longest socket path that bind takes (man 7 unix). */
const socketPathLimitBytes = 107;

export class ContainerSocket {
  readonly #server: Server;
  readonly #signal: AbortSignal;
  readonly #connection: Promise<{ socket: Socket; lines: Interface; next: AsyncIterator<string> }>;

  /** Listens at `BUNDLE/bench.sock`; call before the monitor is started. */
  static async listen(bundle: string, signal: AbortSignal): Promise<ContainerSocket> {
    const path = `${bundle}/bench.sock`;
    if (Buffer.byteLength(path) > socketPathLimitBytes)
      throw new Error(`socket path too long, take a shorter --dir: ${path}`);
    const server = createServer();
    const container = new ContainerSocket(server, signal);
    server.listen(path);
    await once(server, 'listening');
    return container;
  }

  private constructor(server: Server, signal: AbortSignal) {
    this.#server = server;
    this.#signal = signal;
    this.#connection = once(server, 'connection').then(([socket]: Socket[]) => {
      if (socket === undefined) throw new Error('connection without a socket');
      socket.on('error', () => {}); // shows up as the end of the lines
      const lines = createInterface({ input: socket });
      return { socket, lines, next: lines[Symbol.asyncIterator]() };
    });
  }

  /** The next reply of the container. */
  async receive(limitMs: number): Promise<Reply> {
    const { next } = await within('the container to connect', this.#connection, limitMs, this.#signal);
    const { value, done } = await within('a reply of the container', next.next(), limitMs, this.#signal);
    if (done === true || typeof value !== 'string') throw new Error('the container ended early');
    return parseReply(value);
  }

  /** Sends a command and waits for its reply. */
  async request(command: string, limitMs: number): Promise<Reply> {
    await this.send(command);
    return this.receive(limitMs);
  }

  /** Sends a command that has no reply. */
  async send(command: string): Promise<void> {
    const { socket } = await this.#connection;
    socket.write(`${command}\n`);
  }

  /** Ends the connection and with it a container that still runs. */
  async close(): Promise<void> {
    this.#server.close();
    // Nobody may ever have connected: then there is nothing to wait for.
    void this.#connection.then(({ socket, lines }) => {
      lines.close();
      socket.destroy();
    });
  }
}
