/** What an idle conmon does: nothing. It gives memory back once (src/native/rest.ts); after that no thread of it is woken up. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promise } from '../helpers/case.ts';

const QUIET_MS = 2500;
/** Most of what a start leaves to be done later is done within two seconds; a loaded machine takes longer. */
const ATTEMPTS = 10;
/**
 * What V8 would do by itself comes 8 s after a collection of ours (its memory reducer), the first of which comes within two
 * seconds of the start; and once more every 8 s.
 */
const REDUCER_MS = 10_000;

/**
 * V8's two background threads, of which one wakes the other: 8 s after a collection they release pages that V8 had pooled
 * meanwhile (heap/memory-pool.cc), once, if they were quicker than main, which has just released all of them. Each may sleep
 * once more, at a lock.
 */
const POOL_SLEEPS = 4;

/** How often each thread went to sleep so far: each time somebody or something had woken it up before. */
function sleepsOf(pid: number): Map<number, number> {
  const counts = readdirSync(`/proc/${pid}/task`).map((thread): [number, number] => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1');
    return [Number(thread), Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1])];
  });
  return new Map(counts);
}

function sleeps(pid: number): string {
  return [...sleepsOf(pid)].map(([thread, count]) => `${thread}: ${count}`).join(', ');
}

function sum(counts: Iterable<number>): number {
  return [...counts].reduce((total, count) => total + count, 0);
}

for (const [name, logPaths] of [
  ['with a log', undefined],
  ['without a log', ['none']],
] as const) {
  promise(
    `nothing wakes an idle conmon ${name} in the seconds 2 to 14 of its life, nor after it has logged a lot`,
    { timeoutMs: 120_000, excludes: { c: 'conmon C has a timer of its own' } },
    async (c) => {
      const flood = c.workspace.path('flood');
      const end = c.workspace.path('end');
      const script = [
        `while [ ! -e ${flood} ]; do sleep 0.05; done`,
        'head -c 6000000 /dev/zero | tr "\\0" "\\n" >&2',
        `touch ${flood}-is-over`,
        `while [ ! -e ${end} ]; do sleep 0.05; done`,
      ].join('; ');
      const container = c.container({
        style: 'crio',
        fake: () => [`container ${script}`],
        ...(logPaths === undefined ? {} : { logPaths }),
      });
      await container.created();
      for (const when of ['after the start', 'after a flood']) {
        let before = '';
        let after = 'not looked at';
        for (let attempt = 0; attempt < ATTEMPTS && before !== after; attempt++) {
          before = sleeps(container.daemonPid);
          await sleep(QUIET_MS);
          after = sleeps(container.daemonPid);
        }
        c.t.equal(after, before, when);
        if (when === 'after the start') {
          const { daemonPid } = container;
          const then = sleepsOf(daemonPid);
          await sleep(REDUCER_MS);
          const now = sleepsOf(daemonPid);
          c.t.equal(now.get(daemonPid), then.get(daemonPid), 'and V8 has nothing for main to do later');
          c.t.ok(sum(now.values()) - sum(then.values()) <= POOL_SLEEPS, `${after} became ${sleeps(daemonPid)}`);
        }
        writeFileSync(flood, '');
      }
      writeFileSync(end, '');
      await container.exited();
    },
  );
}
