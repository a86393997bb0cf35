/**
 * OCI bundles for the real runtimes: a busybox root file system, shared read-only by all containers of a test process,
 * and a config.json that runc and an old crun accept on a machine with few capabilities.
 * A container sees its case's workspace at the same path as the host does.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Workspace } from './workspace.ts';

const BUSYBOX = '/bin/busybox';

export interface ProcessOptions {
  /** argv of the container's init; /bin/sh, cat and the rest of busybox are there. */
  readonly args: readonly string[];
  /** NAME=VALUE, in addition to PATH. */
  readonly env?: readonly string[];
  readonly terminal?: boolean;
  readonly uid?: number;
  readonly gid?: number;
  readonly cwd?: string;
  /** Bytes that its cgroup may use, swap included. */
  readonly memoryLimit?: number;
  /** OCI namespace types. Without `pid` the container shares the machine's processes. */
  readonly namespaces?: readonly string[];
}

let rootfs: string | undefined;

/** Makes the root file system once per test process; it goes when the process does. */
function sharedRootfs(): string {
  if (rootfs !== undefined) {
    return rootfs;
  }
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'conmon-rootfs-')));
  // Containers of other users walk through it.
  chmodSync(directory, 0o755);
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const name of ['bin', 'proc', 'dev', 'etc', 'sys', 'root', `.${realpathSync(tmpdir())}`]) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  copyFileSync(BUSYBOX, join(directory, 'bin/busybox'));
  for (const applet of execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8', timeout: 10_000 }).trim().split('\n')) {
    if (applet !== 'busybox') {
      symlinkSync('busybox', join(directory, 'bin', applet));
    }
  }
  rootfs = directory;
  return directory;
}

/**
 * Writes config.json into `bundle`, an existing directory.
 * `cid` ends up in the cgroup's path next to the workspace's mark, by which what stays behind is found.
 */
export function writeBundle(workspace: Workspace, bundle: string, cid: string, options: ProcessOptions): void {
  const root = sharedRootfs();
  const config = {
    // crun 1.8 refuses 1.1.0 and later.
    ociVersion: '1.0.2',
    process: {
      terminal: options.terminal ?? false,
      user: { uid: options.uid ?? 0, gid: options.gid ?? 0 },
      args: options.args,
      env: ['PATH=/bin', `CONMON_E2E=${workspace.mark}`, ...(options.env ?? [])],
      cwd: options.cwd ?? '/',
      noNewPrivileges: true,
    },
    root: { path: root, readonly: true },
    hostname: 'e2e',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=64m'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      {
        destination: realpathSync(tmpdir()),
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'mode=1777', 'size=64m'],
      },
      { destination: workspace.dir, type: 'bind', source: workspace.dir, options: ['bind', 'rw'] },
    ],
    linux: {
      namespaces: (options.namespaces ?? ['pid', 'ipc', 'uts', 'mount']).map((type) => ({ type })),
      cgroupsPath: `/${workspace.mark}-${cid.slice(0, 12)}`,
      ...(options.memoryLimit === undefined
        ? {}
        : { resources: { memory: { limit: options.memoryLimit, swap: options.memoryLimit } } }),
    },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
}
