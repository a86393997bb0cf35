/**
 * Who wants to join: whether the process at the other end of a session socket is such that a runtime started by this
 * daemon is what it would have started itself (docs/adr/0035-sessions.md): same user, groups, capabilities, namespaces,
 * root, limits, priority. Reads /proc; main thread; never waits.
 */

import { closeSync, constants, openSync, readlinkSync, statfsSync, statSync } from 'node:fs';
import { ConmonError } from '../diag/error.ts';
import { AT_FDCWD, EMSGSIZE, O_CLOEXEC, POLLIN, SO_PEERCRED, SO_PEERPIDFD } from '../native/constants.ts';
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
/** Fields of /proc/PID/stat behind the name: nice, and the scheduling policy. */
const NICE_FIELD = 16;
const POLICY_FIELD = 38;
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

/** Looks at processes in /proc, each file with three system calls. */
export class Peers {
  readonly #sys: Sys;
  readonly #text = Buffer.alloc(PROC_BYTES);
  /** Of what only this process can change about itself, and never does: how it looks. */
  readonly #own = new Map<Look, string>();

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Throws ConmonError PEER with what differs. */
  check({ pid, pidfd }: Peer): void {
    const looks = this.#looks;
    const credentials = looks.credentials(pid);
    const differing = LOOKS.find((name) => {
      const theirs = name === 'credentials' ? credentials : looks[name](pid);
      return theirs !== this.#ownLook(name);
    });
    if (differing !== undefined) throw new ConmonError('PEER', `the launcher has other ${differing}`);
    if (!NO_SECCOMP.test(credentials)) throw new ConmonError('PEER', 'the launcher has a seccomp filter');
    if (pidfd === -1) return;
    const set = Int32Array.of(pidfd, POLLIN);
    if (this.#sys.poll(set, 1, 0) !== 0) throw new ConmonError('PEER', 'the launcher has gone');
  }

  #ownLook(name: Look): string {
    const known = this.#own.get(name);
    if (known !== undefined) return known;
    const look = this.#looks[name](process.pid);
    if (LASTING.includes(name)) this.#own.set(name, look);
    return look;
  }

  /** What is compared, each as one text. Throw when the process is gone. */
  readonly #looks: Readonly<Record<Look, (pid: number) => string>> = {
    namespaces: (pid) => NAMESPACES.map((name) => linkOf(`/proc/${pid}/ns/${name}`)).join(' '),
    credentials: (pid) => (this.read(`/proc/${pid}/status`).match(STATUS) ?? []).join('\n'),
    limits: (pid) => this.read(`/proc/${pid}/limits`).replace(OPEN_FILES, ''),
    priority: (pid) => {
      const text = this.read(`/proc/${pid}/stat`);
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      return `${fields[NICE_FIELD]} ${fields[POLICY_FIELD]}`;
    },
    label: (pid) => this.#readIfThere(`/proc/${pid}/attr/current`), // none without a security module
    /** Who logged in, in the audit trail: children inherit it. */
    audit: (pid) => this.#readIfThere(`/proc/${pid}/loginuid`),
    root: (pid) => {
      const { dev, ino } = statSync(`/proc/${pid}/root/.`);
      return `${dev}:${ino}`;
    },
  };

  /** A file of /proc that is made whole for one read. Throws ConmonError PEER. */
  read(path: string): string {
    const text = this.#tryRead(path);
    if (typeof text === 'string') return text;
    throw new ConmonError('PEER', `Failed to read ${path}`, { path, reason: this.#sys.strerror(text) });
  }

  /** '' when the kernel knows no such thing. */
  #readIfThere(path: string): string {
    const text = this.#tryRead(path);
    return typeof text === 'string' ? text : '';
  }

  #tryRead(path: string): string | SysResult {
    const sys = this.#sys;
    const fd = sys.openat(AT_FDCWD, path, constants.O_RDONLY | O_CLOEXEC, 0);
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

/** '' for a namespace that this kernel does not know. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

/** The texts are of /proc/PID/cgroup, and differ. As {@link Peers.cgroupOf}. */
function openCgroup(theirs: string, ours: string): number {
  const path = /^0::(\/.*)$/m.exec(theirs)?.[1];
  const rest = (text: string | undefined): string | undefined => text?.replace(/^0::.*\n/m, '');
  if (path === undefined || path.startsWith('/../') || rest(theirs) !== rest(ours))
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
