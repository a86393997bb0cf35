/**
 * The caller's environment, byte for byte as it was when conmon was executed. conmon itself never runs in it; the
 * runtime and the exit command get it untouched, but for LISTEN_PID in the runtime. Main thread.
 */

import { closeSync, fstatSync, readSync } from 'node:fs';
import { ConmonError } from '../diag/error.ts';

const EQUALS = 0x3d;
/** Room for the longest pid and a NUL; the addon wants 12. */
const PID_SLOT_BYTES = 12;

/** An environment for one process: see SpawnSpec.envp and .listenPidOffset. */
export interface ProcessEnvironment {
  readonly envp: Buffer;
  readonly listenPidOffset: number;
}

export class Environment {
  readonly #block: Buffer;

  /** @param block NUL-terminated entries, one after the other. */
  constructor(block: Buffer) {
    this.#block = block;
  }

  /** Reads the launcher's memfd whole and closes it. */
  static take(fd: number): Environment {
    const block = Buffer.allocUnsafe(fstatSync(fd).size);
    for (let at = 0; at < block.length; ) {
      const result = readSync(fd, block, at, block.length - at, at);
      if (result === 0) throw new ConmonError('ENVIRONMENT', 'launcher: the environment was cut short', { fd });
      at += result;
    }
    closeSync(fd);
    return new Environment(block);
  }

  /** As it was. */
  untouched(): ProcessEnvironment {
    return { envp: this.#block, listenPidOffset: -1 };
  }

  /**
   * For the runtime: LISTEN_PID becomes the runtime's own pid when it was set and equalled a pid of conmon's, or always
   * with --replace-listen-pid. Throws ConmonError LISTEN_PID when it is set but no pid. Source: contract section 1.
   */
  forRuntime(conmonPids: readonly number[], always: boolean): ProcessEnvironment {
    const [from, to] = this.#find('LISTEN_PID');
    if (from === -1) return this.untouched();
    const value = this.#block.toString('latin1', from, to);
    const pid = /^\s*\+?\d+/.test(value) ? Number.parseInt(value, 10) : 0;
    if (!(pid > 0 && pid < 2 ** 31)) throw new ConmonError('LISTEN_PID', `Invalid LISTEN_PID ${value.slice(0, 10)}`);
    if (!always && !conmonPids.includes(pid)) return this.untouched();
    const slot = Buffer.alloc(PID_SLOT_BYTES, '0');
    return {
      envp: Buffer.concat([this.#block.subarray(0, from), slot, this.#block.subarray(to)]),
      listenPidOffset: from,
    };
  }

  /** The value of `name`, undefined when it is not set; what is no UTF-8 in it is replaced. */
  get(name: string): string | undefined {
    const [from, to] = this.#find(name);
    return from === -1 ? undefined : this.#block.toString('utf8', from, to);
  }

  /** Where the first value of `name` begins and ends; [-1, -1] when it is not set. */
  #find(name: string): [number, number] {
    const wanted = Buffer.from(name);
    for (let at = 0; at < this.#block.length; ) {
      const end = this.#block.indexOf(0, at);
      const to = end === -1 ? this.#block.length : end;
      const equals = at + wanted.length;
      if (
        this.#block[equals] === EQUALS &&
        equals < to &&
        this.#block.compare(wanted, 0, wanted.length, at, equals) === 0
      )
        return [equals + 1, to];
      at = to + 1;
    }
    return [-1, -1];
  }
}

/** Strings as the addon's spawn takes them. Throws ConmonError ARGUMENT for one with a NUL. */
export function toBlock(strings: readonly string[]): Buffer {
  for (const text of strings)
    if (text.includes('\0')) throw new ConmonError('ARGUMENT', `argument with a NUL: ${JSON.stringify(text)}`);
  return Buffer.from(strings.map((text) => `${text}\0`).join(''));
}
