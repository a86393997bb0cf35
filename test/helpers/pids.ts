/** A cgroup of the case's own in which nothing can be started: who is in it stays as it is. Needs root. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import type { Case } from './case.ts';
import type { Container } from './container.ts';
import { waitFor } from './wait.ts';

export class FullCgroup {
  readonly #path: string;

  constructor(c: Case) {
    const v1 = existsSync('/sys/fs/cgroup/pids/cgroup.procs');
    if (!v1) writeFileSync('/sys/fs/cgroup/cgroup.subtree_control', '+pids');
    this.#path = `/sys/fs/cgroup/${v1 ? 'pids/' : ''}${c.workspace.mark}-pids`;
    mkdirSync(this.#path);
    writeFileSync(`${this.#path}/pids.max`, '0');
    c.workspace.defer(async () => {
      await waitFor('the cgroup to be empty', () => readFileSync(`${this.#path}/cgroup.procs`, 'latin1') === '');
      rmdirSync(this.#path);
    });
  }

  add({ daemonPid }: Container): void {
    writeFileSync(`${this.#path}/cgroup.procs`, String(daemonPid));
  }

  /** How often somebody in it was refused a thread or a process. */
  get refusals(): number {
    return Number(/^max (\d+)$/m.exec(readFileSync(`${this.#path}/pids.events`, 'latin1'))?.[1]);
  }

  end(): void {
    writeFileSync(`${this.#path}/pids.max`, 'max');
  }
}
