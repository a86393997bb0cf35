/**
 * Where a daemon waits for execs of its container: a socket in a directory that is its user's alone
 * (docs/adr/0035-sessions.md). Made behind the runtime, gone when the container is; one that a killed daemon has left is
 * replaced. The launcher finds it by the same rules (native/join.c). Main thread; never waits.
 */

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
} from 'node:fs';
import { isAbsolute } from 'node:path';
import { ConmonError } from '../diag/error.ts';
import { EADDRINUSE, O_CLOEXEC, O_PATH, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import { isLeft, sweep } from './left-sockets.ts';

const NAME = 'conmon';
/** As native/join.c: an id up to this length names the socket as it is. */
const PLAIN_NAME = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}$/;
const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
/** Twenty probes at once are many; who finds it full starts a daemon of its own. */
const BACKLOG = 64;
const GROUP_AND_OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;

/** The socket's name for a container id: the id, or a hash of one that is long or no plain name. */
export function socketName(cid: string): string {
  if (PLAIN_NAME.test(cid)) return cid;
  let hash = FNV_OFFSET;
  for (const byte of Buffer.from(cid)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  return `hash-${hash.toString(16).padStart(16, '0')}`;
}

/** root of the machine, and not of a user namespace only: no variable tells it where to go. */
function isRealRoot(): boolean {
  return process.geteuid?.() === 0 && /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'));
}

/** /run, or for users $XDG_RUNTIME_DIR. Throws ConmonError SESSIONS when there is none. */
function baseDirectory(runtimeDir: string | undefined): string {
  if (isRealRoot()) return '/run';
  if (runtimeDir === undefined || !isAbsolute(runtimeDir))
    throw new ConmonError('SESSIONS', 'XDG_RUNTIME_DIR names no directory');
  return runtimeDir;
}

/** An O_PATH fd of a directory that is ours and closed to others as far as `closedTo` says. */
function openOwn(path: string, closedTo: number): number {
  const fd = openSync(path, constants.O_DIRECTORY | constants.O_NOFOLLOW | O_PATH | O_CLOEXEC);
  const { uid, mode } = fstatSync(fd);
  if (uid === process.geteuid?.() && (mode & closedTo) === 0) return fd;
  closeSync(fd);
  throw new ConmonError('SESSIONS', `${path} belongs to another user or is open to others`);
}

/** @param make whether to make it where it is missing */
function openDirectory(runtimeDir: string | undefined, make: boolean): number {
  const baseFd = openOwn(baseDirectory(runtimeDir), WRITABLE_BY_OTHERS);
  try {
    const path = `/proc/self/fd/${baseFd}/${NAME}`;
    try {
      if (make) mkdirSync(path, 0o700);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    return openOwn(path, GROUP_AND_OTHERS);
  } finally {
    closeSync(baseFd);
  }
}

export class SessionSocket {
  /** Listening and non-blocking. */
  readonly listenFd: number;
  readonly #sys: Sys;
  readonly #name: string;
  readonly #runtimeDir: string | undefined;
  readonly #inode: number;
  #open = true;

  /** @param runtimeDir XDG_RUNTIME_DIR, asked for users only. Throws when there can be no socket, with nothing left. */
  constructor(sys: Sys, cid: string, runtimeDir: string | undefined) {
    this.#sys = sys;
    this.#name = socketName(cid);
    this.#runtimeDir = runtimeDir;
    const directoryFd = openDirectory(runtimeDir, true);
    const path = `/proc/self/fd/${directoryFd}/${this.#name}`;
    const fd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
    try {
      if (fd < 0) throw new ConmonError('SESSIONS', 'Failed to create session socket', { reason: sys.strerror(fd) });
      fchmodSync(fd, 0o700); // the socket file is born with it
      let bound = sys.bind(fd, path);
      if (bound === EADDRINUSE && isLeft(sys, path)) {
        unlinkSync(path);
        bound = sys.bind(fd, path);
      }
      const result = bound < 0 ? bound : sys.listen(fd, BACKLOG);
      if (result < 0)
        throw new ConmonError('SESSIONS', 'Failed to listen on session socket', { reason: sys.strerror(result) });
      this.#inode = lstatSync(path).ino;
    } catch (error) {
      if (fd >= 0) sys.close(fd);
      throw error;
    } finally {
      closeSync(directoryFd);
    }
    this.listenFd = fd;
  }

  /** Removes some of the sockets that killed daemons have left beside this one. @returns how many. */
  sweep(): number {
    return this.#open ? this.#inDirectory((directory) => sweep(this.#sys, directory)) : 0;
  }

  /** Nobody can join any longer. The watch of {@link listenFd} must have ended. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#sys.close(this.listenFd);
    try {
      this.#inDirectory((directory) => {
        const path = `${directory}/${this.#name}`;
        // A daemon of a container with the same id may have taken the name.
        if (lstatSync(path).ino === this.#inode) unlinkSync(path);
      });
    } catch {
      // gone already
    }
  }

  /** Opened anew each time: an fd that is kept for the container's life would be used twice. Throws when it is not ours. */
  #inDirectory<Result>(use: (path: string) => Result): Result {
    const fd = openDirectory(this.#runtimeDir, false);
    try {
      return use(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }
}
