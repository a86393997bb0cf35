/**
 * Containers as CRI-O runs them, step for step (test/helpers/crio.ts). `CONMON_UNDER_TEST=/path/to/bin/conmon` runs it
 * against an installed one.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { Crio } from '../helpers/crio.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { processesMarked } from '../helpers/proc.ts';
import { installFake } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

const REAL = ['runc', 'crun'] as const;

promise('CRI-O’s probe: the version is strict semver, at least 2.1.2', {}, async (c) => {
  const [major = 0, minor = 0, patch = 0] = (await new Crio(c).probe()).split('.').map(Number);
  c.t.ok(major * 1e6 + minor * 1e3 + patch >= 2_001_002);
});

promise(
  'a container’s life: created, started, its end noticed, everything as CRI-O reads it',
  { runtimes: REAL },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const container = crio.container({ script: 'echo out; echo err >&2; exit 7' });
    await container.run();
    c.t.ok(
      container.monitorLiving() || container.exitCode !== undefined,
      'its monitor was found by pid and start time',
    );
    c.t.equal(await container.stopped(), 7);
    c.t.ok(Math.abs(Date.now() - container.finishedMs) < 60_000, 'the time of its end');
    c.t.notOk(container.oomKilled);
    const log = readLog(container.logPath);
    c.t.strictSame([log.stdout.toString(), log.stderr.toString()], ['out\n', 'err\n']);
    await container.monitorEnded();
    await container.delete();
    c.t.strictSame(crio.leftovers(), []);
  },
);

promise(
  'all that conmon starts is in the cgroup that CRI-O moves it to before its start message',
  { runtimes: REAL },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const name = `${c.workspace.mark}-conmon`;
    const cgroup = existsSync('/sys/fs/cgroup/pids') ? `/sys/fs/cgroup/pids/${name}` : `/sys/fs/cgroup/${name}`;
    mkdirSync(cgroup);
    c.workspace.defer(async () => {
      await waitFor('the cgroup to be empty', () => readFileSync(`${cgroup}/cgroup.procs`, 'latin1') === '');
      rmdirSync(cgroup);
    });
    const members = () => readFileSync(`${cgroup}/cgroup.procs`, 'latin1').trim().split('\n').map(Number);
    const container = crio.container({
      script: 'while :; do sleep 0.1; done',
      beforeStart: (pid) => writeFileSync(`${cgroup}/cgroup.procs`, String(pid)),
    });
    await container.run();
    c.t.strictSame(members(), [container.monitorPid], 'the daemon alone, and no container');
    await container.stop();
    await container.stopped();
    await container.monitorEnded();
  },
);

promise(
  'a set-up that fails: conmon is killed before its start message, and nothing was made',
  { runtimes: ['runc'] },
  async (c) => {
    const crio = new Crio(c);
    const container = crio.container({
      script: 'exit 0',
      beforeStart: () => {
        throw new Error('no such cgroup');
      },
    });
    await c.t.rejects(container.create(), /no such cgroup/);
    await waitFor('everything to end', () => processesMarked(container.id).length === 0);
    c.t.strictSame(readdirSync(container.bundlePath).sort(), ['config.json'], 'no pid file, no socket, no fifo');
    c.t.strictSame(crio.leftovers(), []);
  },
);

promise(
  'a create that fails is an error with the runtime’s words, and leaves neither log nor socket',
  { runtimes: REAL },
  async (c) => {
    const crio = new Crio(c);
    for (const terminal of [false, true]) {
      const container = crio.container({ script: '', terminal, process: { args: ['/no/such/program'] } });
      await c.t.rejects(container.create(), /container create failed: .*(no\/such\/program|No such file)/s);
      await waitFor('conmon to end', () => processesMarked(container.id).length === 0);
      c.t.notOk(existsSync(container.logPath));
      if (c.monitor.name === 'ours') {
        c.t.strictSame(crio.leftovers(), []);
      }
    }
  },
);

promise(
  'a container on a terminal: stderr is closed, size and input come through, output is as kubectl attach wants it',
  { runtimes: REAL },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const container = crio.container({
      script: 'echo ready; while read x; do case $x in size) stty size;; end) exit 5;; esac; done',
      terminal: true,
    });
    await container.create();
    c.t.equal(container.said, '', 'conmon said nothing on its streams');
    const client = await container.attach();
    await container.start();
    await client.waitForText('ready\r\n');
    for (const [rows, columns] of [
      [24, 80],
      [50, 132],
    ] as const) {
      await container.control(`1 ${rows} ${columns}\n`);
      await waitFor(
        'the size',
        async () => {
          await client.send('size\n');
          return client.text.includes(`${rows} ${columns}\r\n`);
        },
        { intervalMs: 50 },
      );
    }
    await client.send('end\n');
    c.t.equal(await container.stopped(), 5);
    await client.waitForEnd();
    c.t.strictSame([...client.types], [2], 'all of it is stdout');
  },
);

promise(
  'stdin: a client’s end of input reaches a stdinOnce container; else it goes on',
  { runtimes: REAL },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const once = crio.container({ script: 'tr a-z A-Z; exit 3', stdin: true, stdinOnce: true });
    await once.run();
    const client = await once.attach();
    await client.send('some words\n');
    client.endInput();
    await client.waitForEnd();
    c.t.equal(client.text, 'SOME WORDS\n', 'it goes on reading after its shutdown');
    c.t.equal(await once.stopped(), 3);
    const open = crio.container({
      script: 'while read x; do echo got $x; test $x = end && exit 4; done; exit 9',
      stdin: true,
    });
    await open.run();
    for (const word of ['one', 'end']) {
      const each = await open.attach();
      await each.send(`${word}\n`);
      each.endInput();
      await each.waitForText(`got ${word}\n`);
      each.close();
    }
    c.t.equal(await open.stopped(), 4);
  },
);

promise(
  '15 rotations under load: each is answered, and no line is lost or twice',
  { runtimes: ['runc'] },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const end = c.workspace.path('end');
    const script = `i=0; while [ ! -e ${end} ]; do i=$((i+1)); echo "line $i of the container, padded a little"; done; echo last $i`;
    const container = crio.container({ script, noSyncLog: true });
    await container.run();
    const rotated: string[] = [];
    for (let round = 0; round < 15; round++) {
      await waitFor('some lines', () => readFileSync(container.logPath).length > 2000);
      rotated.push(`${container.logPath}.${round}`);
      await container.rotateLog(rotated.at(-1) ?? '');
    }
    writeFileSync(end, '');
    c.t.equal(await container.stopped(), 0);
    const logs = [...rotated, container.logPath].map((path) => readLog(path));
    const lines = Buffer.concat(logs.map((log) => log.stdout))
      .toString()
      .split('\n')
      .slice(0, -1);
    const count = Number(/^last (\d+)$/.exec(lines.pop() ?? '')?.[1]);
    c.t.equal(lines.length, count, `${count} lines`);
    c.t.equal(
      lines.findIndex((line, index) => line !== `line ${index + 1} of the container, padded a little`),
      -1,
      'in order',
    );
  },
);

promise('a rotation of a container that says nothing is answered too', { runtimes: ['runc'] }, async (c) => {
  const crio = new Crio(c);
  crio.startExitMonitor();
  const container = crio.container({ script: 'while :; do sleep 0.1; done' });
  await container.run();
  for (const round of [1, 2, 3]) {
    await container.rotateLog(`${container.logPath}.${round}`);
    c.t.ok(existsSync(container.logPath), `round ${round}`);
  }
  await container.stop();
  await container.stopped();
});

promise('SIGPIPE, with which systemd ends a scope, does not end conmon', { runtimes: ['runc'] }, async (c) => {
  const crio = new Crio(c);
  crio.startExitMonitor();
  const container = crio.container({
    script: 'trap "echo late; exit 6" TERM; echo ready; while :; do sleep 0.02; done',
  });
  await container.run();
  await waitFor('the trap', () => readFileSync(container.logPath, 'latin1').includes('F ready'));
  process.kill(container.monitorPid, 'SIGPIPE');
  await container.stop('TERM');
  c.t.equal(await container.stopped(), 6);
  c.t.equal(readLog(container.logPath).stdout.toString(), 'ready\nlate\n');
});

promise('containers that end while CRI-O restarts are found by their exit files', { runtimes: ['runc'] }, async (c) => {
  const crio = new Crio(c);
  crio.startExitMonitor();
  const ends = [0, 1, 2, 3].map((i) => c.workspace.path(`end-${i}`));
  const containers = ends.map((end, i) =>
    crio.container({ script: `while [ ! -e ${end} ]; do sleep 0.02; done; echo bye; exit ${10 + i}` }),
  );
  for (const container of containers) {
    await container.run();
  }
  crio.stopExitMonitor();
  for (const container of containers) {
    container.abandon();
  }
  for (const end of ends.slice(0, 2)) {
    writeFileSync(end, '');
  }
  await waitFor('two exit files', () => containers.slice(0, 2).every(({ exitFilePath }) => existsSync(exitFilePath)));
  // The others end while it comes up.
  writeFileSync(ends[2] ?? '', '');
  crio.startExitMonitor();
  writeFileSync(ends[3] ?? '', '');
  crio.restoreContainers();
  for (const [i, container] of containers.entries()) {
    await waitFor(`the end of ${i}`, () => {
      crio.restoreContainers();
      return container.exitCode !== undefined;
    });
    c.t.equal(container.exitCode, 10 + i);
    c.t.equal(readLog(container.logPath).stdout.toString(), 'bye\n', 'its log is whole');
    await container.monitorEnded();
  }
});

promise(
  'a container that runs out of memory is OOMKilled when its end is noticed',
  { runtimes: ['runc'] },
  async (c) => {
    const crio = new Crio(c);
    crio.startExitMonitor();
    const container = crio.container({ script: 'exec tail /dev/zero', process: { memoryLimit: 24 << 20 } });
    await container.run();
    c.t.equal(await container.stopped(), 137);
    c.t.ok(container.oomKilled);
  },
);

promise('the environment is all that CRI-O gives, and the runtime gets no more', {}, async (c) => {
  const crio = new Crio(c);
  crio.startExitMonitor();
  const runtimePath = installFake(c.workspace.path('runtime'), [
    `record ${c.workspace.path('got')}`,
    'container-exit 4',
  ]);
  const container = crio.container({ script: '', runtimePath });
  await container.create().catch((error: Error) => {
    // The container may be gone before its start time was read, as CRI-O finds it too.
    if (!/ENOENT|ESRCH/.test(error.message)) {
      throw error;
    }
  });
  c.t.equal(await container.stopped(), 4);
  const environment = readFileSync(c.workspace.path('got', 'environ'), 'latin1').split('\0').slice(0, -1).sort();
  c.t.strictSame(
    environment,
    Object.entries(crio.env())
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  );
});
