/**
 * Starts one conmon the way an engine does: sync and start pipes at fds 3 and 4, stdout and stderr collected, and the
 * messages that come back read one by one. It knows nothing of bundles and runtimes: ./container.ts does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { O_CLOEXEC } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import { nativeHelper } from './native.ts';
import { within } from './wait.ts';

export interface ConmonStart {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Options of test/helpers/native/launch.c: surroundings that spawn cannot make. */
  readonly launch?: readonly string[];
  /** SOCK_SEQPACKET pairs as Podman has them, in place of Node's stream sockets (which CRI-O has). */
  readonly seqpacket?: boolean;
  /** An attach pipe too, at fd 5. */
  readonly attachPipe?: boolean;
  /** The sync pipe is a pipe, as for CRI-O's ExecSync, in place of a socket. */
  readonly syncIsPipe?: boolean;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One message on the sync pipe. */
export interface SyncMessage {
  /** As it came, newline included. */
  readonly bytes: Buffer;
  readonly json: Readonly<Record<string, unknown>>;
}

export class ConmonProcess {
  /** The process that was started: the daemon itself with --sync, else the parent that returns early. */
  readonly child: ChildProcess;
  /** Its end. Not the daemon's. */
  readonly started: Promise<Ended>;
  /** Nobody holds its stderr any more. */
  readonly stderrClosed: Promise<void>;
  readonly stdoutClosed: Promise<void>;
  /** One entry a packet with `seqpacket`, else empty. */
  readonly packets: Buffer[] = [];
  #stdout = '';
  #stderr = '';
  #attachPipe = '';
  readonly #syncStream: Duplex;
  #sync: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void)[] = [];

  constructor(start: ConmonStart) {
    const env = Object.entries(start.env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const attachPipe = start.attachPipe ? ['--attach-pipe'] : [];
    const launch = [...attachPipe, ...env, ...(start.launch ?? []), ...(start.seqpacket ? ['--seqpacket'] : [])];
    const syncPipe = start.syncIsPipe ? makePipe() : undefined;
    this.child = spawn(nativeHelper('launch'), [...launch, '--', start.path, ...start.args], {
      cwd: start.cwd,
      stdio: [
        'ignore',
        'pipe',
        'pipe',
        syncPipe?.writeFd ?? 'pipe',
        'pipe',
        ...(start.attachPipe ? ['pipe' as const] : []),
      ],
    });
    if (syncPipe) {
      closeSync(syncPipe.writeFd);
    }
    this.#syncStream = syncPipe
      ? new Socket({ fd: syncPipe.readFd, readable: true, writable: false })
      : (this.child.stdio[3] as Duplex);
    this.#collectAttachPipe();
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    const stderr = this.child.stderr as Readable;
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.stderrClosed = new Promise((resolve) => stderr.once('close', resolve));
    this.stdoutClosed = new Promise((resolve) => this.child.stdout?.once('close', resolve));
    const exited = new Promise<Ended>((resolve, reject) => {
      this.child.once('exit', (code, signal) => resolve({ code, signal }));
      this.child.once('error', reject);
    });
    const sync = this.#syncStream;
    // An end of the other side by SIGKILL may come as ECONNRESET: the end all the same.
    sync.on('error', () => this.#endSync());
    this.#startPipe.on('error', () => {});
    if (start.seqpacket) {
      this.started = new Promise((resolve, reject) => {
        this.#readFrames(sync, resolve);
        exited.catch(reject);
      });
    } else {
      this.started = exited;
      sync.on('data', (chunk: Buffer) => this.#take(chunk));
      sync.once('end', () => this.#endSync());
    }
    // Whoever needs it awaits it; a case that fails earlier must not die of it.
    this.started.catch(() => {});
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** What came on the attach pipe so far. */
  get attachPipe(): string {
    return this.#attachPipe;
  }

  #collectAttachPipe(): void {
    const pipe = (this.child.stdio as readonly unknown[])[5] as Duplex | undefined;
    pipe?.on('error', () => {});
    pipe?.on('data', (chunk: Buffer) => {
      this.#attachPipe += chunk.toString('latin1');
    });
  }

  get #startPipe(): Duplex {
    return this.child.stdio[4] as Duplex;
  }

  /** The caller's word on the start pipe: one byte, as CRI-O and Podman send it. */
  go(): void {
    this.#startPipe.write(Buffer.from([0]));
  }

  /** Closes the start pipe without a word, which counts as one. */
  closeStartPipe(): void {
    this.#startPipe.end();
  }

  /** The caller loses interest: closes its end of the sync pipe. */
  closeSyncPipe(): void {
    this.#syncStream.destroy();
  }

  /** True once the other end of the sync pipe is closed by everybody. */
  get syncEnded(): boolean {
    return this.#ended;
  }

  /** The next message. Rejects when the pipe ends before one is complete, or when it is no JSON. */
  nextMessage(timeoutMs?: number): Promise<SyncMessage> {
    return within('a message on the sync pipe', this.#next(), timeoutMs);
  }

  /** Everything that came and was not taken by `nextMessage`. */
  get unread(): string {
    return this.#sync.toString();
  }

  /** Waits for the end of the sync pipe. */
  async syncClosed(timeoutMs?: number): Promise<void> {
    await within(
      'the end of the sync pipe',
      (async () => {
        while (!this.#ended) {
          await this.#change();
        }
      })(),
      timeoutMs,
    );
  }

  /** Lets go of all pipes, so that the test process can end. */
  release(): void {
    for (const stream of this.child.stdio) {
      stream?.destroy();
    }
    this.#syncStream.destroy();
  }

  async #next(): Promise<SyncMessage> {
    for (;;) {
      const newline = this.#sync.indexOf(10);
      if (newline >= 0) {
        const bytes = this.#sync.subarray(0, newline + 1);
        this.#sync = this.#sync.subarray(newline + 1);
        return { bytes, json: JSON.parse(bytes.toString()) as Record<string, unknown> };
      }
      if (this.#ended) {
        throw new Error(`the sync pipe ended, unread: ${JSON.stringify(this.unread)}; stderr: ${this.#stderr}`);
      }
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) {
      resolve();
    }
  }

  #take(chunk: Buffer): void {
    this.#sync = Buffer.concat([this.#sync, chunk]);
    this.#notify();
  }

  #endSync(): void {
    this.#ended = true;
    this.#notify();
  }

  /** The frames of the launcher's bridge: "P pid", "M length" and the packet, "X code signal", "E". */
  #readFrames(stream: Readable, started: (ended: Ended) => void): void {
    let buffer: Buffer = Buffer.alloc(0);
    stream.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (let newline = buffer.indexOf(10); newline >= 0; newline = buffer.indexOf(10)) {
        const [kind, first, second] = buffer.toString('latin1', 0, newline).split(' ');
        const length = kind === 'M' ? Number(first) : 0;
        if (buffer.length < newline + 1 + length) {
          return;
        }
        const packet = Buffer.from(buffer.subarray(newline + 1, newline + 1 + length));
        buffer = buffer.subarray(newline + 1 + length);
        if (kind === 'M') {
          this.packets.push(packet);
          this.#take(packet);
        } else if (kind === 'X') {
          started(second === '0' ? { code: Number(first), signal: null } : { code: null, signal: second ?? '?' });
        } else if (kind === 'E') {
          this.#endSync();
        }
      }
    });
    stream.once('end', () => this.#endSync());
  }
}

/** Close-on-exec, as os.Pipe has it: what the child gets is a copy. */
function makePipe(): { readonly readFd: number; readonly writeFd: number } {
  const fds = new Int32Array(2);
  const result = sys.pipe2(fds, O_CLOEXEC);
  if (result < 0) {
    throw new Error(`pipe: ${sys.strerror(result)}`);
  }
  return { readFd: fds[0] ?? -1, writeFd: fds[1] ?? -1 };
}
