// A client of a container's attach socket in a process of its own (bench/native/attach-client.c), which checks every byte
// that it gets. Main thread only.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseReply, type Reply } from './container.ts';
import type { Environment } from './environment.ts';
import type { Monitor } from './monitor.ts';
import { programPath } from './native.ts';
import { pause, within } from './wait.ts';

/** After clients have connected: the monitor accepts them, ours starts a thread for them. */
const settleMs = 400;
const limitMs = 90_000;

export interface Client {
  /** What it tells when it has all that it was to get. Rejects when that was not what the container wrote. */
  readonly done: Promise<Reply>;
  /** Ends it, if it still runs. */
  end(): void;
}

/**
 * Attaches one client after the other to the monitor's container, in its bundle, and waits until the monitor has done what
 * it does for them. `args` of each as attach-client takes them, behind the socket. Whatever fails, none is left.
 */
export async function attachClients(
  environment: Environment,
  monitor: Monitor,
  args: readonly (readonly string[])[],
): Promise<readonly Client[]> {
  const clients: Client[] = [];
  try {
    for (const each of args) clients.push(await connect(environment, monitor, each));
    await pause(settleMs, environment.signal);
    return clients;
  } catch (error) {
    for (const client of clients) client.end();
    throw error;
  }
}

/** As attachClients, one. */
export async function attachClient(
  environment: Environment,
  monitor: Monitor,
  args: readonly string[],
): Promise<Client> {
  const [client] = await attachClients(environment, monitor, [args]);
  if (client === undefined) throw new Error('no client');
  return client;
}

async function connect(environment: Environment, monitor: Monitor, args: readonly string[]): Promise<Client> {
  const socketPath = join(dirname(monitor.logPath), 'b', 'attach');
  const child = spawn(programPath('attach-client'), [socketPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await within('the attach client', lines.next(), limitMs, environment.signal);
    if (done === true) {
      if (child.exitCode === null) await once(child, 'close');
      throw new Error(`the attach client: ${complaint.trim()}`);
    }
    return value;
  };
  const end = (): void => void child.kill('SIGKILL');
  try {
    await line();
  } catch (error) {
    end();
    throw error;
  }
  const done = line().then(parseReply);
  done.catch(() => {}); // who waits for it is told
  return { done, end };
}
