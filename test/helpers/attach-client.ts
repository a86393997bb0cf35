/**
 * A client of the attach socket, as engines have it: SOCK_SEQPACKET, packets of a type byte and payload, in the test's
 * event loop. It reads only while it is told to. Run as a program it is a client that a test can kill:
 * `attach-client.ts PATH` connects, says so and takes nothing.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import {
  EAGAIN,
  ENOENT,
  EPIPE,
  POLLIN,
  SHUT_RD,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../src/native/constants.ts';
import { sys, type Watch } from '../../src/native/sys.ts';
import type { Container } from './container.ts';
import { waitFor } from './wait.ts';

const ECONNRESET = -104;
const ECONNREFUSED = -111;
/** More than a packet may hold, so that one that is too long shows. */
const READ_BYTES = 65_536;
/** What conmon takes of one packet. */
const INPUT_PACKET_MAX = 32_768;
/** Packets taken before the event loop has its turn. */
const READS_A_TURN = 64;

export interface ClientOptions {
  /** Reads nothing until {@link AttachClient.read}. */
  readonly paused?: boolean;
  /** Gets each payload, valid during the call, in place of the client's own collection. */
  readonly onPayload?: (type: number, payload: Buffer) => void;
}

/** Where a container's clients connect: as CRI-O does, or in the bundle as Podman does. */
export function attachPath(container: Container): string {
  const fullAttach = container.args.includes('--full-attach');
  return fullAttach ? `${container.bundle}/attach` : `${container.socketDir}/${container.cid}/attach`;
}

export class AttachClient {
  readonly fd: number;
  /** Type bytes in the order of the packets. */
  readonly types = new Set<number>();
  /** Bytes of the longest packet, type byte included. */
  longestPacket = 0;
  packets = 0;
  /** The server has closed its end and everything was read. */
  ended = false;
  /** It did so with a reset. */
  reset = false;
  readonly #parts: { readonly type: number; readonly payload: Buffer }[] = [];
  readonly #onPayload: (type: number, payload: Buffer) => void;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  #watch: Watch | undefined;
  #closed = false;

  private constructor(fd: number, options: ClientOptions) {
    this.fd = fd;
    this.#onPayload =
      options.onPayload ?? ((type, payload) => this.#parts.push({ type, payload: Buffer.from(payload) }));
    if (!options.paused) this.read();
  }

  /** Connects when there is a socket with room in its backlog. The caller closes it, or the test process's end. */
  static async connect(path: string, options: ClientOptions = {}): Promise<AttachClient> {
    const fd = await waitFor(`a connection to ${path}`, () => {
      const result = tryConnect(path);
      if (result === EAGAIN || result === ECONNREFUSED || result === ENOENT) return undefined;
      if (result < 0) throw new Error(`connect to ${path}: ${sys.strerror(result)}`);
      return result;
    });
    return new AttachClient(fd, options);
  }

  /** What came with a type; without one everything, in order. */
  output(type?: number): Buffer {
    return Buffer.concat(
      this.#parts.filter((part) => type === undefined || part.type === type).map(({ payload }) => payload),
    );
  }

  /** Output as text, for messages and matches. */
  get text(): string {
    return this.output().toString('latin1');
  }

  async waitForText(text: string | RegExp, timeoutMs?: number): Promise<void> {
    const found = () => (typeof text === 'string' ? this.text.includes(text) : text.test(this.text));
    await waitFor(
      `${text} from the attach socket`,
      () => {
        if (!found() && this.ended) throw new Error(`the attach socket ended with ${JSON.stringify(this.text)}`);
        return found();
      },
      timeoutMs === undefined ? {} : { timeoutMs },
    ).catch((error: Error) => {
      throw new Error(`${error.message}; got ${JSON.stringify(this.text.slice(-1000))}`);
    });
  }

  async waitForEnd(timeoutMs?: number): Promise<void> {
    await waitFor('the end of the attach socket', () => this.ended, timeoutMs === undefined ? {} : { timeoutMs });
  }

  /** Something has come that was not read. */
  get readable(): boolean {
    return sys.poll(Int32Array.of(this.fd, POLLIN), 1, 0) > 0;
  }

  /** Starts reading, or goes on. */
  read(): void {
    if (this.#watch || this.#closed || this.ended) return;
    const watch = sys.watch(this.fd, () => this.#receive());
    if (typeof watch === 'number') throw new Error(`watch: ${sys.strerror(watch)}`);
    this.#watch = watch;
  }

  pause(): void {
    if (this.#watch) sys.unwatch(this.#watch);
    this.#watch = undefined;
  }

  /** Sends everything, in packets that conmon takes whole. @returns false when the server takes no more. */
  async send(data: string | Uint8Array): Promise<boolean> {
    const bytes = Buffer.from(data as string);
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(INPUT_PACKET_MAX, bytes.length - at);
      const result = sys.write(this.fd, bytes, at, length);
      if (result === EPIPE || result === ECONNRESET) return false;
      if (result === EAGAIN) await new Promise((resolve) => setTimeout(resolve, 1));
      else if (result < 0) throw new Error(`send: ${sys.strerror(result)}`);
      else at += result;
    }
    return true;
  }

  /** Sends one packet with the socket's own fd as SCM_RIGHTS. */
  sendWithFd(text: string): void {
    const bytes = Buffer.from(text);
    const result = sys.sendmsg(this.fd, bytes, 0, bytes.length, Int32Array.of(this.fd), 0);
    if (result < 0) throw new Error(`sendmsg: ${sys.strerror(result)}`);
  }

  /** No input follows; output goes on. */
  endInput(): void {
    sys.shutdown(this.fd, SHUT_WR);
  }

  /** No output is wanted; input goes on. */
  refuseOutput(): void {
    sys.shutdown(this.fd, SHUT_RD);
  }

  close(): void {
    if (this.#closed) return;
    this.pause();
    this.#closed = true;
    sys.close(this.fd);
  }

  #receive(): void {
    for (let i = 0; i < READS_A_TURN; i++) {
      const length = sys.read(this.fd, this.#buffer, 0, READ_BYTES);
      if (length === EAGAIN) return;
      if (length === ECONNRESET) {
        this.reset = true;
        continue;
      }
      if (length <= 0) {
        this.ended = true;
        this.pause();
        return;
      }
      const type = this.#buffer[0] ?? -1;
      this.types.add(type);
      this.packets++;
      this.longestPacket = Math.max(this.longestPacket, length);
      this.#onPayload(type, this.#buffer.subarray(1, length));
    }
  }
}

/** Through the directory's fd: the path may be longer than a socket address. @returns the fd, or a negative errno. */
function tryConnect(path: string): number {
  let directoryFd: number;
  try {
    directoryFd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return ENOENT;
  }
  const fd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC);
  const result = fd < 0 ? fd : sys.connect(fd, `/proc/self/fd/${directoryFd}/${basename(path)}`);
  closeSync(directoryFd);
  if (fd >= 0 && result < 0) sys.close(fd);
  return result < 0 ? result : fd;
}

if (import.meta.main) {
  await AttachClient.connect(process.argv[2] ?? '', { paused: true });
  process.stdout.write('connected\n');
  setInterval(() => {}, 1000);
}
