/**
 * The typed face of native/sys.c, its only caller. Any thread may use it. Every function answers the system call's
 * result or a negative errno and never throws for what the kernel says; EINTR is taken care of here where a retry is
 * right. Code elsewhere takes a `Sys` as a parameter, so that a test can hand in one that says ENOSPC.
 */

import { join } from 'node:path';
import { EINTR, EINVAL } from './constants.ts';
import { libexecDir } from './libexec.ts';

/** A successful result (>= 0) or a negative errno. */
export type SysResult = number;

/** A watched fd, or watched waits; opaque. */
export type Watch = { readonly watch: unique symbol };

/** How {@link Sys.spawn} starts a process. All buffers belong to the caller and are not kept. */
export interface SpawnSpec {
  /** Executed as it is: no PATH look-up. */
  readonly path: string;
  /** NUL-terminated strings one after the other, argv[0] first. */
  readonly argv: Uint8Array;
  /** NUL-terminated `NAME=value` strings one after the other. */
  readonly envp: Uint8Array;
  /** Pairs of (child's fd, our fd), at most 256, in any order. Equal numbers keep that fd open. */
  readonly fdMap: Int32Array;
  /** Fds >= 3 that stay open in the child, ascending, those of `fdMap` by the child's number; all others are closed. */
  readonly keepFds: Int32Array;
  /** Signal the child gets when the calling thread ends; 0 = none. Spawn from the main thread only (design, section 6). */
  readonly deathSignal: number;
  /** Offset in `envp` of at least 12 bytes into which the child writes its own pid and a NUL; -1 = none. */
  readonly listenPidOffset: number;
  /** What the child writes to /proc/self/oom_score_adj; '' = nothing. */
  readonly oomScoreAdj: string;
  /** The child's RLIMIT_NOFILE; -1 = unlimited, hard 0 = leave as it is. Node raises its own soft limit at start. */
  readonly nofileSoft: number;
  readonly nofileHard: number;
  /** The child's working directory; absent or -1 = ours. */
  readonly cwdFd?: number;
  /** The child leads a session and process group of its own; absent = it stays in ours. */
  readonly newSession?: boolean;
  /** A directory of cgroup v2 that the child is born in (clone3, CLONE_INTO_CGROUP); absent or -1 = ours. */
  readonly cgroupFd?: number;
}

export interface Sys {
  /** read(2) of at most `length` bytes to `bytes[offset..]`; 0 = end. Shared memory is fine. */
  read(fd: number, bytes: Uint8Array, offset: number, length: number): SysResult;
  /** write(2) from `bytes[offset..]`; may write less than `length`. */
  write(fd: number, bytes: Uint8Array, offset: number, length: number): SysResult;
  /**
   * From now on reads and writes of exactly this array, of shared memory that does not grow, take a shorter way on this thread, if no
   * other one does already. It is held until {@link forget}. @returns 0, or EINVAL for another kind of memory.
   */
  keep(bytes: Uint8Array): SysResult;
  /** They do no longer, if it is the one that did. */
  forget(bytes: Uint8Array): void;
  /** close(2). Never retried: on Linux the fd is gone even after EINTR. */
  close(fd: number): SysResult;
  dup3(fd: number, target: number, flags: number): SysResult;
  /** pipe2(2): fds[0] is the read end, fds[1] the write end. */
  pipe2(fds: Int32Array, flags: number): SysResult;
  fcntl(fd: number, command: number, argument: number): SysResult;
  /** close_range(2); `last` up to FD_MAX. */
  closeRange(first: number, last: number, flags: number): SysResult;
  /** ioctl(FIONREAD): bytes waiting to be read. */
  fionread(fd: number): SysResult;
  mkfifo(path: string, mode: number): SysResult;
  /** memfd_create(2): a file in memory; `name` is for /proc alone. Seals: fcntl F_ADD_SEALS. */
  memfdCreate(name: string, flags: number): SysResult;
  /** madvise(2) on all of `bytes`, which must begin at a page and not be empty. */
  madvise(bytes: Uint8Array, advice: number): SysResult;
  /** openat(2): the fd. `mode` counts with O_CREAT. */
  openat(dirFd: number, path: string, flags: number, mode: number): SysResult;
  /** openat2(2) with RESOLVE_* flags. ENOSYS before Linux 5.6. */
  openat2(dirFd: number, path: string, flags: number, mode: number, resolve: number): SysResult;
  /** renameat2(2) with RENAME_* flags, of which a file system may know none (EINVAL). */
  renameat2(fromDirFd: number, from: string, toDirFd: number, to: string, flags: number): SysResult;
  unlinkat(dirFd: number, path: string, flags: number): SysResult;
  /** fstatat(2): out[0] device, [1] inode, [2] mode, [3] links, [4] size. */
  fstatat(dirFd: number, path: string, flags: number, out: BigInt64Array): SysResult;
  /** fstatfs(2): f_type, what kind of file system it is on. */
  fstatfs(fd: number): SysResult;
  /** fallocate(2) with FALLOC_FL_* flags; it may wait for the disk. Not every file system can (EOPNOTSUPP). */
  fallocate(fd: number, mode: number, offset: number, length: number): SysResult;
  /** readlinkat(2) into `out`, cut when it does not fit; the length. */
  readlinkat(dirFd: number, path: string, out: Uint8Array): SysResult;
  /** statx(2), STATX_MNT_ID_UNIQUE: the mount that `fd` is in, by a number that is used once. EOPNOTSUPP before Linux 6.8. */
  mountId(fd: number): SysResult;
  /**
   * ppoll(2) without a mask on `count` pairs of (fd, events | revents << 16); a timeout below 0 waits for ever, a fraction counts,
   * to the nanosecond. EINTR answers 0: the caller rechecks.
   * @param lasted gets how long it has waited, ms: who has something urgent to do then need not look at a clock first
   */
  poll(set: Int32Array, count: number, timeoutMs: number, lasted?: Float64Array): SysResult;
  eventfd(initial: number, flags: number): SysResult;
  /** inotify_init1(2): an fd that is readable when a watched file has changed. */
  inotifyInit(flags: number): SysResult;
  /** inotify_add_watch(2); answers the watch descriptor. */
  inotifyAddWatch(fd: number, path: string, mask: number): SysResult;
  /** clock_gettime(2): out[0] seconds, out[1] nanoseconds. */
  clockGettime(clock: number, out: Float64Array): SysResult;
  /** malloc_trim(3): gives what malloc holds free back to the kernel. 1 = there was some. */
  mallocTrim(): SysResult;
  /** v8::Isolate::MemoryPressureNotification: 0 none, 1 moderate, 2 critical, at which V8 collects at once. ENOSYS with another Node. */
  memoryPressure(level: number): SysResult;
  /**
   * v8::V8::SetFlagsFromString: flags of the whole process, also of threads that run. Only such as V8 reads each time that it decides
   * something. ENOSYS with another Node; a flag that V8 does not know is said on stderr.
   */
  setV8Flags(flags: string): SysResult;
  prctl(operation: number, argument: number): SysResult;
  /** The name that ps and top show for this thread, at most 15 bytes. */
  prctlSetName(name: string): SysResult;
  /** waitpid(2): the pid (0 = nothing yet with WNOHANG), status[0] the raw wait status. */
  waitpid(pid: number, options: number, status: Int32Array): SysResult;
  kill(pid: number, signal: number): SysResult;
  getpgid(pid: number): SysResult;
  /** sched_setscheduler(2) of one thread, to a policy that has no priority (SCHED_OTHER, SCHED_BATCH, SCHED_IDLE). */
  schedSetscheduler(tid: number, policy: number): SysResult;
  /** sched_getscheduler(2): the policy of one thread; 0 = the calling one. */
  schedGetscheduler(tid: number): SysResult;
  /** sched_getaffinity(2), a bit a CPU; how many bytes the kernel has for that, EINVAL when `out` has less. */
  schedGetaffinity(tid: number, out: Uint8Array): SysResult;
  /** getpriority(2) of a process, 0 = the calling one: 20 less its nice value, 1 to 40. */
  getpriority(pid: number): SysResult;
  /** get_mempolicy(2), MPOL_F_MEMS_ALLOWED: a bit for each node of memory that this thread may use. ENOSYS without NUMA. */
  memsAllowed(out: Uint8Array): SysResult;
  /** _exit(2): ends the process at once, whatever its threads are waiting for. Answers only when `status` is no number. */
  exitNow(status: number): SysResult;
  /** vfork + execve. The pid, or -errno when the child could not be set up or executed (no zombie is left). */
  spawn(spec: SpawnSpec): SysResult;
  /** socket(AF_UNIX, type, 0). */
  socket(type: number): SysResult;
  socketpair(type: number, fds: Int32Array): SysResult;
  /** bind(2) to a path in the file system; an abstract address cannot be expressed. */
  bind(fd: number, path: string): SysResult;
  connect(fd: number, path: string): SysResult;
  listen(fd: number, backlog: number): SysResult;
  accept4(fd: number, flags: number): SysResult;
  /** getsockopt(2) at SOL_SOCKET into `out`; the bytes that were given. */
  getsockopt(fd: number, name: number, out: Int32Array): SysResult;
  /** setsockopt(SO_SNDTIMEO): how long a send on a blocking socket may wait; 0 = for ever. Then it answers EAGAIN. */
  setSendTimeout(fd: number, milliseconds: number): SysResult;
  /** setsockopt(SO_SNDBUF): the kernel cuts `bytes` at net.core.wmem_max, then doubles them. */
  setSendBuffer(fd: number, bytes: number): SysResult;
  shutdown(fd: number, how: number): SysResult;
  /** sendmsg(2) with `fds` as SCM_RIGHTS (at most 253, usually none). */
  sendmsg(fd: number, bytes: Uint8Array, offset: number, length: number, fds: Int32Array, flags: number): SysResult;
  /**
   * sendmmsg(2) of `messages` messages of `partsPerMessage` parts (at most 8) each; `parts` has an offset into `bytes` and a
   * length for every one. At most 128 messages and 1024 parts.
   * @returns how many messages were sent; an error only when it was the first one's.
   */
  sendmmsg(
    fd: number,
    bytes: Uint8Array,
    parts: Uint32Array,
    partsPerMessage: number,
    messages: number,
    flags: number,
  ): SysResult;
  /**
   * sendmmsg(2) of a record's packets: each is the byte at `typeOffset` of `bytes` and at most `packetBytes` of the `length`
   * (at least 1) at `offset`; at most 128 packets. @returns how many were sent; an error only when it was the first one's.
   */
  sendPackets(
    fd: number,
    bytes: Uint8Array,
    typeOffset: number,
    offset: number,
    length: number,
    packetBytes: number,
    flags: number,
  ): SysResult;
  /** io_setup(2) for `events` writes at once: the context's number is put into the 8 bytes of `context`. */
  ioSetup(events: number, context: Uint8Array): SysResult;
  /** io_destroy(2): waits for the kernel's grace periods, 30 ms. So does the process's end with a context that is left. */
  ioDestroy(context: Uint8Array): SysResult;
  /**
   * io_submit(2) of a record's packets as {@link sendPackets} has them, one write each; all are done when it returns if `fd` is a
   * unix socket that does not block. One that fails does not keep those after it from being sent: {@link ioGetevents} tells.
   * @returns how many were tried.
   */
  ioSubmitPackets(
    context: Uint8Array,
    fd: number,
    bytes: Uint8Array,
    typeOffset: number,
    offset: number,
    length: number,
    packetBytes: number,
  ): SysResult;
  /** io_getevents(2) of what is done: the result of packet i, its bytes or a negative errno, at `results[i]`. @returns how many. */
  ioGetevents(context: Uint8Array, results: Int32Array): SysResult;
  /** ioctl(SIOCOUTQ): what a unix socket is charged for packets that were sent and not read yet, as SO_SNDBUF counts. */
  siocoutq(fd: number): SysResult;
  /** recvmsg(2): fds[0] = how many arrived, fds[1..] = they, close-on-exec; those without room are closed. */
  recvmsg(fd: number, bytes: Uint8Array, offset: number, length: number, fds: Int32Array, flags: number): SysResult;
  /** tcgetattr(3) into at least 64 bytes; answers sizeof(struct termios). */
  tcgetattr(fd: number, out: Uint8Array): SysResult;
  /** tcsetattr(3), TCSANOW, with bytes that tcgetattr gave. */
  tcsetattr(fd: number, attributes: Uint8Array): SysResult;
  /**
   * Calls `onReady` from this thread's event loop each time `fd` can be read or was hung up, or with `writable` each time it can
   * be written, with 0 or a negative errno.
   * @returns a handle for {@link unwatch}, or a negative errno.
   */
  watch(fd: number, onReady: (status: number) => void, writable?: boolean): Watch | SysResult;
  /** Ends a watch, once; before the fd is closed. */
  unwatch(watch: Watch): SysResult;
  /**
   * Calls `onWait` from this thread's event loop each time before it waits, once the handle is armed.
   * @returns a handle for {@link arm}, {@link disarm} and {@link unwatch}, or a negative errno.
   */
  watchWaits(onWait: () => void): Watch | SysResult;
  /** A watch calls again. Of an fd that something else watches meanwhile: EEXIST. */
  arm(watch: Watch): SysResult;
  /** A watch calls no more until it is armed. An fd leaves the event loop's epoll at once. */
  disarm(watch: Watch): SysResult;
  /** uv_backend_fd: readable when this thread's event loop has something to do that is not a timer's. The loop's own. */
  loopFd(): SysResult;
  /**
   * uv_backend_timeout: how many ms this thread's event loop would wait now, -1 = for ever, 0 also when it has something else to
   * do first. Brings the loop's clock up to date, by which its timers go.
   */
  loopTimeout(): SysResult;
  /**
   * fsync(2) on a thread of its own, which stays for a second for the next one; `onDone` is called from this thread's event loop, once, with 0 or a negative errno. `fd` must stay
   * open until then. @returns 0, or a negative errno when there is no thread for it.
   */
  fsyncLater(fd: number, onDone: (result: number) => void): SysResult;
  /**
   * close(2) on a thread of its own, one at a time in the process. @returns 0, and `fd` is that thread's alone; or a negative errno,
   * and it is still the caller's: EAGAIN when one is under way, or when there is no thread for it.
   */
  closeLater(fd: number): SysResult;
  /** Waits until that one has closed. @returns 0 when it has, or when there was none; ETIMEDOUT. */
  awaitClose(timeoutMs: number): SysResult;
  setWindowSize(fd: number, rows: number, columns: number): SysResult;
  /** libc's text for a (positive or negative) errno: `No such file or directory`. */
  strerror(errno: number): string;
}

/** Places in the addon's answers (native/sys.c). */
const SECONDS = 0;
const NANOSECONDS = 1;
const LASTED_MS = 2;

/** The addon's own functions: as in {@link Sys}, but spawn takes its fields one by one. */
interface Addon extends Omit<Sys, 'spawn' | 'forget' | 'keep' | 'poll' | 'clockGettime'> {
  /** What a call has told beside its result, until the next one. */
  readonly answers: Float64Array;
  keep(bytes?: Uint8Array): SysResult;
  readKept(fd: number, offset: number, length: number): SysResult;
  writeKept(fd: number, offset: number, length: number): SysResult;
  poll(set: Int32Array, count: number, timeoutMs: number): SysResult;
  clockGettime(clock: number): SysResult;
  spawn(
    path: string,
    argv: Uint8Array,
    envp: Uint8Array,
    fdMap: Int32Array,
    keepFds: Int32Array,
    deathSignal: number,
    listenPidOffset: number,
    oomScoreAdj: string,
    nofileSoft: number,
    nofileHard: number,
    cwdFd: number,
    newSession: number,
    cgroupFd: number,
  ): SysResult;
}

function loadAddon(): Addon {
  const module: { exports: Partial<Addon> } = { exports: {} };
  // dlopen takes an absolute path and looks nowhere else; require() would need a CommonJS resolver in every bundle.
  process.dlopen(module, join(libexecDir, 'sys.node'));
  return module.exports as Addon;
}

/** Of what TypeScript cannot vouch for, as the addon refuses its own arguments. */
function hasRoom(out: unknown, numbers: number): boolean {
  return out instanceof Float64Array && out.length >= numbers;
}

function open(): Sys {
  const { answers, readKept, writeKept, ...addon } = loadAddon();
  let kept: Uint8Array | undefined;
  return {
    ...addon,
    read(fd, bytes, offset, length) {
      let result: number;
      do result = bytes === kept ? readKept(fd, offset, length) : addon.read(fd, bytes, offset, length);
      while (result === EINTR);
      return result;
    },
    write(fd, bytes, offset, length) {
      let result: number;
      do result = bytes === kept ? writeKept(fd, offset, length) : addon.write(fd, bytes, offset, length);
      while (result === EINTR);
      return result;
    },
    keep(bytes) {
      if (kept !== undefined) return 0;
      const result = addon.keep(bytes);
      if (result === 0) kept = bytes;
      return result;
    },
    forget(bytes) {
      if (bytes !== kept) return;
      kept = undefined;
      addon.keep();
    },
    poll(set, count, timeoutMs, lasted) {
      if (lasted !== undefined && !hasRoom(lasted, 1)) return EINVAL;
      const result = addon.poll(set, count, timeoutMs);
      if (lasted !== undefined) lasted[0] = answers[LASTED_MS] ?? 0;
      return result === EINTR ? 0 : result;
    },
    clockGettime(clock, out) {
      if (!hasRoom(out, 2)) return EINVAL;
      const result = addon.clockGettime(clock);
      out[0] = answers[SECONDS] ?? 0;
      out[1] = answers[NANOSECONDS] ?? 0;
      return result;
    },
    sendmmsg(fd, bytes, parts, partsPerMessage, messages, flags) {
      let result: number;
      do result = addon.sendmmsg(fd, bytes, parts, partsPerMessage, messages, flags);
      while (result === EINTR);
      return result;
    },
    sendPackets(fd, bytes, typeOffset, offset, length, packetBytes, flags) {
      let result: number;
      do result = addon.sendPackets(fd, bytes, typeOffset, offset, length, packetBytes, flags);
      while (result === EINTR);
      return result;
    },
    awaitClose(timeoutMs) {
      let result: number;
      do result = addon.awaitClose(timeoutMs);
      while (result === EINTR);
      return result;
    },
    waitpid(pid, options, status) {
      let result: number;
      do result = addon.waitpid(pid, options, status);
      while (result === EINTR);
      return result;
    },
    strerror: (errno) => addon.strerror(Math.abs(errno)),
    spawn: (s) =>
      addon.spawn(
        s.path,
        s.argv,
        s.envp,
        s.fdMap,
        s.keepFds,
        s.deathSignal,
        s.listenPidOffset,
        s.oomScoreAdj,
        s.nofileSoft,
        s.nofileHard,
        s.cwdFd ?? -1,
        s.newSession === true ? 1 : 0,
        s.cgroupFd ?? -1,
      ),
  };
}

/** Why a node:fs call failed, in libc's words as C programs print them; the message of anything else that was thrown. */
export function failureText(error: unknown): string {
  if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') return sys.strerror(error.errno);
  return error instanceof Error ? error.message : String(error);
}

/** The real thing. Loading costs 0.3 ms; a thread that imports this module has its own. */
export const sys: Sys = open();
