// Execs that are there at the same time in one container: each has logged a line and stays. Main thread only.

import type { Environment, Side } from './environment.ts';
import { type Exec, type ExecPlan, startExec } from './exec-session.ts';
import type { Monitor } from './monitor.ts';
import { monitorTree } from './procfs.ts';
import { waitFor } from './wait.ts';

const limitMs = 25_000;

export class HeldExecs {
  readonly #container: Monitor;
  readonly #execs: Exec[] = [];

  constructor(container: Monitor) {
    this.#container = container;
  }

  /** Starts `count` more, and waits until each has logged its line. Rejects when one ends before it was to. */
  async add(environment: Environment, side: Side, plan: ExecPlan, count: number): Promise<void> {
    const container = this.#container;
    const fresh: Exec[] = [];
    for (let i = 0; i < count; i++) {
      const each = await startExec(environment, side, { ...plan, container, held: true });
      this.#execs.push(each);
      fresh.push(each);
    }
    for (const each of fresh) await logged(each, environment.signal);
  }

  /** All monitors and launchers of the container and its execs; neither the processes in it nor the bench's own. */
  async pids(): Promise<readonly number[]> {
    const { daemonPid, containerPid } = this.#container;
    const processes = await Promise.all(this.#execs.map(processOf));
    const starters = this.#execs.map(({ starterPid }) => starterPid);
    const trees = await Promise.all(
      [daemonPid, ...starters].map((pid) => monitorTree(pid, containerPid, ...processes)),
    );
    return [...new Set(trees.flat())].filter((pid) => !starters.includes(pid));
  }

  /** Lets all of them end, and checks what they gave. */
  async release(): Promise<void> {
    const held = this.#execs.splice(0);
    for (const each of held) await each.release();
    for (const each of held) await each.done;
  }
}

async function processOf(each: Exec): Promise<number> {
  const pid = await each.processPid();
  if (pid === undefined) throw new Error('an exec told no pid');
  return pid;
}

async function logged(each: Exec, signal: AbortSignal): Promise<void> {
  await Promise.race([
    waitFor('the line of an exec', async () => (await each.logged()).endsWith(' alive\n'), { limitMs, signal }),
    each.done.then(() => {
      throw new Error('an exec has ended before it was to');
    }),
  ]);
}
