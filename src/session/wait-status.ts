/** What waitpid(2) says of a process's end. Pure. */

/** Status as callers see it: the exit status, or 128 + the signal that ended the process. */
export function exitStatus(waitStatus: number): number {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}
