/**
 * Exec sessions in real containers: what the caller hears, in each way of calling, and where output and input go.
 */
import { readFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { endContainer, idleContainer } from '../helpers/exec.ts';
import { waitFor } from '../helpers/wait.ts';

const REAL = ['runc', 'crun'] as const;

promise('a legacy exec says one thing on the sync pipe: its status under exit_code', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  for (const style of ['execsync', 'legacy'] as const) {
    const exec = c.exec(container, { style, command: 'echo out; echo err >&2; exit 7' });
    c.t.equal(await exec.everything(), '{"exit_code": 7}\n', style);
    c.t.strictSame(
      await exec.ended(),
      { code: style === 'execsync' ? 7 : 0, signal: null },
      `${style}: started process`,
    );
    c.t.equal(exec.log().stdout.toString(), 'out\n', `${style}: stdout`);
    c.t.equal(exec.log().stderr.toString(), 'err\n', `${style}: stderr`);
  }
  await endContainer(container);
});

promise(
  'an exec with --api-version says its pid, then its status, each in one write, under data',
  { runtimes: REAL },
  async (c) => {
    const container = await idleContainer(c);
    const exec = c.exec(container, { style: 'podman', command: 'exit 9' });
    c.t.strictSame(await exec.ended(), { code: 0, signal: null }, 'the started process');
    await exec.everything();
    const pid = readFileSync(exec.pidFile, 'latin1');
    c.t.strictSame(exec.conmon.packets.map(String), [`{"data": ${pid}}\n`, '{"data": 9}\n']);
    await exec.daemonGone();
    await endContainer(container);
  },
);

promise('an exec killed by a signal has the status 128 + signal', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  for (const signal of [1, 9, 15]) {
    const exec = c.exec(container, { command: `kill -${signal} $$; sleep 10` });
    c.t.equal(await exec.everything(), `{"exit_code": ${128 + signal}}\n`);
    c.t.strictSame(await exec.ended(), { code: 128 + signal, signal: null });
  }
  await endContainer(container);
});

promise('an exec runs in the container and not beside it', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  const exec = c.exec(container, { command: 'hostname; tr "\\0" " " </proc/1/cmdline' });
  c.t.equal(await exec.number(), 0);
  c.t.match(exec.log().stdout.toString(), /^e2e\n\/bin\/sh -c trap/);
  await endContainer(container);
});

promise('an exec with -t has a terminal, whose output is logged as stdout', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  for (const style of ['execsync', 'legacy'] as const) {
    const exec = c.exec(container, {
      style,
      terminal: true,
      command: 'test -t 0 && test -t 1 && test -t 2 && echo tty; echo err >&2; exit 4',
    });
    c.t.equal(await exec.everything(), '{"exit_code": 4}\n', style);
    c.t.equal(exec.log().stdout.toString(), 'tty\r\nerr\r\n', `${style}: output`);
    c.t.equal(exec.log().stderr.toString(), '', `${style}: nothing on stderr`);
    await exec.ended();
  }
  await endContainer(container);
});

promise('an exec without -i reads the end of its stdin at once; with -i it waits', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  const without = c.exec(container, { command: 'read x; echo status $?' });
  c.t.equal(await without.number(), 0);
  c.t.equal(without.log().stdout.toString(), 'status 1\n');
  const waits = c.exec(container, { command: 'echo ready; read x; echo status $?', args: ['-i'] });
  await waitFor('its first line', () => readFileSync(waits.logPath, 'latin1').includes('F ready'));
  c.t.equal(waits.conmon.unread, '', 'it has not ended');
  process.kill(Number(readFileSync(waits.pidFile, 'latin1')), 'SIGKILL');
  c.t.equal(await waits.number(), 137);
  await endContainer(container);
});

promise(
  'execs in one container at the same time have each their own output and status',
  { runtimes: REAL },
  async (c) => {
    const container = await idleContainer(c);
    const numbers = [...Array(8).keys()];
    const execs = numbers.map((i) =>
      c.exec(container, { command: `echo one ${i}; sleep 0.1; echo two ${i}; exit ${i}` }),
    );
    const statuses = await Promise.all(execs.map((exec) => exec.number()));
    c.t.strictSame(statuses, numbers);
    c.t.strictSame(
      execs.map((exec) => exec.log().stdout.toString()),
      numbers.map((i) => `one ${i}\ntwo ${i}\n`),
    );
    await endContainer(container);
  },
);

promise('the end of the container ends its execs, and each says so', { runtimes: REAL }, async (c) => {
  const container = await idleContainer(c);
  const execs = [1, 2, 3].map(() => c.exec(container, { command: 'echo ready; sleep 1000' }));
  for (const exec of execs) {
    await waitFor('its line', () => readFileSync(exec.logPath, 'latin1').includes('F ready'));
  }
  await endContainer(container);
  for (const exec of execs) {
    c.t.equal(await exec.number(), 137);
    c.t.strictSame(await exec.ended(), { code: 137, signal: null });
  }
});
