/**
 * The demo runtime's memory: one directory for each container below the root, mode 0700, with the container's record,
 * its start gate and a note of each exec. A container's status is never stored, it is read off: the gate exists until
 * `start` opens it, and the process either lives or does not. It starts and signals nothing.
 */

import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { codeOf, DemoError, reasonOf } from './demo-error.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

export interface ContainerRecord {
  readonly id: string;
  readonly ociVersion: string;
  /** Absolute. */
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly created: string;
  readonly init: ProcessIdentity;
}

/** OCI runtime specification 1.0.2, runtime.md "State". */
export type ContainerStatus = 'creating' | 'created' | 'running' | 'stopped';

const RECORD = 'container.json';
const GATE = 'start';
const EXEC_PREFIX = 'exec-';
const MAX_ID_BYTES = 255;

export class ContainerStore {
  readonly #root: string;

  /** Makes the root when it is not there. @throws DemoError when another user could write to it. */
  constructor(root: string) {
    this.#root = root;
    try {
      mkdirSync(root, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new DemoError(`cannot make the state directory ${root}: ${reasonOf(error)}`, { cause: error });
    }
    const { uid, mode } = lstatSync(join(root, '.'));
    if (uid !== process.geteuid?.()) throw new DemoError(`the state directory ${root} belongs to another user`);
    if ((mode & 0o022) !== 0) throw new DemoError(`the state directory ${root} can be written by others`);
  }

  /** Reserves the id and makes its directory. @throws DemoError for a bad id or one that is taken. */
  claim(id: string): void {
    const directory = this.#directory(id);
    try {
      mkdirSync(directory, { mode: 0o700 });
    } catch (error) {
      if (codeOf(error) === 'EEXIST') throw new DemoError(`container with ID ${id} already exists`);
      throw new DemoError(`cannot make ${directory}: ${reasonOf(error)}`, { cause: error });
    }
  }

  /** Stores the record in one step: a reader sees all of it or none. */
  write(record: ContainerRecord): void {
    writeAtomically(join(this.#directory(record.id), RECORD), `${JSON.stringify(record)}\n`);
  }

  has(id: string): boolean {
    return exists(this.#directory(id));
  }

  /** @returns undefined while the container is being created. @throws DemoError when there is no such container. */
  read(id: string): ContainerRecord | undefined {
    const directory = this.#directory(id);
    try {
      return JSON.parse(readFileSync(join(directory, RECORD), 'utf8')) as ContainerRecord;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    if (!exists(directory)) throw new DemoError(`container ${id} does not exist`);
    return undefined;
  }

  /** As {@link read}, for those who need a container that was created. */
  require(id: string): ContainerRecord {
    const record = this.read(id);
    if (record === undefined) throw new DemoError(`container ${id} is still being created`);
    return record;
  }

  status(id: string): ContainerStatus {
    const record = this.read(id);
    if (record === undefined) return 'creating';
    if (!isAlive(record.init)) return 'stopped';
    return exists(this.gatePath(id)) ? 'created' : 'running';
  }

  /** The FIFO that the waiting init reads; {@link openGate} writes it. */
  gatePath(id: string): string {
    return join(this.#directory(id), GATE);
  }

  /** A path in the container's directory that nothing else uses. */
  scratchPath(id: string, name: string): string {
    return join(this.#directory(id), `${name}.${process.pid}`);
  }

  /** Takes the gate away, which makes the container a started one. @returns false when someone else was first. */
  removeGate(id: string): boolean {
    try {
      unlinkSync(this.gatePath(id));
      return true;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
  }

  noteExec(id: string, identity: ProcessIdentity): void {
    writeAtomically(join(this.#directory(id), `${EXEC_PREFIX}${identity.pid}`), `${JSON.stringify(identity)}\n`);
  }

  execs(id: string): readonly ProcessIdentity[] {
    const directory = this.#directory(id);
    const names = readdirSync(directory).filter((name) => /^exec-[0-9]+$/.test(name));
    return names.map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as ProcessIdentity);
  }

  remove(id: string): void {
    rmSync(this.#directory(id), { recursive: true, force: true });
  }

  #directory(id: string): string {
    if (!/^[A-Za-z0-9_+.-]+$/.test(id) || id === '.' || id === '..' || id.length > MAX_ID_BYTES) {
      throw new DemoError(`invalid container ID "${id}": letters, digits, "_", "+", "-" and "." only, at most 255`);
    }
    return join(this.#root, id);
  }
}

/** Written beside the target and renamed over it. */
export function writeAtomically(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, text, { mode: 0o644, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
