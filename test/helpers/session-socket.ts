/** The session socket of a container's conmon, where root's execs join. */
import { readFileSync } from 'node:fs';
import type { Container } from './container.ts';
import { waitFor } from './wait.ts';

/** SO_ACCEPTCON, the flag in /proc/net/unix of a socket that listens. */
const LISTENS = 0x10000;

export const socketOf = ({ cid }: Container): string => `/run/conmon/${cid}`;

/** Until execs can join: the file is there a moment before anybody listens. */
export async function sessionSocket(made: Container): Promise<void> {
  await waitFor('the session socket', () =>
    readFileSync('/proc/net/unix', 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .some(
        ([, , , flags = '', , , , path = '']) =>
          path.endsWith(`/${made.cid}`) && (Number.parseInt(flags, 16) & LISTENS) !== 0,
      ),
  );
}
