/**
 * A conmon whose cgroup may start no thread and no process any more, as on a node that somebody fills with processes: what it
 * does then it does on its main thread, and what runs ends as it should.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { attach, clientsAccepted } from '../helpers/attach-case.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { DevLog } from '../helpers/dev-log.ts';
import { line, RECORD_FRAME_BYTES, readNumbered, SAY } from '../helpers/numbered.ts';
import { FullCgroup } from '../helpers/pids.ts';
import { waitFor } from '../helpers/wait.ts';

/** C is one thread from its beginning to its end. */
const ONE_THREAD = 'C has no threads to start';
const MIB = 1 << 20;

/** Writes 10 lines, waits until `go` is there, and does the rest. */
function waiting(c: Case, rest: string): { script: string; go: () => void } {
  const go = c.workspace.path('go');
  return {
    script: `${SAY}; say 1 10; while [ ! -e ${go} ]; do sleep 0.01; done; ${rest}`,
    go: () => writeFileSync(go, ''),
  };
}

async function begun(container: Container): Promise<void> {
  await container.run();
  await waitFor('its lines', () => readFileSync(container.logPath, 'latin1').includes(` F ${line(10)}\n`));
}

/** A container that has written 10 lines, and can start nothing any more; after `go` it writes 10 others and exits with 7. */
async function atLimit(c: Case): Promise<{ full: FullCgroup; container: Container; go: () => void }> {
  const full = new FullCgroup(c);
  const { script, go } = waiting(c, 'say 11 20; exit 7');
  const container = c.container({ script });
  await begun(container);
  full.add(container);
  return { full, container, go };
}

/** What the container says. */
function said(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, i) => `${line(from + i)}\n`).join('');
}

function threads({ daemonPid }: Container): number {
  return readdirSync(`/proc/${daemonPid}/task`).length;
}

/** Lines 1 to `count`, each once, in order, and nothing else. */
function isWhole(c: Case, log: Buffer, count: number): void {
  const { numbers, recoveries, others } = readNumbered(log);
  c.t.equal(numbers.length, count, `${count} lines`);
  c.t.ok(
    numbers.every((n, i) => n === i + 1),
    'each once, in order',
  );
  c.t.same([recoveries, others], [[], []], 'and nothing else');
}

promise(
  'at a pids limit a container ends as ever: its status is told, its log is whole',
  { runtimes: ['runc'] },
  async (c) => {
    const { full, container, go } = await atLimit(c);
    go();
    c.t.equal(await container.finished(), 7);
    isWhole(c, readFileSync(container.logPath), 20);
    if (c.monitor.name === 'ours') c.t.ok(full.refusals > 0, 'the thread that syncs the log could not be started');
  },
);

promise(
  'at a pids limit a flood is not lost: main goes on with the log, until a thread can be had again',
  { runtimes: ['runc'], excludes: { c: ONE_THREAD } },
  async (c) => {
    const full = new FullCgroup(c);
    const devLog = new DevLog(c).read();
    const block = c.workspace.path('block');
    const stop = c.workspace.path('stop');
    const count = c.workspace.path('count');
    writeFileSync(block, `${'x'.repeat(31)}\n`.repeat(MIB / 32));
    const flood = `n=0; while [ ! -e ${stop} ]; do cat ${block}; n=$((n+1)); done; echo $n >${count}`;
    const { script, go } = waiting(c, `${flood}; exit 7`);
    // A file that is begun anew each 16 MiB: the flood may last as long as it takes.
    const args = ['--log-level', 'debug', '--log-size-max', String(16 * MIB)];
    const container = c.container({ script, args, launch: devLog.launch });
    await begun(container);
    full.add(container);
    const before = threads(container);
    go();
    await waitFor('threads to be refused, twice', () => devLog.matching(/main goes on with the logs: /).length > 1);
    c.t.equal(threads(container), before);
    full.end();
    await waitFor('a thread', () => threads(container) > before);
    writeFileSync(stop, '');
    c.t.equal(await container.finished(), 7);
    const blocks = Number(readFileSync(count, 'latin1'));
    const [totals] = devLog.matching(/log totals: /).map((text) => JSON.parse(text.slice(text.indexOf('{'))));
    c.t.match(totals, { readBytes: said(1, 10).length + blocks * MIB, droppedBytes: 0, beyondLimitBytes: 0 });
    c.t.equal(totals.records, 10 + (blocks * MIB) / 32, `${blocks} MiB, each line once`);
    c.t.equal(totals.writtenBytes, totals.readBytes + (RECORD_FRAME_BYTES - 1) * totals.records);
  },
);

promise(
  'at a pids limit who attaches is told and disconnected; afterwards clients are served',
  { runtimes: ['runc'], excludes: { c: ONE_THREAD } },
  async (c) => {
    const { full, container, go } = await atLimit(c);
    for (let i = 0; i < 4; i++) {
      const refused = await attach(c, container);
      await refused.waitForEnd();
      c.t.match(refused.text, /^\[conmon\] nobody can attach now: .*\n$/);
    }
    full.end();
    const clients = [await attach(c, container), await attach(c, container)];
    await clientsAccepted(container, 2);
    go();
    c.t.equal(await container.finished(), 7);
    for (const client of clients) {
      await client.waitForEnd();
      c.t.equal(client.text, said(11, 20), 'everything, once');
    }
    isWhole(c, readFileSync(container.logPath), 20);
  },
);

promise(
  'at a pids limit an exec that has joined ends as ever',
  { runtimes: ['runc'], excludes: { c: 'C has a conmon for each exec' } },
  async (c) => {
    const full = new FullCgroup(c);
    const { script, go } = waiting(c, 'say 11 20; exit 7');
    const env = { CONMON_SESSIONS: 'on' };
    const container = c.container({ script, env });
    await begun(container);
    const goExec = c.workspace.path('go-exec');
    const wait = `while [ ! -e ${goExec} ]; do sleep 0.01; done`;
    const exec = c.exec(container, { env, command: `${SAY}; say 1 10; ${wait}; say 11 20; exit 5` });
    await waitFor('its lines', () => readFileSync(exec.logPath, 'latin1').includes(` F ${line(10)}\n`));
    full.add(container);
    writeFileSync(goExec, '');
    c.t.equal((await exec.ended()).code, 5);
    c.t.equal(await exec.everything(), '{"exit_code": 5}\n');
    isWhole(c, readFileSync(exec.logPath), 20);
    c.t.ok(full.refusals > 0);
    go();
    c.t.equal(await container.finished(), 7);
    isWhole(c, readFileSync(container.logPath), 20);
  },
);
