/**
 * Commands that end at once, often before `runtime exec` itself has: whatever races there are, no status and no line of
 * output is lost to them.
 */
import { type Case, promise } from '../helpers/case.ts';
import { type ExecOptions, type ExecTarget, endContainer, idleContainer, noContainer } from '../helpers/exec.ts';
import { mapBounded } from '../helpers/wait.ts';

const AT_ONCE = 4;
const numbers = (count: number): number[] => [...Array(count).keys()];

/** Runs `count` execs. @returns what went wrong. */
async function runMany(
  c: Case,
  container: ExecTarget,
  count: number,
  plan: (index: number) => { readonly options: ExecOptions; readonly says: RegExp; readonly logs: string },
): Promise<string[]> {
  const wrong = await mapBounded(numbers(count), AT_ONCE, async (index) => {
    const { options, says, logs } = plan(index);
    const exec = c.exec(container, options);
    const said = await exec.everything();
    const logged = options.style === 'podman' ? '' : exec.log().stdout.toString();
    if (options.style === 'podman') {
      await exec.daemonGone();
    }
    exec.conmon.release();
    return says.test(said) && logged === logs ? [] : [`${index}: ${JSON.stringify({ said, logged })}`];
  });
  return wrong.flat();
}

promise(
  '100 commands of a real container that print a line and end at once lose nothing',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = await idleContainer(c);
    const wrong = await runMany(c, container, 100, (index) => {
      const status = index % 200;
      const style = index % 3 === 0 ? 'legacy' : 'execsync';
      return {
        options: { style, command: `echo line ${index}; exit ${status}` },
        says: new RegExp(`^\\{"exit_code": ${status}\\}\\n$`),
        logs: `line ${index}\n`,
      };
    });
    c.t.strictSame(wrong, []);
    await endContainer(container);
  },
);

promise('60 commands on terminals that end at once lose no status', { runtimes: ['runc', 'crun'] }, async (c) => {
  const container = await idleContainer(c);
  const wrong = await runMany(c, container, 60, (index) => {
    const status = index % 100;
    return index % 2 === 0
      ? {
          options: { style: 'podman', terminal: true, command: `exit ${status}` },
          says: new RegExp(`^\\{"data": \\d+\\}\\n\\{"data": ${status}\\}\\n$`),
          logs: '',
        }
      : {
          options: { terminal: true, command: `echo line ${index}; exit ${status}` },
          says: new RegExp(`^\\{"exit_code": ${status}\\}\\n$`),
          logs: `line ${index}\r\n`,
        };
  });
  c.t.strictSame(wrong, []);
  await endContainer(container);
});

promise(
  'a command that has ended long before its runtime has its status',
  { differs: { c: 'C 2.1.6 goes by the status of the runtime in an exec too; 2.2.1 does not' } },
  async (c) => {
    const wrong = await runMany(c, noContainer(c), 60, (index) => {
      // The runtime goes on after its container has ended, and may then fail: for an exec that is no failure.
      const after = ['sleep-ms 30', `exit ${c.differs === undefined ? index % 2 : 0}`];
      return {
        options: { fake: [`container-exit ${index + 1}`, ...after], style: index % 3 === 0 ? 'legacy' : 'execsync' },
        says: new RegExp(`^\\{"exit_code": ${index + 1}\\}\\n$`),
        logs: '',
      };
    });
    c.t.strictSame(wrong, []);
  },
);

promise('a command with --api-version that has ended before its runtime: the pid, then the status', {}, async (c) => {
  const wrong = await runMany(c, noContainer(c), 60, (index) => ({
    options: { fake: [`container-exit ${index + 1}`, 'sleep-ms 30'], style: 'podman' },
    says: new RegExp(`^\\{"data": \\d+\\}\\n\\{"data": ${index + 1}\\}\\n$`),
    logs: '',
  }));
  c.t.strictSame(wrong, []);
});
