/**
 * A pseudo-terminal for a container process: opened with node-pty, its master handed to the console socket, its slave
 * left for the waiting process to open, which makes it that process's controlling terminal. Never reads or writes it.
 */

import { chownSync, constants, readlinkSync, statSync } from 'node:fs';
import { F_GETFL, F_SETFL } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import type { ProcessSpec } from './process-spec.ts';
import { sendFd } from './send-fd.ts';

/**
 * openpty(3) of node-pty's native module; both fds come back non-blocking. node-pty's own `open` wraps them in streams
 * that start to read at once, and would steal the container's first output.
 */
interface PtyModule {
  open(columns: number, rows: number): { readonly master: number; readonly slave: number; readonly pty: string };
}

export type OpenPty = PtyModule['open'];

/** As node-pty and xterm have it, when config.json says nothing. */
const DEFAULT_SIZE = { rows: 24, columns: 80 };
const OPEN_TIMEOUT_MS = 10_000;
const POLL_MS = 1;

/** Loads node-pty (its pty.node lies in `build/Release` beside or above the bundle). Not loaded without a terminal. */
export async function loadPty(): Promise<OpenPty> {
  try {
    const { native } = (await import('node-pty')) as unknown as { native: PtyModule };
    return native.open;
  } catch (error) {
    throw new DemoError(`cannot load node-pty, which terminals need: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Opens a terminal that belongs to the process's user and sends its master to the console socket. The fds stay open
 * until this program exits, so that the terminal does not hang up before the process has opened it.
 * @returns the slave's path.
 */
export function openConsole(sys: Sys, openPty: OpenPty, socketPath: string, spec: ProcessSpec): string {
  const { rows, columns } = spec.consoleSize ?? DEFAULT_SIZE;
  const { master, pty: slavePath } = openPty(columns, rows);
  // Real runtimes send a blocking master; the flag belongs to the open file, which the receiver will share.
  const flags = sys.fcntl(master, F_GETFL, 0);
  const cleared = flags < 0 ? flags : sys.fcntl(master, F_SETFL, flags & ~constants.O_NONBLOCK);
  if (cleared < 0) throw new DemoError(`terminal ${slavePath}: fcntl: ${sys.strerror(cleared)}`);
  if (process.geteuid?.() === 0) chownSync(slavePath, spec.uid, statSync(slavePath).gid);
  sendFd(sys, socketPath, master, slavePath);
  return slavePath;
}

/** Blocks until the process has the terminal as its stderr, the last of the three to get it. @throws DemoError when it never does. */
export function waitForConsole(pid: number, slavePath: string): void {
  const deadline = performance.now() + OPEN_TIMEOUT_MS;
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const stderr = stderrOf(pid);
    if (stderr === slavePath) return;
    if (stderr === undefined) throw new DemoError(`the process could not open its terminal ${slavePath}`);
    if (performance.now() > deadline) throw new DemoError(`the process did not open its terminal ${slavePath}`);
    Atomics.wait(clock, 0, 0, POLL_MS);
  }
}

/** @returns undefined when the process has ended. */
function stderrOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/2`);
  } catch {
    return undefined;
  }
}
