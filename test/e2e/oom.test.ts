/**
 * Containers that run out of memory: real ones with a limit, in the hierarchy that the machine has, and on a cgroup v2
 * made of files for the machines that have v1.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { waitFor } from '../helpers/wait.ts';

const LIMIT = 24 << 20;
/** tail keeps the last line, and this one has no end. */
const EAT = 'tail /dev/zero';

const oomFiles = (container: Container) => [`${container.bundle}/oom`, `${container.persistDir}/oom`];
const seen = (container: Container) => oomFiles(container).map((path) => existsSync(path));

function limited(c: Case, script: string, more: { readonly memoryLimit?: number } = { memoryLimit: LIMIT }): Container {
  return c.container({ process: { args: ['/bin/sh', '-c', script], ...more } });
}

promise(
  'a container that is killed for want of memory: an empty file oom in bundle and persist dir, before the exit file',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = limited(c, `exec ${EAT}`);
    await container.run();
    c.t.equal(await container.exited(), 137);
    c.t.strictSame(seen(container), [true, true], 'there when the exit file is');
    for (const path of oomFiles(container)) {
      c.t.equal(statSync(path).size, 0, 'empty');
      c.t.ok(statSync(path).mtimeMs <= statSync(container.exitFile).mtimeMs, 'before the exit file');
    }
    await container.ended();
  },
);

promise(
  'a child that is killed for want of memory is told while the container runs on',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const end = c.workspace.path('end');
    const container = limited(c, `${EAT}; echo status $?; while [ ! -e ${end} ]; do sleep 0.02; done; exit 4`);
    await container.run();
    await waitFor('both oom files', () => seen(container).every(Boolean));
    await waitFor('the container to go on', () => readFileSync(container.logPath, 'latin1').includes('F status 137'));
    c.t.notOk(existsSync(container.exitFile), 'it runs');
    writeFileSync(end, '');
    c.t.equal(await container.finished(), 4);
  },
);

promise('a container that ends within its limit leaves no file oom', { runtimes: ['runc', 'crun'] }, async (c) => {
  for (const script of ['exit 0', 'exit 137', 'sleep 0.2; exit 3']) {
    const container = limited(c, script);
    await container.run();
    await container.finished();
    await container.delete();
    c.t.strictSame(seen(container), [false, false], script);
  }
});

promise(
  '20 containers that are killed for want of memory at once: none is missed',
  { runtimes: ['runc'] },
  async (c) => {
    for (let round = 0; round < 5; round++) {
      const containers = [1, 2, 3, 4].map(() => limited(c, `exec ${EAT}`));
      for (const container of containers) {
        await container.run();
      }
      for (const container of containers) {
        c.t.equal(await container.finished(), 137);
        c.t.strictSame(seen(container), [true, true]);
      }
    }
  },
);

promise(
  'a bundle that is gone keeps neither the other file nor the container’s end back',
  { runtimes: ['runc'] },
  async (c) => {
    const go = c.workspace.path('go');
    const container = limited(c, `while [ ! -e ${go} ]; do sleep 0.02; done; ${EAT}; exit 6`);
    await container.run();
    renameSync(container.bundle, `${container.dir}/moved`);
    writeFileSync(go, '');
    c.t.equal(await container.exited(), 6);
    c.t.ok(existsSync(`${container.persistDir}/oom`));
    await container.ended();
    renameSync(`${container.dir}/moved`, container.bundle);
  },
);

/** The v2 tree of this machine, for processes to be in; on a hybrid one its memory controller is elsewhere. */
const V2 = existsSync('/sys/fs/cgroup/cgroup.procs') ? '/sys/fs/cgroup' : '/sys/fs/cgroup/unified';
const FIRST_LINE =
  'C 2.1.6 takes the first line of /proc/PID/cgroup, which on a machine with v1 beside it is not the one; 2.2.1 does';

/** A fake container in a cgroup v2 whose directory, as conmon sees it, is one of plain files. */
async function inFixture(
  c: Case,
  script: string,
  mark = '',
): Promise<{ container: Container; counters: (oom: number, kill: number) => void }> {
  const name = `${c.workspace.mark}-v2${mark}`;
  const cgroup = `${V2}/${name}`;
  const fixture = c.workspace.directory(name);
  const counters = (oom: number, kill: number) =>
    writeFileSync(`${fixture}/memory.events`, `low 0\nhigh 0\nmax 5\noom ${oom}\noom_kill ${kill}\noom_group_kill 0\n`);
  counters(0, 0);
  mkdirSync(cgroup);
  c.workspace.defer(async () => {
    await waitFor('the cgroup to be empty', () => readFileSync(`${cgroup}/cgroup.procs`, 'latin1') === '');
    rmdirSync(cgroup);
  });
  const joined = c.workspace.path(`joined${mark}`);
  const container = c.container({
    fake: [`container ${script}`, `wait-file ${joined}`],
    launch: ['--cgroup2', fixture],
  });
  const pid = await waitFor(
    'the pid file',
    () => existsSync(container.containerPidfile) && readFileSync(container.containerPidfile, 'latin1'),
  );
  writeFileSync(`${cgroup}/cgroup.procs`, pid);
  writeFileSync(joined, '');
  await container.created();
  return { container, counters };
}

promise(
  'cgroup v2: a rise of oom or oom_kill in memory.events is told at once; other counters are not',
  V2 === '/sys/fs/cgroup' ? {} : { excludes: { c: FIRST_LINE } },
  async (c) => {
    for (const [oom, kill] of [
      [1, 0],
      [0, 1],
    ] as const) {
      const end = c.workspace.path(`end-${oom}`);
      const { container, counters } = await inFixture(
        c,
        `while [ ! -e ${end} ]; do sleep 0.01; done; exit 5`,
        `-${oom}`,
      );
      counters(0, 0);
      c.t.strictSame(seen(container), [false, false], 'nothing yet');
      counters(oom, kill);
      await waitFor('both oom files', () => seen(container).every(Boolean));
      writeFileSync(end, '');
      c.t.equal(await container.finished(), 5);
    }
  },
);

promise(
  'cgroup v2: what happens right before the container’s end is told before the exit file',
  V2 === '/sys/fs/cgroup' ? {} : { excludes: { c: FIRST_LINE } },
  async (c) => {
    const { container, counters } = await inFixture(c, 'exec sleep 1000');
    process.kill(container.daemonPid, 'SIGSTOP');
    counters(1, 1);
    process.kill(container.containerPid, 'SIGKILL');
    process.kill(container.daemonPid, 'SIGCONT');
    c.t.equal(await container.exited(), 137);
    c.t.strictSame(seen(container), [true, true]);
    await container.ended();
  },
);
