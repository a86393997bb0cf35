/**
 * What the e2e cases of attach clients, terminals and control fifos share: containers that wait for a word before they
 * begin, clients that the case closes, and a look at conmon's sockets.
 */
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { sys } from '../../src/native/sys.ts';
import { AttachClient, attachPath, type ClientOptions } from './attach-client.ts';
import type { Case } from './case.ts';
import type { Container, ContainerOptions } from './container.ts';
import { fdsOf } from './proc.ts';
import { waitFor } from './wait.ts';

/** Connects to a container's attach socket; the case closes what the check leaves open. */
export async function attach(c: Case, container: Container, options: ClientOptions = {}): Promise<AttachClient> {
  const client = await AttachClient.connect(attachPath(container), options);
  c.workspace.defer(() => client.close());
  return client;
}

/**
 * The same before the container says anything. C sends to those whom it has accepted by then, and a busy machine may keep it
 * from that; ours sends everything to one that still waits to be accepted too.
 */
export async function attachEarly(c: Case, container: Container, options: ClientOptions = {}): Promise<AttachClient> {
  if (c.monitor.name !== 'c') return await attach(c, container, options);
  const before = acceptedClients(container);
  const client = await attach(c, container, options);
  await waitFor('C to accept the client', () => acceptedClients(container) > before);
  return client;
}

/**
 * A container of a fake runtime: a shell of the host that waits for {@link go}, then runs `script` in the container's
 * directory. Far quicker than a real one, and with the host's programs.
 */
export function shellContainer(
  c: Case,
  script: string,
  args: readonly string[] = [],
  more: ContainerOptions & { readonly console?: boolean } = {},
): Container {
  const verbs = (self: Container) => [
    ...(more.console ? ['console pty'] : []),
    `container cd ${self.dir}; while [ ! -e go ]; do sleep 0.01; done; ${script}`,
  ];
  return c.container({ fake: verbs, args: [...(more.console ? ['-t'] : []), ...args], ...more });
}

export function go(container: Container): void {
  writeFileSync(container.path('go'), '');
}

/** Waits until conmon serves so many clients. */
export async function clientsAccepted(container: Container, count: number): Promise<void> {
  await waitFor(`${count} clients to be accepted`, () => acceptedClients(container) === count);
}

/** How many attach clients conmon serves: its connected sockets of type SOCK_SEQPACKET in /proc/net/unix. */
export function acceptedClients(container: Container): number {
  const targets = [...fdsOf(container.daemonPid).values()];
  const inodes = new Set(targets.map((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1]));
  return readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , , type, state, inode]) => type === '0005' && state === '03' && inodes.has(inode)).length;
}

/** Bytes in a fifo that its reader has not read yet. Throws ENXIO when it has no reader. */
export function waitingBytes(path: string): number {
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    return sys.fionread(fd);
  } finally {
    closeSync(fd);
  }
}

/** Waits until a number is not 0 and stays the same for `quietMs`. @returns it. */
export async function settled(what: string, value: () => number, quietMs = 300): Promise<number> {
  let [last, sinceMs] = [value(), performance.now()];
  return await waitFor(`${what} to settle`, () => {
    const now = value();
    if (now !== last || now === 0) [last, sinceMs] = [now, performance.now()];
    return performance.now() - sinceMs > quietMs ? last : undefined;
  });
}
