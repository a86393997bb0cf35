/** What a client took of conmon's memory is given back once its thread has left, and then conmon sleeps as before. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { attach, clientsAccepted, settled } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import { waitFor } from '../helpers/wait.ts';

/**
 * Attached, 4 to 6 MiB more. What stays is the code that starts threads, which a log on a thread has had loaded, and what is
 * for clients; a collection too few leaves 0.5 to 1 MiB, or all 4.
 */
const KINDS = [
  { name: 'with a file', log: 'file', leftKiB: 1024 },
  { name: 'with a log on a thread', log: 'fifo', leftKiB: 768 },
  { name: 'without a log', log: 'none', leftKiB: 1792 },
] as const;
/** A thread leaves 10 s after its last client, memory follows after 13; a loaded machine takes longer. */
const GIVEN_BACK_MS = 60_000;
/** More than the 1.2 s after which the start's own is given back. */
const SETTLED_MS = 2500;
const QUIET_MS = 2500;
/** What V8 does later, 8 s after a collection and again 8 s later, is over by then. */
const ATTEMPTS = 12;

/** Without files' pages, which are private or not as other daemons come and go beside this test. */
function privateKiB(pid: number): number {
  return Number(/^Anonymous: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1]);
}

function threadsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`);
}

/** How often each thread went to sleep so far. */
function sleepsOf(pid: number): string {
  const count = (thread: string) =>
    /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'))?.[1];
  return threadsOf(pid)
    .map((thread) => `${thread}: ${count(thread)}`)
    .join(', ');
}

promise(
  'what a client took is given back after it has left, and nothing wakes conmon any more',
  { timeoutMs: 150_000, excludes: { c: 'conmon C has no thread for clients' } },
  async (c) => {
    const fifo = c.workspace.path('fifo');
    execFileSync('mkfifo', [fifo]);
    const readFd = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    c.workspace.defer(() => closeSync(readFd));
    const paths = { file: undefined, fifo: [fifo], none: ['none'] };
    const started = KINDS.map((kind) => {
      const logPaths = paths[kind.log];
      const options = logPaths === undefined ? {} : { logPaths };
      return { ...kind, container: c.container({ fake: ['container exec sleep 1000'], ...options }) };
    });
    const containers = started.map(({ container }) => container);
    await Promise.all(
      started.map(async ({ name, leftKiB, container }) => {
        await container.created();
        const pid = container.daemonPid;
        // What the start left behind is given back 1.2 s after it.
        const startKiB = await settled('the memory', () => privateKiB(pid), SETTLED_MS);
        const threads = threadsOf(pid).length;
        const client = await attach(c, container);
        await clientsAccepted(container, 1);
        const attachedKiB = privateKiB(pid);
        c.t.ok(attachedKiB > startKiB + leftKiB, `${name}: ${startKiB} KiB, ${attachedKiB} with a client`);
        client.close();
        await waitFor(`${name}: the thread to leave`, () => threadsOf(pid).length === threads, { timeoutMs: 60_000 });
        let leastKiB = attachedKiB;
        const givenBack = () => {
          leastKiB = Math.min(leastKiB, privateKiB(pid));
          return leastKiB < startKiB + leftKiB;
        };
        await waitFor(`${name}: memory`, givenBack, { timeoutMs: GIVEN_BACK_MS, intervalMs: 100 }).catch(() => {});
        c.t.ok(leastKiB < startKiB + leftKiB, `${name}: ${startKiB} KiB at first, ${leastKiB} in the end`);
      }),
    );
    for (const { daemonPid } of containers) {
      const asleep = async () => {
        const before = sleepsOf(daemonPid);
        await sleep(QUIET_MS);
        return sleepsOf(daemonPid) === before;
      };
      let quiet = false;
      for (let attempt = 0; attempt < ATTEMPTS && !quiet; attempt++) quiet = await asleep();
      c.t.ok(quiet, `nothing wakes it up: ${sleepsOf(daemonPid)}`);
    }
    for (const container of containers) {
      process.kill(container.containerPid, 'SIGKILL');
      await container.exited();
      await container.ended();
    }
  },
);
