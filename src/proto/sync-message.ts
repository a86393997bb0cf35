/**
 * Messages on the sync and attach pipes: one JSON object a line (contract section 3). Bytes in, bytes out; no I/O.
 */

/** The first key of every message of a session: `data` with --api-version, else `exit_code` for exec, else `pid`. */
export type SyncKey = 'data' | 'exit_code' | 'pid';

/** Section 3's rule. */
export function syncKey(apiVersion: boolean, exec: boolean): SyncKey {
  if (apiVersion) return 'data';
  return exec ? 'exit_code' : 'pid';
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const DELETE = 0x7f;

/** Control characters that JSON has a short form for. */
const SHORT: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
};

/**
 * `{"KEY": VALUE}\n`, or with a message `{"KEY": VALUE, "message": "..."}\n`. The message may be any bytes: control
 * characters become escapes, bytes from 0x80 on stay as they are, NUL included nothing is lost.
 */
export function encodeSyncMessage(key: SyncKey, value: number, message?: Uint8Array): Buffer {
  if (message === undefined || message.length === 0) return Buffer.from(`{"${key}": ${value}}\n`);
  const parts: string[] = [`{"${key}": ${value}, "message": "`];
  for (const byte of message) parts.push(escapeByte(byte));
  parts.push('"}\n');
  return Buffer.from(parts.join(''), 'latin1');
}

/** As latin1: one character, one byte. */
function escapeByte(byte: number): string {
  if (byte === QUOTE || byte === BACKSLASH) return `\\${String.fromCharCode(byte)}`;
  if (byte < FIRST_PRINTABLE || byte === DELETE) return SHORT[byte] ?? `\\u00${byte.toString(16).padStart(2, '0')}`;
  return String.fromCharCode(byte);
}
