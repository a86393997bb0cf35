/**
 * Numbers of the Linux ABI, on which x86-64 and arm64 agree. node:os names some of them too, but costs 0.3 ms before
 * the runtime is executed (measured 2026-11). Source: the kernel's uapi headers. No code.
 */

/** Results of system calls are negative errnos: these are, too. */
export const ESRCH = -3;
export const EINTR = -4;
export const EBADF = -9;
export const ECHILD = -10;
export const EAGAIN = -11;
export const ENOMEM = -12;
export const EIO = -5;
export const EPERM = -1;
export const EEXIST = -17;
export const EINVAL = -22;
export const EROFS = -30;
export const ELOOP = -40;
export const EPIPE = -32;
export const ENOENT = -2;
export const EADDRINUSE = -98;
export const ETIMEDOUT = -110;
export const ECONNREFUSED = -111;
export const ENOTSOCK = -88;
export const EMSGSIZE = -90;
export const ENOBUFS = -105;
export const ENOSPC = -28;
export const EDQUOT = -122;

export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGKILL = 9;
export const SIGTERM = 15;

export const POLLIN = 0x1;
export const POLLOUT = 0x4;
export const POLLERR = 0x8;
export const POLLHUP = 0x10;
export const POLLRDHUP = 0x2000;
export const POLLNVAL = 0x20;

export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;

export const FALLOC_FL_KEEP_SIZE = 1;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const RESOLVE_NO_MAGICLINKS = 0x2;
export const RESOLVE_NO_SYMLINKS = 0x4;
/** Linux 5.12. */
export const RESOLVE_CACHED = 0x20;
export const RENAME_NOREPLACE = 1;
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;
export const S_IWOTH = 0o002;
export const O_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = O_CLOEXEC;
export const EFD_NONBLOCK = 0o4000;

export const IN_MODIFY = 0x2;
export const IN_CLOEXEC = O_CLOEXEC;
export const IN_NONBLOCK = 0o4000;

export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const F_GETPIPE_SZ = 1032;
export const F_ADD_SEALS = 1033;
/** Only a memfd, or another file in memory, has seals. */
export const F_GET_SEALS = 1034;
/** F_SEAL_SEAL, _SHRINK, _GROW and _WRITE: nothing about the file can change any longer. */
export const F_SEAL_ALL = 0xf;
export const FD_CLOEXEC = 1;
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;

/** madvise: private pages of no file are given back, and are zero when they are used again. */
export const MADV_DONTNEED = 4;

export const PR_SET_PDEATHSIG = 1;
export const PR_SET_CHILD_SUBREAPER = 36;

export const WNOHANG = 1;

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = O_CLOEXEC;

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

/** getsockopt: what its packets may take, as SIOCOUTQ counts. */
export const SO_SNDBUF = 7;
/** getsockopt: who is at the other end, and a pidfd of it (Linux 6.5). */
export const SO_PEERCRED = 17;
export const SO_PEERPIDFD = 77;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;

/** The largest fd number that close_range takes. */
export const FD_MAX = 0xffffffff;

/** sched(7): runs as often as others, but never takes the CPU from one that has just become ready. */
export const SCHED_BATCH = 3;
