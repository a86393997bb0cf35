/**
 * Makes an OCI bundle for a command of this machine: the root is empty but for the host's programs and libraries,
 * mounted read-only, so that any command works as it does here. A runtime without isolation just runs it.
 * It writes below the directory it is given; it mounts nothing itself.
 */

import { lstatSync, mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface BundleSpec {
  /** The bundle's directory; made here. */
  readonly path: string;
  readonly args: readonly string[];
  readonly terminal: boolean;
  readonly hostname: string;
  /** More files and directories of the host that the command needs, at the same paths, read-only. */
  readonly extraPaths: readonly string[];
}

interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** The root of a Linux machine that programs need; those that are symbolic links (merged /usr) are copied as such. */
const HOST_PATHS = ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/usr', '/etc', '/opt'];
const WRITABLE = ['/tmp', '/run', '/var', '/root', '/home'];
const KERNEL_MOUNTS: readonly Mount[] = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
  },
  { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'mode=1777'] },
];
/** What Podman and CRI-O give a container of root. */
const CAPABILITIES = [
  ...['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'],
  ...['CAP_SETFCAP', 'CAP_SETGID', 'CAP_SETPCAP', 'CAP_SETUID', 'CAP_SYS_CHROOT'],
];

/** Writes `path/config.json` and `path/rootfs`. The directories in rootfs are empty mount points, nothing else. */
export function writeBundle(spec: BundleSpec): void {
  const rootfs = join(spec.path, 'rootfs');
  mkdirSync(rootfs, { recursive: true, mode: 0o755 });
  const mounts = [...KERNEL_MOUNTS, ...WRITABLE.map(temporaryMount), ...hostMounts(rootfs, HOST_PATHS)];
  for (const { destination } of mounts) mkdirSync(join(rootfs, destination), { recursive: true });
  // After the temporary file systems, which may hide the place where these lie.
  mounts.push(...hostMounts(rootfs, spec.extraPaths));
  writeFileSync(join(spec.path, 'config.json'), `${JSON.stringify(config(spec, mounts), null, 2)}\n`);
}

function config(spec: BundleSpec, mounts: readonly Mount[]): unknown {
  const { PATH, HOME, TERM, LANG } = process.env;
  return {
    // crun 1.8 refuses 1.1 and later.
    ociVersion: '1.0.2',
    process: {
      terminal: spec.terminal,
      user: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
      args: spec.args,
      env: [
        `PATH=${PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}`,
        `HOME=${HOME ?? '/root'}`,
        ...(spec.terminal ? [`TERM=${TERM ?? 'xterm'}`] : []),
        ...(LANG === undefined ? [] : [`LANG=${LANG}`]),
      ],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: spec.hostname,
    mounts,
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  };
}

function temporaryMount(destination: string): Mount {
  return { destination, type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777'] };
}

function hostMounts(rootfs: string, paths: readonly string[]): readonly Mount[] {
  const mounts: Mount[] = [];
  for (const path of paths) {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(path), join(rootfs, path));
    else mounts.push({ destination: path, type: 'bind', source: path, options: ['rbind', 'rprivate', 'ro'] });
  }
  return mounts;
}
