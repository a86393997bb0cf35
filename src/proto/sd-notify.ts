/**
 * What of a container's sd_notify datagram the host's service manager may see (contract section 10). Bytes in, bytes
 * out; no I/O. A container must not name another main process, hand over fds, or forge what is not listed here.
 */

/** As conmon C's buffer. */
export const NOTIFICATION_MAX = 32_768;
/** systemd ignores a datagram that is longer (NOTIFY_BUFFER_MAX, PIPE_BUF). */
export const RELAYED_MAX = 4096;

const WHOLE = new Set(['READY=1', 'RELOADING=1', 'STOPPING=1', 'WATCHDOG=1', 'WATCHDOG=trigger']);
const PREFIXES = ['STATUS=', 'ERRNO=', 'BUSERROR=', 'MONOTONIC_USEC='];

export interface Relayed {
  /** Lines that may pass, with a newline between two; empty when there is none. */
  readonly bytes: Buffer;
  /** Lines that may not, empty ones not counted. */
  readonly refusedLines: number;
}

/** Picks the lines that are allowed and fit, in their order. */
export function relayedPart(datagram: Uint8Array): Relayed {
  // Latin-1 keeps every byte as it is. Some senders count their string's NUL as part of it, which systemd forgives too.
  const text = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength).toString('latin1');
  let relayed = '';
  let refusedLines = 0;
  for (const line of text.replace(/\0$/, '').split('\n')) {
    if (line === '') continue;
    const next = relayed === '' ? line : `${relayed}\n${line}`;
    if (isAllowed(line) && next.length <= RELAYED_MAX) relayed = next;
    else refusedLines++;
  }
  return { bytes: Buffer.from(relayed, 'latin1'), refusedLines };
}

/** A NUL within a line makes systemd ignore the whole datagram. */
function isAllowed(line: string): boolean {
  if (line.includes('\0')) return false;
  return WHOLE.has(line) || PREFIXES.some((prefix) => line.startsWith(prefix));
}
