/**
 * `make run CMD=...` on a terminal: our terminal in raw mode on one side, the attach socket on the other, window sizes
 * through the control FIFO. Everything happens in the event loop; only a write to our own terminal may block.
 */

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { POLLOUT } from '../native/constants.ts';
import type { Sys, Watch } from '../native/sys.ts';
import { AttachClient, type AttachSys } from './attach-client.ts';
import type { ContainerRun } from './container-run.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { DetachKeys } from './detach-keys.ts';
import { Interrupted } from './interrupted.ts';
import { makeRaw, type TerminalSys } from './raw-terminal.ts';

/** The calls that a conversation needs. */
export type InteractiveSys = AttachSys & TerminalSys & Pick<Sys, 'watch' | 'unwatch'>;

const STDIN = 0;
const STDOUT = 1;
const READ_BYTES = 4096;
const { EAGAIN } = osConstants.errno;

/** Runs the created container to its end. @returns its exit status. @throws the signal's reason when it is aborted. */
export async function runInteractive(run: ContainerRun, sys: InteractiveSys, signal: AbortSignal): Promise<number> {
  const window = new WindowSize(run.ctlPath);
  const client = AttachClient.connect(sys, run.attachPath);
  const resize = () => window.send();
  const stop = new AbortController();
  process.stdout.on('resize', resize);
  window.send();
  const restore = makeRaw(sys, STDIN);
  const conversation = converse(client, sys, AbortSignal.any([signal, stop.signal]));
  try {
    const [, outcome] = await Promise.all([run.start(), conversation]);
    restore();
    if (outcome === 'detached') process.stderr.write('\ndetached: the container goes on; Ctrl-C ends it\n');
  } finally {
    restore();
    process.stdout.off('resize', resize);
    // It must not watch an fd that is closed.
    stop.abort();
    await conversation.catch(() => {});
    client.close();
    window.close();
  }
  return Number(await run.waitForExit(signal));
}

/** Passes bytes both ways until the container closes its end or the detach keys are typed. */
async function converse(client: AttachClient, sys: InteractiveSys, signal: AbortSignal): Promise<'ended' | 'detached'> {
  const { promise, resolve, reject } = Promise.withResolvers<'ended' | 'detached'>();
  const keys = new DetachKeys();
  const typed = Buffer.alloc(READ_BYTES);
  const watching: Watch[] = [];
  const watch = (fd: number, act: () => void) => {
    const handle = sys.watch(fd, () => {
      try {
        act();
      } catch (error) {
        reject(error);
      }
    });
    if (typeof handle === 'number') throw new DemoError(`watch fd ${fd}: ${sys.strerror(handle)}`);
    watching.push(handle);
  };
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    watch(client.fd, () => {
      const output = client.receive();
      if (output.kind === 'data') writeAll(sys, output.bytes);
      else if (output.kind === 'end') resolve('ended');
    });
    watch(STDIN, () => {
      const length = sys.read(STDIN, typed, 0, typed.length);
      // Our terminal is gone. Only the leader of its session is told so with a signal, and that may be make.
      if (length === 0 || (length < 0 && length !== -EAGAIN)) throw new Interrupted('SIGHUP');
      const { input, isDetach } = keys.push(typed.subarray(0, Math.max(length, 0)));
      client.send(input);
      if (isDetach) resolve('detached');
    });
    return await promise;
  } finally {
    signal.removeEventListener('abort', abort);
    for (const handle of watching) sys.unwatch(handle);
  }
}

function writeAll(sys: AttachSys, bytes: Buffer): void {
  for (let offset = 0; offset < bytes.length; ) {
    const written = sys.write(STDOUT, bytes, offset, bytes.length - offset);
    if (written === -EAGAIN) sys.poll(Int32Array.of(STDOUT, POLLOUT), 1, -1);
    else if (written < 0) throw new DemoError(`stdout: ${sys.strerror(written)}`);
    else offset += written;
  }
}

/** Tells conmon the size of our terminal, when it is another one than it was. */
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
