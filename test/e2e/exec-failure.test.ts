/**
 * Execs that never begin: the pid file tells, whether it is missing or was left empty, and the caller hears the runtime's
 * own words. And those that run too long.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { type Exec, endContainer, idleContainer, noContainer } from '../helpers/exec.ts';
import { isRunning } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

const ownError = { code: 1, signal: null };
const words = (text: string, status: number) => (exec: Exec) => {
  writeFileSync(exec.path('words'), text);
  return [`stderr ${exec.path('words')}`, `exit ${status}`];
};

const RUNTIME_STATUS = 'C 2.1.6 goes by the status of the runtime in an exec too; 2.2.1 does not';
const EMPTY_IS_0 = 'C takes an empty pid file for pid 0 and waits for it';

for (const [name, style, withoutFiles] of [
  ['missing', 'legacy', true],
  ['missing', 'execsync', true],
  ['empty', 'execsync', false],
  ['empty', 'legacy', false],
] as const) {
  promise(
    `an exec whose pid file is ${name}, ${style}: -1 and the runtime’s words, whatever its own status was`,
    withoutFiles
      ? { differs: { c: 'C 2.1.6 goes by the status of the runtime, and adds nothing for a missing pid file' } }
      : { excludes: { c: EMPTY_IS_0 } },
    async (c) => {
      for (const status of c.differs === undefined ? [0, 1, 255] : [1]) {
        const exec = c.exec(noContainer(c), { style, withoutFiles, fake: words('no "such" thing\n', status) });
        c.t.equal(
          await exec.everything(),
          '{"exit_code": -1, "message": "no \\"such\\" thing\\n"}\n',
          `status ${status}`,
        );
        c.t.strictSame(await exec.ended(), style === 'legacy' ? { code: 0, signal: null } : ownError);
      }
    },
  );
}

promise(
  'an exec with --api-version whose pid file is missing: -1 and the runtime’s words; no exit file',
  {},
  async (c) => {
    const exec = c.exec(noContainer(c), { style: 'podman', fake: words('no such thing\n', 1) });
    await exec.everything();
    c.t.strictSame(exec.conmon.packets.map(String), ['{"data": -1, "message": "no such thing\\n"}\n']);
    await exec.daemonGone();
    c.t.strictSame([...readdirSync(exec.exitDir), ...readdirSync(exec.persistDir)], []);
  },
);

promise(
  'an exec whose runtime fails without a word: -1, and a message that names the pid file',
  { excludes: { c: EMPTY_IS_0 } },
  async (c) => {
    const exec = c.exec(noContainer(c), { fake: ['exit 1'] });
    const { json } = await exec.conmon.nextMessage();
    c.t.equal(json['exit_code'], -1);
    c.t.match(json['message'], exec.pidFile);
    c.t.strictSame(await exec.ended(), ownError);
  },
);

promise(
  'a runtime that fails after it has written the pid file is no failure of the exec',
  { excludes: { c: RUNTIME_STATUS } },
  async (c) => {
    const exec = c.exec(noContainer(c), { fake: ['container sleep 0.05; echo out; exit 3', 'exit 1'] });
    c.t.equal(await exec.everything(), '{"exit_code": 3}\n');
    c.t.equal(exec.log().stdout.toString(), 'out\n');
  },
);

promise(
  'a command that does not exist: -1 and the words of a real runtime',
  { runtimes: ['runc', 'crun'], excludes: { c: EMPTY_IS_0 } },
  async (c) => {
    const container = await idleContainer(c);
    for (const terminal of [false, true]) {
      const exec = c.exec(container, { terminal, command: ['/no/such/program'] });
      const { json } = await exec.conmon.nextMessage();
      c.t.equal(json['exit_code'], -1, `terminal ${terminal}`);
      c.t.match(json['message'], /no\/such\/program|No such file/);
      c.t.strictSame(await exec.ended(), ownError);
      c.t.equal(readFileSync(exec.logPath, 'latin1'), '', 'the log stays empty');
    }
    await endContainer(container);
  },
);

promise(
  'an exec in a container that is gone: -1 and the words of a real runtime',
  { runtimes: ['runc', 'crun'], excludes: { c: EMPTY_IS_0 } },
  async (c) => {
    const container = await idleContainer(c);
    await endContainer(container);
    const exec = c.exec(container, { command: ['/bin/true'] });
    const { json } = await exec.conmon.nextMessage();
    c.t.equal(json['exit_code'], -1);
    c.t.ok(String(json['message']).length > 10, String(json['message']));
    c.t.strictSame(await exec.ended(), ownError);
  },
);

promise(
  'an exec that reaches its --timeout: -1 and `command timed out`, and its process is gone',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = await idleContainer(c);
    const said = { execsync: 'exit_code', legacy: 'exit_code', podman: 'data' } as const;
    for (const style of ['execsync', 'legacy', 'podman'] as const) {
      const exec = c.exec(container, { style, command: 'echo begun; sleep 1000', args: ['-T', '1'] });
      const all = await exec.everything();
      c.t.ok(all.endsWith(`{"${said[style]}": -1, "message": "command timed out"}\n`), all);
      c.t.equal(all.split('\n').length, style === 'podman' ? 3 : 2, 'and nothing more');
      const pid = Number(readFileSync(exec.pidFile, 'latin1'));
      await waitFor('its process to end', () => !isRunning(pid));
      // 255 = -1 as an exit status has it.
      c.t.strictSame(await exec.ended(), { code: style === 'execsync' ? 255 : 0, signal: null });
      if (style !== 'podman') {
        c.t.equal(exec.log().stdout.toString(), 'begun\n', 'what was logged before stays');
      }
    }
    await endContainer(container);
  },
);

promise('an exec that ends before its --timeout has its own status, at once', {}, async (c) => {
  const from = performance.now();
  const exec = c.exec(noContainer(c), { fake: ['container-exit 9'], args: ['-T', '30'] });
  c.t.equal(await exec.everything(), '{"exit_code": 9}\n');
  c.t.ok(performance.now() - from < 15_000);
});

promise(
  'a --timeout ends the processes of the exec’s group and leaves the container alone',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const container = await idleContainer(c);
    const exec = c.exec(container, { command: 'sleep 1001 & sleep 1002 & wait', args: ['-T', '1'] });
    await exec.everything();
    const after = c.exec(container, { command: 'ps | grep -c "sleep 100[12]$"' });
    await waitFor('the group to end', () => existsSync(after.logPath));
    await after.number();
    c.t.equal(after.log().stdout.toString(), '0\n', 'none of its processes is left');
    await endContainer(container);
  },
);
