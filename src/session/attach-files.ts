/**
 * The three files through which an engine reaches a running container: attach socket, ctl and winsz fifos, in the
 * bundle, and the short symlink by which it finds them (contract section 5). Main thread; made before the runtime runs.
 */

import { closeSync, constants, fchmodSync, fstatSync, lstatSync, openSync, symlinkSync, unlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Options } from '../cli/options.ts';
import { ConmonError } from '../diag/error.ts';
import { O_CLOEXEC, O_PATH, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../native/constants.ts';
import { failureText, type Sys } from '../native/sys.ts';

/** sun_path without its NUL: a symlink of exactly this length would leave no room (contract section 5). */
const SUN_PATH_MAX = 107;
const STDIN = 0;
const STDOUT = 1;
/** As conmon C's. */
const BACKLOG = 10;
const FIFO_MODE = 0o660;

/** A file that we have made: a later conmon's of the same path is another one. */
interface Made {
  readonly path: string;
  readonly inode: number;
  /** When a symlink was made: its inode's number may come again. Sockets and fifos keep theirs while they are open. */
  readonly linkMs: number;
}

export class AttachFiles {
  #listenFd: number;
  /** Fifos: non-blocking, for reading. */
  readonly ctlFd: number;
  readonly winszFd: number;
  readonly #sys: Sys;
  #socketOpen = false;
  /** Symlink and socket. */
  readonly #ways: Made[] = [];
  readonly #fifos: Made[] = [];
  /** The fifos' open ends. */
  readonly #fifoFds: number[] = [];

  /** Makes the files anew. Throws ConmonError ATTACH, with nothing of its own left. */
  constructor(sys: Sys, options: Options) {
    this.#sys = sys;
    const bundle = resolve(options.bundle ?? '');
    try {
      if (!options.fullAttach) replaceSymlink(bundle, symlinkPath(options), this.#ways);
      this.#listenFd = listen(sys, bundle, this.#ways);
      this.#socketOpen = true;
      this.ctlFd = makeFifo(sys, join(bundle, 'ctl'), this.#fifos, this.#fifoFds);
      this.winszFd = makeFifo(sys, join(bundle, 'winsz'), this.#fifos, this.#fifoFds);
    } catch (error) {
      this.close();
      this.remove();
      throw error;
    }
  }

  /** The attach socket's. */
  get listenFd(): number {
    return this.#listenFd;
  }

  /**
   * The attach socket becomes conmon's own stdin, which nobody reads and a mistaken reader could do no harm to: one fd less than
   * with /dev/null there (docs/adr/0060-stdin-is-the-attach-socket.md). Before anybody polls {@link listenFd}, and with
   * /dev/null as stdout. @returns false when it could not, and stdin is what it was.
   */
  becomeStdin(): boolean {
    if (this.#sys.dup3(this.#listenFd, STDIN, O_CLOEXEC) < 0) return false;
    this.#sys.close(this.#listenFd);
    this.#listenFd = STDIN;
    return true;
  }

  /** Nobody is accepted any longer; who is in the backlog hears of it. */
  closeSocket(): void {
    if (!this.#socketOpen) return;
    this.#socketOpen = false;
    // What is opened next must not become stdin. No fd has to be free for this.
    if (this.#listenFd === STDIN) this.#sys.dup3(STDOUT, STDIN, 0);
    else this.#sys.close(this.#listenFd);
  }

  /** Closes everything, for a process that goes on. */
  close(): void {
    this.closeSocket();
    for (const fd of this.#fifoFds.splice(0)) this.#sys.close(fd);
  }

  /**
   * The end of every session: nobody can attach. The fifos are the engine's to remove, with the bundle. What a later
   * conmon has made in the meantime stays: an engine may start a container again as soon as it knows of its end.
   */
  removeSocket(): void {
    for (const each of this.#ways.splice(0)) discardMade(each);
  }

  /** Removes everything: there is no container. */
  remove(): void {
    this.removeSocket();
    for (const each of this.#fifos.splice(0)) discardMade(each);
  }
}

/** `SOCKET_DIR/CUUID`, cut by one character where it would leave sun_path no room. */
function symlinkPath(options: Options): string {
  const path = join(options.socketDirPath, options.cuuid ?? '');
  return Buffer.byteLength(path) === SUN_PATH_MAX ? path.slice(0, -1) : path;
}

/** Like the others: notes in `made` what it has made. */
function replaceSymlink(target: string, path: string, made: Made[]): void {
  discard(path);
  try {
    symlinkSync(target, path);
  } catch (error) {
    throw new ConmonError('ATTACH', `Failed to create symlink ${path}:`, { reason: failureText(error) });
  }
  note(path, made);
}

/** Through /proc/self/fd, so that a bundle's path may be of any length. */
function listen(sys: Sys, bundle: string, made: Made[]): number {
  const directoryFd = openSync(bundle, constants.O_DIRECTORY | O_PATH | O_CLOEXEC);
  const path = `/proc/self/fd/${directoryFd}/attach`;
  try {
    discard(path);
    const fd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) throw new ConmonError('ATTACH', 'Failed to create attach socket', { reason: sys.strerror(fd) });
    fchmodSync(fd, 0o700); // the socket file is born with it
    const bound = sys.bind(fd, path);
    if (bound >= 0) note(path, made, join(bundle, 'attach'));
    const result = bound < 0 ? bound : sys.listen(fd, BACKLOG);
    if (result < 0) {
      sys.close(fd);
      throw new ConmonError('ATTACH', `Failed to listen on attach socket ${bundle}/attach:`, {
        reason: sys.strerror(result),
      });
    }
    return fd;
  } finally {
    closeSync(directoryFd);
  }
}

/** Each end is noted in `opened` as soon as it is there. */
function makeFifo(sys: Sys, path: string, made: Made[], opened: number[]): number {
  discard(path);
  const result = sys.mkfifo(path, FIFO_MODE);
  if (result < 0) throw new ConmonError('ATTACH', `Failed to mkfifo at ${path}:`, { reason: sys.strerror(result) });
  note(path, made);
  // For writing too, so that it never reports a hang-up (man 7 fifo: Linux opens it so without waiting).
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW | O_CLOEXEC);
  opened.push(fd);
  if (!fstatSync(fd).isFIFO()) throw new ConmonError('ATTACH', `${path} is no fifo any longer`);
  fchmodSync(fd, FIFO_MODE); // umask 0022 took the group's w
  return fd;
}

/** @param name where it is found later, when `path` is of the moment. */
function note(path: string, made: Made[], name = path): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found) made.push({ path: name, inode: found.ino, linkMs: found.isSymbolicLink() ? found.mtimeMs : 0 });
}

function discardMade({ path, inode, linkMs }: Made): void {
  try {
    const found = lstatSync(path);
    if (found.ino === inode && (!found.isSymbolicLink() || found.mtimeMs === linkMs)) unlinkSync(path);
  } catch {
    // It is gone, with its bundle perhaps.
  }
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is not there; whatever else keeps it shows when the new one is made.
  }
}
