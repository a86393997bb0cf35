/**
 * Nothing is left of 200 containers and 500 execs: no process, zombie, fd, socket, link, mount, cgroup or temporary file, and
 * no memory.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { type Case, promise } from '../helpers/case.ts';
import type { LeakReport } from '../helpers/leak-run.ts';
import { nativeHelper, REPOSITORY } from '../helpers/native.ts';
import { waitFor } from '../helpers/wait.ts';

const run = promisify(execFile);
const LIMIT_MS = 280_000;
/** Measured: 0.9 MB, under C too, caches of the kernel's; 700 sessions that left a page each would have 2.8 MB. */
const MEMORY_MAX_BYTES = 3 << 20;

promise('nothing is left of 200 containers and 500 execs', { timeoutMs: LIMIT_MS }, async (c) => {
  // A clean environment: the test runner's own variables would load it into the program.
  const clean = ['--env', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', '--'];
  const namespaces = ['/usr/bin/unshare', '-m', '-p', '-n', '-i', '-f', '--kill-child', '--mount-proc', '--'];
  const cgroup = memoryCgroup(c);
  const enter = ['/bin/sh', '-c', 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"', 'sh', cgroup];
  const program = [
    ...enter,
    process.execPath,
    `${REPOSITORY}/test/helpers/leak-run.ts`,
    c.monitor.path,
    c.monitor.name,
    cgroup,
  ];
  const { stdout } = await run(
    nativeHelper('launch'),
    [...clean, ...namespaces, '/usr/bin/catatonit', '--', ...program],
    {
      timeout: LIMIT_MS - 10_000,
      killSignal: 'SIGKILL',
    },
  );
  const { before, after, wrong } = JSON.parse(stdout) as LeakReport;
  c.t.strictSame(wrong, [], 'every session went as it should');
  c.t.strictSame(after.processes, [], 'processes and zombies');
  c.t.strictSame(after.cgroups, [], 'cgroups');
  for (const what of ['ownFds', 'unixSockets', 'mounts', 'temporary'] as const) {
    c.t.strictSame(after[what], before[what], what);
  }
  const grownBytes = after.memoryBytes - before.memoryBytes;
  c.t.comment(`memory: ${before.memoryBytes} before, ${grownBytes} more after`);
  c.t.ok(grownBytes < MEMORY_MAX_BYTES, `${grownBytes} bytes of memory`);
});

/** A memory cgroup of the case's own, in the hierarchy that the machine has. @returns its directory. */
function memoryCgroup(c: Case): string {
  const v1 = existsSync('/sys/fs/cgroup/memory/cgroup.procs');
  const path = `/sys/fs/cgroup/${v1 ? 'memory/' : ''}${c.workspace.mark}-memory`;
  if (!v1) {
    writeFileSync('/sys/fs/cgroup/cgroup.subtree_control', '+memory');
  }
  mkdirSync(path);
  c.workspace.defer(async () => {
    await waitFor('the cgroup to be empty', () => readFileSync(`${path}/cgroup.procs`, 'latin1') === '');
    rmdirSync(path);
  });
  return path;
}
