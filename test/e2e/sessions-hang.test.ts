/** An exec that names a file on a file system whose server does not answer: it hangs alone, not with the container. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Exec } from '../helpers/exec.ts';
import { nativeHelper } from '../helpers/native.ts';
import { childrenOf } from '../helpers/proc.ts';
import { sessionSocket } from '../helpers/session-socket.ts';
import { waitFor } from '../helpers/wait.ts';

/** @returns how to let everything that waits there fail. */
async function hangingFileSystem(c: Case, path: string): Promise<() => void> {
  mkdirSync(path);
  const server = spawn(nativeHelper('hang'), [path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = (): void => void server.kill('SIGKILL');
  c.workspace.defer(() => {
    end();
    execFileSync('umount', ['-l', path]);
  });
  await new Promise((resolve, reject) => {
    server.stdout.once('data', resolve);
    server.once('exit', () => reject(new Error('the file system was not mounted')));
  });
  return end;
}

/** The daemon of its own that a launcher waits for. */
const ownDaemon = (exec: Exec): number | undefined => childrenOf(exec.conmon.child.pid ?? -1)[0]?.pid;

promise(
  'an exec whose files would have to be waited for does not join, and nobody else waits',
  { excludes: { c: 'a conmon in C holds one session' } },
  async (c) => {
    const path = c.workspace.path('hang');
    const end = await hangingFileSystem(c, path);
    const env = { CONMON_SESSIONS: 'on' };
    const made = c.container({ fake: ['container exec sleep 1000'], env });
    await made.created();
    await sessionSocket(made);
    writeFileSync(`${made.runtimePath}.conf`, 'container exit 5\n');
    const link = c.workspace.path('link');
    symlinkSync(path, link);
    const hanging = [
      ['-l', `${path}/log`],
      ['-l', `${path}/directory/log`],
      ['-p', `${path}/pidfile`],
      ['--exit-dir', `${path}/exits`],
      ['--exit-dir', path],
      ['--persist-dir', link],
    ].map((args) => c.exec(made, { env, args }));
    for (const [i, each] of hanging.entries()) await waitFor(`a daemon of its own ${i}`, () => ownDaemon(each));
    const other = c.exec(made, { env });
    let joined = true;
    const watch = setInterval(() => {
      joined &&= ownDaemon(other) === undefined;
    }, 1);
    c.t.equal(await other.everything(), '{"exit_code": 5}\n');
    await other.ended();
    clearInterval(watch);
    c.t.ok(joined, 'another exec joins meanwhile');
    process.kill(made.containerPid, 'SIGKILL');
    await made.finished();
    await made.ended();
    end();
    for (const each of hanging) await each.ended();
  },
);
