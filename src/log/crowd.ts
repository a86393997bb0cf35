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
   * @param cpus how many this thread may use; throws as well
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
    try {
      this.#manyAtLeast ??= MANY * this.#cpus();
      this.#isThere = ready(this.#loadavg()) >= this.#manyAtLeast;
    } catch {
      this.#isThere = false; // no /proc
    }
  }
}

function ready(loadavg: string): number {
  return Number(READY.exec(loadavg)?.[1] ?? 0);
}

function readLoadavg(): string {
  return readFileSync('/proc/loadavg', 'latin1');
}

/** "Cpus_allowed:\tff,ffffffff": a bit for each CPU that this thread may use, in hexadecimal (proc_pid_status(5)). */
const ALLOWED = /^Cpus_allowed:\s*([0-9a-f,]+)$/m;

/**
 * Not node:os, whose loading takes 1.3 ms, amid the first large write of each log; its count would also be that of a cgroup's quota,
 * which has nothing to do with how many are ready on all CPUs.
 */
function countCpus(): number {
  return allowedCpus(readFileSync('/proc/thread-self/status', 'latin1'));
}

/** How many CPUs /proc/PID/status says may be used; 1 where it does not say. */
export function allowedCpus(status: string): number {
  const mask = ALLOWED.exec(status)?.[1] ?? '1';
  let count = 0;
  for (const digit of mask) for (let bits = Number.parseInt(digit, 16); bits > 0; bits >>= 1) count += bits & 1;
  return count;
}
