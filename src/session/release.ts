/**
 * Closes what a session holds: on its way, and at its end in a process that goes on without it. Each fd is closed once,
 * by whoever has it then. Main thread.
 */

import type { Session } from './session.ts';

/** The container's ends of its pipes, once the runtime has them. */
export function closeChildStdio(session: Session): void {
  const { sys, stdio } = session.parts;
  if (stdio === undefined || session.gone.childStdio) return;
  session.gone.childStdio = true;
  for (const fd of [stdio.childStdinFd, stdio.childStdoutFd, stdio.childStderrFd]) sys.close(fd);
}

/** The caller's fds that were meant for the container. */
export function closeLeakedFds(session: Session): void {
  if (session.gone.leakedFds) return;
  session.gone.leakedFds = true;
  for (const fd of session.parts.leakedFds) session.parts.sys.close(fd);
}

/** The caller's directory: only what is started needs it. */
export function closeCwd(session: Session): void {
  if (session.gone.cwd) return;
  session.gone.cwd = true;
  session.parts.sys.close(session.parts.cwdFd);
}

/** Closes what a session that is done still holds, for a process that goes on without it. */
export function release(session: Session): void {
  const { sys, attachFiles, syncPipe, stdio, joined } = session.parts;
  closeChildStdio(session);
  closeLeakedFds(session);
  if (!session.gone.outputs) {
    if (stdio) for (const fd of [stdio.stdinFd, stdio.stdoutFd, stdio.stderrFd]) if (fd >= 0) sys.close(fd);
    if (session.terminal) for (const fd of [session.terminal.inputFd, session.terminal.outputFd]) sys.close(fd);
  }
  session.gone.outputs = true;
  session.terminal?.close();
  session.console?.close();
  session.stopListening?.();
  attachFiles?.close();
  syncPipe.close();
  closeCwd(session);
  if (joined !== undefined && joined.cgroupFd >= 0) sys.close(joined.cgroupFd);
}
