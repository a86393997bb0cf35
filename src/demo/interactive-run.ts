/**
 * `make run CMD=...` on a terminal: our terminal in raw mode on one side, the attach socket on the other, window sizes
 * through the control FIFO. The loop blocks in poll and turns the event loop in between, for signals.
 */

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { setImmediate as turn } from 'node:timers/promises';
import { POLLIN, POLLOUT } from '../native/constants.ts';
import { AttachClient, type AttachSys } from './attach-client.ts';
import type { ContainerRun } from './container-run.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { DetachKeys } from './detach-keys.ts';

const STDIN = 0;
const STDOUT = 1;
/** Also how late a signal or a new window size may be noticed while nothing moves. */
const POLL_MS = 100;
const READ_BYTES = 4096;
const { EAGAIN } = osConstants.errno;

/** Runs the created container to its end. @returns its exit status. @throws the signal's reason when it is aborted. */
export async function runInteractive(run: ContainerRun, sys: AttachSys, signal: AbortSignal): Promise<number> {
  const client = AttachClient.connect(sys, run.attachPath);
  const window = new WindowSize(run.ctlPath);
  process.stdin.setRawMode(true);
  try {
    window.send();
    await run.start();
    if ((await converse(client, sys, window, signal)) === 'detached') {
      process.stdin.setRawMode(false);
      process.stderr.write('\ndetached: the container goes on; Ctrl-C ends it\n');
    }
  } finally {
    process.stdin.setRawMode(false);
    window.close();
    client.close();
  }
  return Number(await run.waitForExit(signal));
}

/** Passes bytes both ways until the container closes its end or the detach keys are typed. */
async function converse(
  client: AttachClient,
  sys: AttachSys,
  window: WindowSize,
  signal: AbortSignal,
): Promise<'ended' | 'detached'> {
  const keys = new DetachKeys();
  const typed = Buffer.alloc(READ_BYTES);
  const set = Int32Array.of(client.fd, POLLIN, STDIN, POLLIN);
  for (;;) {
    await turn();
    signal.throwIfAborted();
    window.send();
    set[1] = set[3] = POLLIN;
    if (sys.poll(set, 2, POLL_MS) <= 0) continue;
    if (isReady(set[1])) {
      const output = client.receive();
      if (output.kind === 'end') return 'ended';
      if (output.kind === 'data') writeAll(sys, output.bytes);
    }
    if (isReady(set[3])) {
      const length = sys.read(STDIN, typed, 0, typed.length);
      // A negative fd is one that poll leaves alone: our terminal is gone, and SIGHUP will follow.
      if (length === 0 || (length < 0 && length !== -EAGAIN)) set[2] = -1;
      const { input, isDetach } = keys.push(typed.subarray(0, Math.max(length, 0)));
      client.send(input);
      if (isDetach) return 'detached';
    }
  }
}

function isReady(slot: number | undefined): boolean {
  return slot !== undefined && slot >>> 16 !== 0;
}

function writeAll(sys: AttachSys, bytes: Buffer): void {
  for (let offset = 0; offset < bytes.length; ) {
    const written = sys.write(STDOUT, bytes, offset, bytes.length - offset);
    if (written === -EAGAIN) sys.poll(Int32Array.of(STDOUT, POLLOUT), 1, POLL_MS);
    else if (written < 0) throw new DemoError(`stdout: ${sys.strerror(written)}`);
    else offset += written;
  }
}

/** Tells conmon the size of our terminal whenever it is another one. */
class WindowSize {
  readonly #ctlFd: number;
  #sent = '';

  constructor(ctlPath: string) {
    try {
      this.#ctlFd = openSync(ctlPath, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw new DemoError(`cannot open ${ctlPath}: ${reasonOf(error)}`, { cause: error });
    }
  }

  send(): void {
    const [columns, rows] = process.stdout.getWindowSize();
    const line = `1 ${rows} ${columns}\n`;
    if (line === this.#sent) return;
    writeSync(this.#ctlFd, line);
    this.#sent = line;
  }

  close(): void {
    closeSync(this.#ctlFd);
  }
}
