/**
 * Who wants to join: whether the process at the other end of a session socket is such that a runtime started by this
 * daemon is what it would have started itself (docs/adr/0035-sessions.md): same user, groups, capabilities, namespaces,
 * root, limits, priority. Reads /proc; main thread; never waits.
 */

import { closeSync, constants, openSync, statfsSync } from 'node:fs';
import { ConmonError } from '../diag/error.ts';
import {
  AT_FDCWD,
  EINVAL,
  EMSGSIZE,
  ENOENT,
  O_CLOEXEC,
  O_PATH,
  POLLIN,
  SO_PEERCRED,
  SO_PEERPIDFD,
} from '../native/constants.ts';
import { STAT_WORDS, StatWord } from '../native/files.ts';
import type { Sys, SysResult } from '../native/sys.ts';

/** The longest is status, of 1.5 KiB; with hundreds of groups, and cgroups with long names, some more. */
const PROC_BYTES = 16384;
/** In the order in which they are compared. */
const LOOKS = ['namespaces', 'credentials', 'limits', 'priority', 'label', 'root', 'audit'] as const;
type Look = (typeof LOOKS)[number];
/** Others may change our limits (prlimit), priority, affinity (in credentials' file), root (pivot_root) at any time, and not these. */
const LASTING: readonly Look[] = ['namespaces', 'label', 'audit'];
const NAMESPACES = ['mnt', 'user', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'time'] as const;
/** Lines of /proc/PID/status in which both must agree. */
const STATUS =
  /^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Cpus_allowed|Mems_allowed):.*$/gm;
/** Without a filter, which cannot be compared. */
const NO_SECCOMP = /^Seccomp:\s*0$/m;
/** Has its own place in the hand-over; Node raises its own. */
const OPEN_FILES = /^Max open files.*$/m;
/** As many CPUs as a kernel can have (NR_CPUS, 8192), as many nodes of memory (1024); a link of /proc/PID/ns has 20 bytes. */
const SCRATCH_BYTES = 1024;
const NODE_BYTES = 128;
const CGROUP_ROOTS = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'];
const CGROUP2_MAGIC = 0x63677270;

/** A process that waits at the other end; its pid stays its own as long as `pidfd` is not ready. */
export interface Peer {
  readonly pid: number;
  /** -1 before Linux 6.5. The caller's to close. */
  readonly pidfd: number;
}

/** Throws ConmonError PEER when it is another user's, or cannot be told. */
export function peerOf(sys: Sys, fd: number): Peer {
  const credentials = new Int32Array(3);
  const result = sys.getsockopt(fd, SO_PEERCRED, credentials);
  const [pid = 0, uid, gid] = credentials;
  if (result < 0 || pid <= 0 || uid !== process.geteuid?.() || gid !== process.getegid?.())
    throw new ConmonError('PEER', 'the other end is of another user or place');
  const pidfd = new Int32Array(1);
  return { pid, pidfd: sys.getsockopt(fd, SO_PEERPIDFD, pidfd) < 0 ? -1 : (pidfd[0] ?? -1) };
}

/** A process in /proc: paths in its directory begin with `prefix`, from `directoryFd`. `pid` is 0 for this one. */
interface Place {
  readonly directoryFd: number;
  readonly prefix: string;
  readonly pid: number;
}

const OURS: Place = { directoryFd: AT_FDCWD, prefix: '/proc/self/', pid: 0 };

/** Looks at processes in /proc, each file with three system calls, and asks the kernel itself where that is cheaper. */
export class Peers {
  readonly #sys: Sys;
  readonly #text = Buffer.alloc(PROC_BYTES);
  readonly #scratch = Buffer.alloc(SCRATCH_BYTES);
  readonly #stat = new BigInt64Array(STAT_WORDS);
  /** Of what only this process can change about itself, and never does: how it looks. */
  readonly #own = new Map<Look, string>();
  /** CPUs and memory that we had when our credentials were looked at: others may change nothing else in them. */
  #ownResources = '';

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Throws ConmonError PEER with what differs. */
  check({ pid, pidfd }: Peer): void {
    const sys = this.#sys;
    // Whatever is opened in this directory is of this process, or of none when it has gone.
    const flags = O_PATH | constants.O_DIRECTORY | O_CLOEXEC;
    const directoryFd = sys.openat(AT_FDCWD, `/proc/${pid}`, flags, 0);
    if (directoryFd < 0) throw new ConmonError('PEER', 'the launcher has gone', { reason: sys.strerror(directoryFd) });
    try {
      this.#compare({ directoryFd, prefix: '', pid });
    } finally {
      sys.close(directoryFd);
    }
    if (pidfd === -1) return;
    const set = Int32Array.of(pidfd, POLLIN);
    if (sys.poll(set, 1, 0) !== 0) throw new ConmonError('PEER', 'the launcher has gone');
  }

  #compare(theirs: Place): void {
    const looks = this.#looks;
    const credentials = looks.credentials(theirs);
    for (const name of LOOKS) {
      const own = this.#ownLook(name);
      if ((name === 'credentials' ? credentials : looks[name](theirs)) !== own)
        throw new ConmonError('PEER', `the launcher has other ${name}`);
    }
    if (!NO_SECCOMP.test(credentials)) throw new ConmonError('PEER', 'the launcher has a seccomp filter');
  }

  #ownLook(name: Look): string {
    const resources = name === 'credentials' ? this.#resources() : undefined;
    const known = this.#own.get(name);
    if (known !== undefined && (resources === undefined || resources === this.#ownResources)) return known;
    const look = this.#looks[name](OURS);
    if (LASTING.includes(name) || resources !== undefined) this.#own.set(name, look);
    if (resources !== undefined) this.#ownResources = resources;
    return look;
  }

  /** The CPUs and the memory that this thread, and so the process, may use: what changes in credentials' file. */
  #resources(): string {
    const { schedGetaffinity, memsAllowed } = this.#sys;
    const bytes = this.#scratch;
    const length = schedGetaffinity(0, bytes);
    if (length < 0) throw new ConmonError('PEER', 'our CPUs cannot be told', { reason: this.#sys.strerror(length) });
    const cpus = bytes.toString('latin1', 0, length);
    // Without NUMA nobody can change it.
    return memsAllowed(bytes) < 0 ? cpus : `${cpus} ${bytes.toString('latin1', 0, NODE_BYTES)}`;
  }

  /** What is compared, each as one text. Throw when the process is gone. */
  readonly #looks: Readonly<Record<Look, (place: Place) => string>> = {
    namespaces: (place) => {
      let all = '';
      for (const name of NAMESPACES) all += this.#link(place, name);
      return all;
    },
    credentials: (place) => (this.#file(place, 'status').match(STATUS) ?? []).join('\n'),
    limits: (place) => this.#file(place, 'limits').replace(OPEN_FILES, ''),
    priority: ({ pid }) => {
      const [nice, policy] = [this.#sys.getpriority(pid), this.#sys.schedGetscheduler(pid)];
      if (nice < 0 || policy < 0) throw new ConmonError('PEER', 'the launcher has gone');
      return `${nice} ${policy}`;
    },
    label: (place) => this.#fileIfThere(place, 'attr/current'), // none without a security module
    /** Who logged in, in the audit trail: children inherit it. */
    audit: (place) => this.#fileIfThere(place, 'loginuid'),
    root: ({ directoryFd, prefix }) => {
      const result = this.#sys.fstatat(directoryFd, prefix === '' ? 'root/.' : '/', 0, this.#stat);
      if (result < 0) throw new ConmonError('PEER', 'the launcher has gone', { reason: this.#sys.strerror(result) });
      return `${this.#stat[StatWord.device]}:${this.#stat[StatWord.inode]}`;
    },
  };

  /** What a namespace is called, with an end; '' for one that this kernel does not know. */
  #link({ directoryFd, prefix }: Place, name: string): string {
    const length = this.#sys.readlinkat(directoryFd, `${prefix}ns/${name}`, this.#scratch);
    if (length === ENOENT) return '';
    if (length < 0)
      throw new ConmonError('PEER', `namespace ${name} is not told`, { reason: this.#sys.strerror(length) });
    return this.#scratch.toString('latin1', 0, length);
  }

  #file({ directoryFd, prefix }: Place, name: string): string {
    const path = prefix + name;
    const text = this.#tryRead(directoryFd, path);
    if (typeof text === 'string') return text;
    throw new ConmonError('PEER', `Failed to read ${path}`, { path, reason: this.#sys.strerror(text) });
  }

  /** '' when the kernel knows no such thing. */
  #fileIfThere(place: Place, name: string): string {
    const text = this.#tryRead(place.directoryFd, place.prefix + name);
    return text === ENOENT || text === EINVAL ? '' : typeof text === 'string' ? text : this.#file(place, name);
  }

  /** A file of /proc that is made whole for one read. Throws ConmonError PEER. */
  read(path: string): string {
    return this.#file({ directoryFd: AT_FDCWD, prefix: '', pid: 0 }, path);
  }

  #tryRead(directoryFd: number, path: string): string | SysResult {
    const sys = this.#sys;
    const fd = sys.openat(directoryFd, path, constants.O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return fd;
    const length = sys.read(fd, this.#text, 0, this.#text.length);
    sys.close(fd);
    if (length < 0) return length;
    // What does not fit was cut: two that are cut alike may differ behind it.
    if (length === this.#text.length) return EMSGSIZE;
    return this.#text.toString('latin1', 0, length);
  }

  /**
   * Where the runtime must be born so that it is in the launcher's cgroups: -1 when these are ours, else a directory of
   * cgroup v2, the caller's to close. Throws ConmonError PEER when they differ in version 1, which knows no such birth.
   */
  cgroupOf(pid: number): number {
    const [theirs, ours] = [pid, process.pid].map((each) => this.read(`/proc/${each}/cgroup`));
    return theirs === undefined || ours === undefined || theirs === ours ? -1 : openCgroup(theirs, ours);
  }
}

/** The texts are of /proc/PID/cgroup, and differ. As {@link Peers.cgroupOf}. */
function openCgroup(theirs: string, ours: string): number {
  const path = /^0::(\/.*)$/m.exec(theirs)?.[1];
  const rest = (text: string | undefined): string | undefined => text?.replace(/^0::.*\n/m, '');
  if (path === undefined || path.startsWith('/..') || rest(theirs) !== rest(ours))
    throw new ConmonError('PEER', 'the launcher is in other cgroups');
  const root = CGROUP_ROOTS.find((each) => isCgroup2(each));
  if (root === undefined) throw new ConmonError('PEER', 'the cgroup of the launcher cannot be found');
  const fd = openSync(`${root}${path}`, constants.O_RDONLY | constants.O_DIRECTORY | O_CLOEXEC);
  try {
    // What clone3 will ask for, of both cgroups' nearest common one too; without it the launcher's caller has moved what we may not.
    for (const each of [path, commonCgroup(path, /^0::(\/.*)$/m.exec(ours)?.[1] ?? '/')])
      closeSync(openSync(`${root}${each}/cgroup.procs`, constants.O_WRONLY | O_CLOEXEC));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** cgroups(7), delegation: who moves a process must be allowed to write there. */
function commonCgroup(one: string, other: string): string {
  const [a, b] = [one.split('/'), other.split('/')];
  const at = a.findIndex((name, i) => name !== b[i]);
  return (at === -1 ? a : a.slice(0, at)).join('/');
}

function isCgroup2(path: string): boolean {
  try {
    return statfsSync(path).type === CGROUP2_MAGIC;
  } catch {
    return false;
  }
}
