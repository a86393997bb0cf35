/** Disks that a test can fill, take away and write-protect: mounts in the case's workspace. Needs root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import type { Workspace } from './workspace.ts';

const TIMEOUT_MS = 10_000;

/** A small disk of its own at a new directory; gone when the case ends. @returns the directory */
export function smallDisk(workspace: Workspace, name: string, bytes: number): string {
  const directory = workspace.directory(name);
  mount(workspace, directory, ['-t', 'tmpfs', '-o', `size=${bytes},mode=0755`, 'tmpfs', directory]);
  return directory;
}

/**
 * An ext4 of its own in a file, which can be stopped: writes to it hang until it goes on, which it does at the latest when the
 * case ends. A process that hangs in one cannot be killed, so nothing may wait for it meanwhile.
 */
export class StoppableDisk {
  readonly directory: string;

  constructor(workspace: Workspace, name: string) {
    this.directory = workspace.directory(name);
    const image = workspace.path(`${name}.img`);
    writeFileSync(image, '');
    truncateSync(image, 8 << 20);
    execFileSync('mkfs.ext4', ['-q', image], { timeout: TIMEOUT_MS });
    mount(workspace, this.directory, ['-o', 'loop,noatime', image, this.directory]);
    workspace.defer(() => this.goOn());
  }

  stop(): void {
    execFileSync('fsfreeze', ['--freeze', this.directory], { timeout: TIMEOUT_MS });
  }

  goOn(): void {
    // EINVAL when it is not stopped
    spawnSync('fsfreeze', ['--unfreeze', this.directory], { timeout: TIMEOUT_MS, stdio: 'ignore' });
  }
}

/** Writes until nothing more fits. The file is called `filler`. */
export function fill(directory: string): void {
  const fd = openSync(`${directory}/filler`, 'a');
  let block = Buffer.alloc(1 << 16);
  while (block.length > 0) {
    try {
      if (writeSync(fd, block) === block.length) continue;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
    }
    block = block.subarray(0, block.length >> 1);
  }
  closeSync(fd);
}

/** Makes room again. */
export function empty(directory: string): void {
  rmSync(`${directory}/filler`);
}

/**
 * From now on nothing can be made, renamed or opened for writing in a directory; what is open already can be written. The
 * kernel refuses to write-protect a disk that has files open for writing, so this is what a file that is open can meet.
 * @returns what ends it.
 */
export function writeProtect(workspace: Workspace, directory: string): () => void {
  mount(workspace, directory, ['--bind', directory, directory]);
  execFileSync('mount', ['-o', 'remount,ro,bind', directory], { timeout: TIMEOUT_MS });
  return () => unmount(directory);
}

function mount(workspace: Workspace, directory: string, args: readonly string[]): void {
  execFileSync('mount', args, { timeout: TIMEOUT_MS });
  workspace.defer(() => {
    try {
      unmount(directory);
    } catch {
      // unmounted by the case itself
    }
  });
}

/** Lazily: a container that has just ended may hold it for a moment. */
function unmount(directory: string): void {
  execFileSync('umount', ['-l', directory], { timeout: TIMEOUT_MS, stdio: 'pipe' });
}
