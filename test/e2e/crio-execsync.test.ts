/**
 * CRI-O's ExecSync, with which kubelet runs probes: one message, the output in a log that is there already, the end of all
 * streams, whatever happens.
 */
import { readFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import { Crio, type CrioContainer, type CrioContainerOptions } from '../helpers/crio.ts';
import { processesMarked } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

const REAL = ['runc', 'crun'] as const;
const EMPTY_IS_0 = 'C takes an empty pid file for pid 0 and waits for it';
const sh = (script: string): readonly string[] => ['/bin/sh', '-c', script];

async function withContainer(
  c: Case,
  check: (container: CrioContainer, crio: Crio) => Promise<void>,
  options: Partial<CrioContainerOptions> = {},
): Promise<void> {
  const crio = new Crio(c);
  crio.startExitMonitor();
  const container = crio.container({ script: 'trap "exit 0" TERM; while :; do sleep 1000 & wait; done', ...options });
  await container.run();
  await check(container, crio);
  // A check may have stopped it: the exit monitor hears of that a little later.
  if (container.living()) {
    await container.stop();
  }
  await container.stopped();
  await container.monitorEnded();
  c.t.strictSame(crio.leftovers(), [], 'nothing is left of container and execs');
}

promise('output, error output and status of a command', { runtimes: REAL }, async (c) => {
  await withContainer(c, async (container) => {
    const { result } = container.execSync(sh('echo out; echo err >&2; printf "no end"; exit 7'));
    c.t.strictSame(await result, { kind: 'response', stdout: 'out\nno end', stderr: 'err\n', exitCode: 7 });
    const { result: silent } = container.execSync(['/bin/true']);
    c.t.strictSame(await silent, { kind: 'response', stdout: '', stderr: '', exitCode: 0 });
  });
});

promise('a command in a container with a terminal gets one too', { runtimes: REAL }, async (c) => {
  await withContainer(
    c,
    async (container) => {
      const { result } = container.execSync(sh('test -t 1 && echo tty; exit 3'));
      c.t.strictSame(await result, { kind: 'response', stdout: 'tty\r\n', stderr: '', exitCode: 3 });
    },
    { terminal: true },
  );
});

promise(
  'a command that cannot be run is an error with the runtime’s words',
  { runtimes: REAL, excludes: { c: EMPTY_IS_0 } },
  async (c) => {
    await withContainer(c, async (container) => {
      const outcome = await container.execSync(['/no/such/program']).result;
      c.t.equal(outcome.kind, 'error');
      c.t.match(outcome.kind === 'error' ? outcome.message : '', /no\/such\/program|No such file/);
    });
  },
);

promise(
  'a command that runs too long: kubelet sees a failed probe, at once and with its reason',
  { runtimes: REAL },
  async (c) => {
    await withContainer(c, async (container) => {
      const { result } = container.execSync(sh('sleep 1000 & sleep 1000'), { timeoutSeconds: 1 });
      c.t.strictSame(await result, { kind: 'response', stdout: '', stderr: 'command timed out', exitCode: -1 });
    });
  },
);

promise('a grandchild that keeps the streams does not keep the command from ending', { runtimes: REAL }, async (c) => {
  await withContainer(c, async (container) => {
    const { result } = container.execSync(sh('sleep 1000 & echo done; exit 2'));
    c.t.strictSame(await result, { kind: 'response', stdout: 'done\n', stderr: '', exitCode: 2 });
  });
});

promise(
  '20 MB of output are cut at the 16 MiB that CRI-O takes, and the command ends',
  { runtimes: ['runc'] },
  async (c) => {
    await withContainer(c, async (container) => {
      const outcome = await container.execSync(
        sh('yes 0123456789012345678901234567890123456789 | head -c 20000000; exit 5'),
      ).result;
      c.t.equal(outcome.kind === 'response' ? outcome.exitCode : outcome, 5);
      const stdout = outcome.kind === 'response' ? outcome.stdout : '';
      c.t.ok(stdout.length > 4_000_000, `${stdout.length} bytes came through`);
      c.t.match(stdout.slice(0, 82), /^(0123456789012345678901234567890123456789\n)+$/);
    });
  },
);

promise(
  '12 commands at the same time under a flood of output: each has its own answer',
  { runtimes: REAL },
  async (c) => {
    await withContainer(
      c,
      async (container) => {
        const execs = [...Array(12).keys()].map((i) =>
          container.execSync(sh(`echo probe ${i}; sleep 0.1; echo over >&2; exit ${i}`)),
        );
        const outcomes = await Promise.all(execs.map(({ result }) => result));
        c.t.strictSame(
          outcomes,
          [...Array(12).keys()].map((i) => ({
            kind: 'response',
            stdout: `probe ${i}\n`,
            stderr: 'over\n',
            exitCode: i,
          })),
        );
        c.t.equal(new Set(execs.map(({ pid }) => pid)).size, 12);
      },
      {
        script: 'while :; do echo a flood of output from the container itself; done',
        noSyncLog: true,
        logSizeMax: 1 << 20,
      },
    );
  },
);

promise(
  'a container that stops: SIGINT to the commands that run, and each ends with an answer',
  { runtimes: REAL },
  async (c) => {
    await withContainer(c, async (container) => {
      const execs = [1, 2, 3].map(() => container.execSync(sh('echo ready; sleep 1000')));
      for (const { logPath } of execs) {
        await waitFor('its line', () => readFileSync(logPath, 'latin1').includes('F ready'));
      }
      await container.stop();
      for (const { result } of execs) {
        const outcome = await result;
        // Killed with its pid namespace, or by the SIGINT, whichever came first.
        c.t.ok(outcome.kind === 'response' && [130, 137].includes(outcome.exitCode), JSON.stringify(outcome));
      }
      c.t.equal(container.execPids.size, 0);
    });
  },
);

promise('SIGINT to a command’s conmon ends the command and not the container', { runtimes: REAL }, async (c) => {
  await withContainer(c, async (container) => {
    const { pid, logPath, result } = container.execSync(
      sh('trap "echo bye; exit 9" INT; echo ready; while :; do sleep 0.02; done'),
    );
    await waitFor('its line', () => readFileSync(logPath, 'latin1').includes('F ready'));
    process.kill(pid, 'SIGINT');
    c.t.strictSame(await result, { kind: 'response', stdout: 'ready\nbye\n', stderr: '', exitCode: 9 });
    c.t.ok(container.living());
  });
});

promise(
  'commands while the log is rotated and the container ends: none is left without an answer',
  { runtimes: ['runc'] },
  async (c) => {
    await withContainer(
      c,
      async (container) => {
        const results = [];
        for (let round = 0; round < 6; round++) {
          results.push(container.execSync(sh(`echo ${round}; sleep 0.05`)).result);
          await container.rotateLog(`${container.logPath}.${round}`);
        }
        const last = container.execSync(sh('sleep 1000'));
        await Promise.all(results);
        await container.stop();
        results.push(last.result);
        const outcomes = await Promise.all(results);
        c.t.strictSame(
          outcomes.slice(0, 6).map((outcome) => (outcome.kind === 'response' ? outcome.stdout : outcome.message)),
          ['0\n', '1\n', '2\n', '3\n', '4\n', '5\n'],
        );
        await waitFor('every conmon of an exec to end', () =>
          processesMarked(container.id).every(({ cmdline }) => !cmdline.includes('--sync')),
        );
      },
      { script: 'while :; do echo some output; done', noSyncLog: true },
    );
  },
);
