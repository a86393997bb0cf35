/**
 * --syslog and --log-level, on a /dev/log of the test's own: which messages go there, in which form, and that nobody waits
 * for them.
 */
import { writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { ContainerOptions } from '../helpers/container.ts';
import { DevLog } from '../helpers/dev-log.ts';
import { noContainer } from '../helpers/exec.ts';
import { waitFor } from '../helpers/wait.ts';

/** A container with --syslog (as CRI-O has it) and /dev/log at `log`. */
function syslogged(c: Case, log: DevLog, options: ContainerOptions): ReturnType<Case['container']> {
  return c.container({ ...options, launch: log.launch });
}

promise('messages have facility, level, time, name and the id in 20 bytes', {}, async (c) => {
  const log = new DevLog(c).read();
  const container = syslogged(c, log, { fake: ['container-exit 3'], args: ['--log-level', 'debug'] });
  await container.created();
  await container.exited();
  const line = await waitFor('the pid', () => log.messages().find((message) => message.includes('container PID')));
  const id = container.cid.slice(0, 20);
  const time = '[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}';
  c.t.match(
    line.trimEnd(),
    new RegExp(`^<14>${time} conmon(\\[\\d+\\])?: conmon ${id} <ndebug>: container PID: \\d+$`),
  );
});

promise('an error has priority LOG_ERR', {}, async (c) => {
  const log = new DevLog(c).read();
  const args = ['--exit-dir', '/nonexistent/exits', '--log-level', 'error'];
  const container = syslogged(c, log, { fake: ['container-exit 3'], args });
  await container.created();
  const line = await waitFor('the error', () => log.messages().find((message) => message.includes('<error>')));
  c.t.match(line, /^<11>.* <error>: Failed to write 3 to exit file: .*No such file or directory/);
  await container.ended();
});

/** The marks of what is told at each level: of a missing exit dir, garbage on ctl, a timeout, the container's pid. */
const TOLD = {
  error: ['error'],
  fatal: ['error'],
  PANIC: ['error'],
  warn: ['error', 'nwarn'],
  Warning: ['error', 'nwarn'],
  info: ['error', 'ninfo', 'nwarn'],
  debug: ['error', 'ndebug', 'ninfo', 'nwarn'],
  trace: ['error', 'ndebug', 'ninfo', 'nwarn'],
} as const;

promise('--log-level: each level tells what it should and no more', {}, async (c) => {
  const told = Object.keys(TOLD).map(async (level) => {
    const log = new DevLog(c, `log-${level}`).read();
    const args = ['--log-level', level, '-T', '1', '--exit-dir', '/nonexistent/exits'];
    const container = syslogged(c, log, { fake: ['container exec sleep 1000'], args });
    await container.created();
    writeFileSync(`${container.bundle}/ctl`, 'rubbish\n');
    await container.ended();
    const marks = new Set(log.messages().map((message) => /<([a-z]+)>: /.exec(message)?.[1] ?? message));
    marks.delete('ntrace');
    return [level, [...marks].sort()] as const;
  });
  c.t.strictSame(Object.fromEntries(await Promise.all(told)), TOLD);
});

promise('without --syslog nothing goes there', {}, async (c) => {
  const log = new DevLog(c).read();
  const exec = c.exec(noContainer(c), {
    fake: ['container-exit 0'],
    args: ['--log-level', 'trace', '-T', '60'],
    launch: log.launch,
  });
  c.t.notOk(exec.args.includes('--syslog'));
  c.t.equal(await exec.everything(), '{"exit_code": 0}\n');
  await exec.ended();
  c.t.strictSame(log.messages(), []);
});

promise('an option error goes there too, with --syslog', {}, async (c) => {
  const log = new DevLog(c).read();
  const container = syslogged(c, log, { fake: ['container-exit 0'], args: ['--exec', '--restore', '/x'] });
  c.t.strictSame(await container.conmon.started, { code: 1, signal: null });
  c.t.match(
    log.messages().join(''),
    /^<11>.* conmon [0-9a-f]{20} <error>: Cannot use 'exec' and 'restore' at the same time/,
  );
});

promise(
  'a system log that takes nothing any more costs the messages and no time',
  { excludes: { c: 'C waits in syslog(3) until somebody reads' } },
  async (c) => {
    const log = new DevLog(c);
    log.fill();
    const container = syslogged(c, log, { fake: ['container echo out; exit 4'], args: ['--log-level', 'trace'] });
    await container.created();
    c.t.equal(await container.exited(), 4);
    c.t.equal(container.log().stdout.toString(), 'out\n');
    await container.ended();
  },
);

promise('a /dev/log that nobody listens at costs nothing', {}, async (c) => {
  const container = c.container({
    fake: ['container-exit 5'],
    args: ['--log-level', 'trace'],
    launch: ['--dev-log', c.workspace.path('nobody')],
  });
  await container.created();
  c.t.equal(await container.exited(), 5);
});
