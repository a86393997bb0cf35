/**
 * Where a formatter of the kernel keeps its state in the shared memory (assembly/k8s.ts reads the same offsets).
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

export const FORMAT_STATE_BYTES = 64;
/** `2026-11-23T18:00:00.123456789+00:00 stdout F `: both streams' names have six letters. */
export const PREFIX_BYTES = 45;
/** Longest content of one record; clients and the CRI expect no more (contract section 6). */
export const CONTENT_MAX_BYTES = 8192;

export const FORMAT_STATES_MAX = Math.floor(FORMATS_BYTES / FORMAT_STATE_BYTES);

/** Offset of formatter `index`'s state. */
export function formatStateOffset(index: number): number {
  if (index >= FORMAT_STATES_MAX) throw new RangeError(`kernel: no room for formatter ${index}`);
  return FORMATS_OFFSET + index * FORMAT_STATE_BYTES;
}
