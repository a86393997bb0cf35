/**
 * A client of conmon's attach socket: takes the container's output as packets, sends it input. Non-blocking; the caller
 * polls. It knows the socket's protocol and no terminal. Source: conmon contract, Podman libpod/oci_conmon_attach_common.go.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { basename, dirname } from 'node:path';
import { SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { ClientError } from './client-error.ts';

/** The calls that a client needs. */
export type AttachSys = Pick<Sys, 'socket' | 'connect' | 'read' | 'write' | 'shutdown' | 'close' | 'strerror'>;

export type AttachOutput =
  | { readonly kind: 'data'; readonly isStderr: boolean; readonly bytes: Buffer }
  | { readonly kind: 'nothing' | 'end' };

/** A type byte and at most 8192 bytes. */
const MAX_PACKET_BYTES = 8193;
/** conmon reads at most this much of a packet. */
const MAX_INPUT_BYTES = 32_768;
const TYPE_STDERR = 3;
const { EAGAIN, ECONNRESET, EPIPE } = osConstants.errno;

export class AttachClient {
  readonly fd: number;
  readonly #sys: AttachSys;
  readonly #packet = Buffer.alloc(MAX_PACKET_BYTES);

  private constructor(sys: AttachSys, fd: number) {
    this.#sys = sys;
    this.fd = fd;
  }

  /** Connects; conmon sends everything from its accept on. @throws ClientError naming the socket. */
  static connect(sys: AttachSys, path: string): AttachClient {
    const fd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) throw new ClientError(`attach socket: ${sys.strerror(fd)}`);
    const result = connectTo(sys, fd, path);
    if (result < 0) {
      sys.close(fd);
      throw new ClientError(`cannot connect to the attach socket ${path}: ${sys.strerror(result)}`);
    }
    return new AttachClient(sys, fd);
  }

  /** Takes one packet if there is one. The bytes are valid until the next call. @throws ClientError. */
  receive(): AttachOutput {
    const length = this.#sys.read(this.fd, this.#packet, 0, this.#packet.length);
    if (length > 0) {
      return { kind: 'data', isStderr: this.#packet[0] === TYPE_STDERR, bytes: this.#packet.subarray(1, length) };
    }
    if (length === -EAGAIN) return { kind: 'nothing' };
    if (length === 0 || length === -ECONNRESET) return { kind: 'end' };
    throw new ClientError(`attach socket: ${this.#sys.strerror(length)}`);
  }

  /**
   * Sends as much input as conmon takes now. @returns how many bytes; fewer than there are when the container is slow, -1
   * when conmon has closed the socket.
   */
  send(bytes: Buffer): number {
    for (let offset = 0; offset < bytes.length; ) {
      const written = this.#sys.write(this.fd, bytes, offset, Math.min(bytes.length - offset, MAX_INPUT_BYTES));
      if (written === -EPIPE || written === -ECONNRESET) return -1;
      if (written === -EAGAIN) return offset;
      if (written < 0) throw new ClientError(`attach socket: ${this.#sys.strerror(written)}`);
      offset += written;
    }
    return bytes.length;
  }

  /** Says that no input follows; output goes on. */
  endInput(): void {
    this.#sys.shutdown(this.fd, SHUT_WR);
  }

  close(): void {
    this.#sys.close(this.fd);
  }
}

/** Through the directory's fd: the path itself may be longer than a socket address. */
function connectTo(sys: AttachSys, fd: number, path: string): number {
  let directoryFd: number;
  try {
    directoryFd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    return error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? error.errno : -1;
  }
  try {
    return sys.connect(fd, `/proc/self/fd/${directoryFd}/${basename(path)}`);
  } finally {
    closeSync(directoryFd);
  }
}
