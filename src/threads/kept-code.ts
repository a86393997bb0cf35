/**
 * The attach thread's code as it was when the daemon started, for the day on which conmon is replaced or removed under a
 * running container: clients are then served by the build that the container runs with (docs/adr/0048-kept-code.md).
 * Main thread.
 */

import { readFileSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { MessagePort, ResourceLimits } from 'node:worker_threads';
import { ConmonError } from '../diag/error.ts';
import { BUILD_VARIABLE, buildId, libexecDir } from '../native/libexec.ts';

const PATH = join(libexecDir, 'attach.js');

export class KeptCode {
  readonly #text: string;
  readonly #file: Stats;

  private constructor(text: string, file: Stats) {
    this.#text = text;
    this.#file = file;
  }

  /** Undefined when there is none of this build: the sources run, or it was replaced already. */
  static keep(): KeptCode | undefined {
    try {
      const file = statSync(PATH);
      const text = readFileSync(PATH, 'latin1');
      return buildId !== '' && text.includes(buildId) ? new KeptCode(text, file) : undefined;
    } catch {
      return undefined; // as if it were replaced: clients are told
    }
  }

  /** Whether the file is another one than it was, or gone. */
  get replaced(): boolean {
    try {
      const { ino, mtimeMs } = statSync(PATH);
      return ino !== this.#file.ino || mtimeMs !== this.#file.mtimeMs;
    } catch {
      return true;
    }
  }

  /** As WorkerPool.start. The addon is loaded already: the dynamic linker knows it by its name, whatever is there now. */
  run<Task, Result>(task: Task, transfer: readonly MessagePort[], limits: ResourceLimits): Promise<Result> {
    const { Worker } = process.getBuiltinModule('node:worker_threads');
    const names = [libexecDir, PATH].map((name) => JSON.stringify(name)).join();
    const code = `{const{parentPort,workerData}=require('node:worker_threads'),own={exports:{}};
(${this.#text})(own,own.exports,require,${names});
parentPort.postMessage(own.exports(workerData));}`;
    const worker = new Worker(code, {
      eval: true,
      workerData: task,
      transferList: [...transfer],
      trackUnmanagedFds: false,
      resourceLimits: limits,
      env: { [BUILD_VARIABLE]: buildId },
    });
    return new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', (status) => reject(new ConmonError('WORKER', `its thread ended with ${status}`)));
    });
  }
}
