/**
 * Attach clients that nobody can serve any longer: each is told why and disconnected, since a client in the backlog
 * would wait for the container's end. Main thread; never waits.
 */

import { EAGAIN, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK } from '../native/constants.ts';
import { STDERR, STDOUT } from '../proto/stream.ts';
import type { Session } from './session.ts';

const FOR_GOOD = '[conmon] nobody can attach any longer: conmon was replaced while the container ran, or has failed';
const FOR_NOW =
  '[conmon] nobody can attach now: the machine has no threads, fds or memory left for it; try again later';
/** Clients in one turn of the loop; the rest comes with the next. */
const CLIENTS_A_TURN = 16;
const NO_FDS = new Int32Array(0);

/** Empties the backlog of the attach socket. `forGood`: or it may be tried again. @returns false when clients cannot be accepted now. */
export function turnAway(session: Session, listenFd: number, forGood: boolean): boolean {
  const { sys, diag, options } = session.parts;
  if (forGood && !session.turnsAway) diag.error('attach clients are turned away from now on: nobody can serve them');
  session.turnsAway ||= forGood;
  const words = forGood ? FOR_GOOD : FOR_NOW;
  // To a terminal its one stream.
  const packet = Buffer.from(options.terminal ? `.${words}\r\n` : `.${words}\n`);
  packet[0] = options.terminal ? STDOUT : STDERR;
  for (let i = 0; i < CLIENTS_A_TURN; i++) {
    const fd = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return fd === EAGAIN;
    session.turnedAway++;
    sys.sendmsg(fd, packet, 0, packet.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL);
    sys.close(fd);
  }
  return true;
}
