/**
 * Where a formatter of the kernel keeps its state in the shared memory (assembly/ reads the same offsets).
 * All words are u32; `open` is 0 when no record is open. One writer: the log thread.
 */

import { FORMATS_BYTES, FORMATS_OFFSET } from '../ring/layout.ts';

export const FormatField = {
  /** Address at which the next byte of output goes. */
  out: 0,
  /** Address of the record that is still open; 0 = none. */
  open: 4,
  /** Bytes of content in the open record. */
  content: 8,
  /** Records closed so far; wraps. */
  records: 12,
  /** 48 bytes: what each record begins with, 45 of them used. */
  prefix: 16,
} as const;

/** The same of a json-file formatter, which has a tail in place of a prefix (assembly/json.ts). */
export const JsonField = {
  out: FormatField.out,
  open: FormatField.open,
  content: FormatField.content,
  records: FormatField.records,
  /** Address of what each record ends with: `\n` (a backslash and an n), then the rest. */
  tail: 16,
  tailBytes: 20,
  /** How many bytes of a UTF-8 sequence wait for its rest, and they. */
  pending: 24,
  pendingBytes: 28,
} as const;

/** What the journald driver keeps of one stream in the same place; it formats without the kernel. All u32. */
export const JournalField = {
  /** Bytes of an unfinished line that are held in the stream's output area. */
  held: 0,
  /** 1 when a part of the line was sent already. */
  midLine: 4,
  /** Then: the priority that the line's beginning gave it. */
  priority: 8,
} as const;

export const FORMAT_STATE_BYTES = 64;
/** `2026-11-23T18:00:00.123456789+00:00 stdout F `: both streams' names have six letters. */
export const PREFIX_BYTES = 45;
/** Longest content of one record; clients and the CRI expect no more (contract section 6). */
export const CONTENT_MAX_BYTES = 8192;

/** `{"log":"` */
export const JSON_HEAD_BYTES = 8;
/** Bytes of a line in one json-file record, before they are escaped (Docker's copier, 16 KiB). */
export const JSON_CONTENT_MAX_BYTES = 16384;
/** Each of them can become `\u00xx`. */
export const JSON_GROWTH = 6;
/** An output area holds any json-file record when it has this much beside the record, and three tails. */
export const JSON_RESERVE_BYTES = 64;

export const FORMAT_STATES_MAX = Math.floor(FORMATS_BYTES / FORMAT_STATE_BYTES);

/** Offset of formatter `index`'s state. */
export function formatStateOffset(index: number): number {
  if (index >= FORMAT_STATES_MAX) throw new RangeError(`kernel: no room for formatter ${index}`);
  return FORMATS_OFFSET + index * FORMAT_STATE_BYTES;
}
