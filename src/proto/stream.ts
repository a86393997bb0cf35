/** The container's output streams, by the numbers that attach clients read (contract section 5). No I/O. */

export const STDOUT = 2;
export const STDERR = 3;
export type Stream = typeof STDOUT | typeof STDERR;
