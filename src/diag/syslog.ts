/**
 * The system's log, for --syslog: one datagram a message to /dev/log, never waiting, never failing the caller. Any thread
 * makes its own. Source: syslog(3), RFC 3164; the texts are conmon C's.
 */

import { MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';

const SOCKET = '/dev/log';
const NO_FDS = new Int32Array(0);
/** LOG_USER, as C's default. */
const FACILITY = 1 << 3;
export const LOG_ERR = 3;
export const LOG_INFO = 6;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

export class Syslog {
  readonly #sys: Sys;
  readonly #path: string;
  /** -1 until the first message, and after a failure: then the next one tries again. */
  #fd = -1;
  #closed = false;

  constructor(sys: Sys, path: string = SOCKET) {
    this.#sys = sys;
    this.#path = path;
  }

  /** Sends one message. A log daemon that is gone or busy loses it: a container must not wait for its monitor's chatter. */
  send(priority: number, text: string): void {
    if (this.#closed) return;
    const line = Buffer.from(`<${FACILITY | priority}>${timestamp(new Date())} conmon: ${text}`);
    for (let attempt = 0; attempt < 2; attempt++) {
      if (this.#fd === -1 && !this.#connect()) return;
      if (this.#sys.sendmsg(this.#fd, line, 0, line.length, NO_FDS, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return;
      this.#sys.close(this.#fd); // a log daemon that was restarted listens on a new socket
      this.#fd = -1;
    }
  }

  /** For good: who still has something to say in a process that goes on must not open it again. */
  close(): void {
    this.#closed = true;
    if (this.#fd !== -1) this.#sys.close(this.#fd);
    this.#fd = -1;
  }

  #connect(): boolean {
    const fd = this.#sys.socket(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return false;
    if (this.#sys.connect(fd, this.#path) < 0) {
      this.#sys.close(fd);
      return false;
    }
    this.#fd = fd;
    return true;
  }
}

/** `Nov 23 18:00:00`, local. */
function timestamp(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = String(now.getDate()).padStart(2, ' ');
  return `${MONTHS[now.getMonth()]} ${day} ${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
}
