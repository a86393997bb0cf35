/** Session sockets of daemons that were killed: the daemons that come after remove them, and nobody who lives loses his. */
import { existsSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { endProcess } from '../helpers/proc.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { sessionSocket, socketOf } from '../helpers/session-socket.ts';
import { waitFor } from '../helpers/wait.ts';

const OURS = { excludes: { c: 'a conmon in C holds one session' } } as const;
const LONG_AGO = new Date('2026-01-01');

async function container(c: Case): Promise<Container> {
  const made = c.container({ fake: ['container exec sleep 1000'], env: { CONMON_SESSIONS: 'on' } });
  await made.created();
  await sessionSocket(made);
  return made;
}

async function end(made: Container): Promise<void> {
  process.kill(made.containerPid, 'SIGKILL');
  await made.finished();
}

/** As by kill -9, some time ago. */
async function killDaemon(made: Container): Promise<void> {
  process.kill(made.daemonPid, 'SIGKILL');
  await endProcess(made.containerPid);
  await made.ended();
  utimesSync(socketOf(made), LONG_AGO, LONG_AGO);
}

/** Whether an exec joins it. */
async function joins(c: Case, made: Container): Promise<boolean> {
  const dir = c.workspace.path(`record-${made.cid}`);
  writeFileSync(`${made.runtimePath}.conf`, `record ${dir}\ncontainer exit 0\n`);
  const one = c.exec(made, { env: { CONMON_SESSIONS: 'on' } });
  await one.everything();
  await one.ended();
  return (await waitFor('the recording', () => readRecording(dir))).ppid === made.daemonPid;
}

promise(
  'a killed daemon’s socket is removed by those that start after it, a running one’s never',
  { ...OURS, keepsFiles: true },
  async (c) => {
    const running = await container(c);
    utimesSync(socketOf(running), LONG_AGO, LONG_AGO);
    const killed = await container(c);
    await killDaemon(killed);
    c.t.ok(existsSync(socketOf(killed)), 'it has left its socket');
    const later: Container[] = [];
    // Each looks at eight; other tests' sockets may be here too.
    for (let i = 0; i < 10 && existsSync(socketOf(killed)); i++) {
      later.push(await container(c));
      await waitFor('the sweep', () => !existsSync(socketOf(killed)), { timeoutMs: 3000 }).catch(() => {});
    }
    c.t.notOk(existsSync(socketOf(killed)), 'and a later one has removed it');
    c.t.ok(existsSync(socketOf(running)));
    c.t.ok(await joins(c, running), 'execs of the other join it as before');
    for (const each of [running, ...later]) await end(each);
  },
);

promise(
  'daemons that start together among sockets that were left all have one that execs join',
  { ...OURS, keepsFiles: true },
  async (c) => {
    const left = await Promise.all(Array.from({ length: 6 }, () => container(c)));
    for (const each of left) await killDaemon(each);
    const made = await Promise.all(left.map(() => container(c)));
    for (const each of made) c.t.ok(await joins(c, each));
    for (const each of made) await end(each);
    for (const each of left) rmSync(socketOf(each), { force: true });
  },
);
