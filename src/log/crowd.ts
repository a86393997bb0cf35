/**
 * Whether so many processes of the machine want a CPU that who waits for one of them waits for all the others' turns as well.
 * Looked at now and then, amid large writes (docs/adr/0063-no-blocks-in-a-crowd.md). Runs where the log is written.
 */

import { readFileSync } from 'node:fs';

/** From one look to the next: one takes 12 us, so much of a flood 10 ms. */
const LOOK_BYTES = 1 << 25;
/** Ready to run for each CPU. Four floods on two CPUs have 5 in all, their containers included, ten 12, twenty 28 to 44. */
const MANY = 8;

/** "0.20 0.18 0.12 3/80 11206": three means, then what is ready to run of all there is (proc_loadavg(5)). */
const READY = /^\S+ \S+ \S+ (\d+)\//;

export class Crowd {
  readonly #loadavg: () => string;
  readonly #cpus: () => number;
  #manyAtLeast: number | undefined;
  #leftBytes = 0;
  #isThere = false;

  /**
   * @param loadavg what /proc/loadavg says; throws where there is none
   * @param cpus how many this process may use
   */
  constructor(loadavg: () => string = readLoadavg, cpus: () => number = countCpus) {
    this.#loadavg = loadavg;
    this.#cpus = cpus;
  }

  /** To be asked before each large write, of `bytes`. @returns false also where the kernel does not tell. */
  isThere(bytes: number): boolean {
    this.#leftBytes -= bytes;
    if (this.#leftBytes < 0) this.#look();
    return this.#isThere;
  }

  #look(): void {
    this.#leftBytes = LOOK_BYTES;
    this.#manyAtLeast ??= MANY * this.#cpus();
    this.#isThere = ready(this.#loadavg) >= this.#manyAtLeast;
  }
}

function ready(loadavg: () => string): number {
  try {
    return Number(READY.exec(loadavg())?.[1] ?? 0);
  } catch {
    return 0; // no /proc
  }
}

function readLoadavg(): string {
  return readFileSync('/proc/loadavg', 'latin1');
}

/** The module is loaded by who writes much, and not by each conmon. */
function countCpus(): number {
  return process.getBuiltinModule('node:os').availableParallelism();
}
