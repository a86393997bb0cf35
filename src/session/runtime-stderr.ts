/** What the runtime wrote to stderr before it failed, for the sync pipe's message. Main thread. */

import type { Sys } from '../native/sys.ts';

/** As much as conmon C takes; callers show it to a person. */
const TEXT_MAX = 8191;

/** The bytes that wait in a non-blocking pipe, at most {@link TEXT_MAX}; empty when there are none. */
export function pendingText(sys: Sys, fd: number): Buffer {
  const bytes = Buffer.alloc(TEXT_MAX);
  let length = 0;
  while (length < TEXT_MAX) {
    const result = sys.read(fd, bytes, length, TEXT_MAX - length);
    if (result <= 0) break;
    length += result;
  }
  return bytes.subarray(0, length);
}
