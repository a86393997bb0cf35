/**
 * The fields that journald entries of one container have in common, in journald's native protocol. No I/O. Source:
 * systemd's JOURNAL_NATIVE_PROTOCOL; which fields there are: contract section 6, conmon's configure_log_drivers.
 */

import type { JournaldTarget } from '../proto/log-messages.ts';

/** Bytes of a container id that CONTAINER_ID carries. */
const SHORT_ID_BYTES = 12;
const NEWLINE = 0x0a;

/** One field: `NAME=VALUE\n`, or with the value's length in front when it holds a newline. */
export function encodeField(name: string, value: string): Buffer {
  const bytes = Buffer.from(value);
  if (!bytes.includes(NEWLINE)) return Buffer.concat([Buffer.from(`${name}=`), bytes, Buffer.from('\n')]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([Buffer.from(`${name}\n`), size, bytes, Buffer.from('\n')]);
}

/** All fields but PRIORITY, MESSAGE and CONTAINER_PARTIAL_MESSAGE. Labels are `NAME=VALUE` (checked by src/cli). */
export function commonFields({ cid, name, tag, labels }: JournaldTarget): Buffer {
  const short = Buffer.from(cid).toString('utf8', 0, SHORT_ID_BYTES);
  const fields = [encodeField('CONTAINER_ID_FULL', cid), encodeField('CONTAINER_ID', short)];
  if (name !== undefined) fields.push(encodeField('CONTAINER_NAME', name));
  if (tag !== undefined) fields.push(encodeField('CONTAINER_TAG', tag));
  fields.push(encodeField('SYSLOG_IDENTIFIER', tag ?? name ?? short));
  for (const label of labels) {
    const equals = label.indexOf('=');
    fields.push(encodeField(label.slice(0, equals), label.slice(equals + 1)));
  }
  return Buffer.concat(fields);
}
