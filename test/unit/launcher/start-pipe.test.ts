/** The start pipe: nothing is started before one read of it is done. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { childrenOf, processInfo } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type Installation, promise, type Started } from './harness.ts';

const PIPE_3 = { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] } as const;
const ERROR = '[conmon:e]: ';

/** The launcher sleeps and has no child: all that is left to do for it then is to wait. */
async function waits(started: Started): Promise<void> {
  await waitFor('the launcher to wait', () => {
    const info = processInfo(started.pid);
    return info?.comm === 'conmon' && info.state === 'S' && childrenOf(started.pid).length === 0;
  });
}

function start(it: Installation, dump: string, more: readonly string[] = []): Started {
  return it.start({ stdio: [...PIPE_3.stdio], env: ['_OCI_STARTPIPE=3'], args: [`do:dump=${dump}`, ...more] });
}

promise('nothing is started until the caller writes', async (t, it) => {
  const dump = it.file('dump');
  const started = start(it, dump);
  await waits(started);
  t.notOk(existsSync(dump));
  started.pipe(3).write('go');
  t.equal((await started.ended()).status, 0);
  t.ok(existsSync(dump));
});

promise('EOF counts as go', async (t, it) => {
  const dump = it.file('dump');
  const started = start(it, dump);
  await waits(started);
  started.pipe(3).end();
  t.equal((await started.ended()).status, 0);
  t.ok(existsSync(dump));
});

promise('one read is done: what comes later is for the daemon, which inherits the pipe', async (t, it) => {
  const [dump, second] = [it.file('dump'), it.file('second')];
  const started = start(it, dump, [`do:read=3:${second}`]);
  await waits(started);
  started.pipe(3).write('first');
  const seen = await it.dump(dump);
  t.equal(seen.fds.get(3)?.flags, 0, 'inheritable');
  t.equal(seen.handOver('fds'), '3');
  started.pipe(3).write('second');
  t.equal((await started.ended()).status, 0);
  t.equal(readFileSync(second, 'latin1'), 'second');
});

promise('at most 8192 bytes are taken', async (t, it) => {
  const rest = it.file('rest');
  const input = it.file('input');
  writeFileSync(input, Buffer.alloc(8192 + 7, 'x'));
  const env = ['_OCI_STARTPIPE=9'];
  const outcome = await it.run({ env, caller: [`file=9:${input}`], args: [`do:read=9:${rest}`] });
  t.equal(outcome.status, 0);
  t.equal(readFileSync(rest, 'latin1'), 'x'.repeat(7));
});

promise('a start pipe above 9 works', async (t, it) => {
  const dump = it.file('dump');
  const stdio = [...PIPE_3.stdio];
  const started = it.start({
    stdio,
    env: ['_OCI_STARTPIPE=42'],
    caller: ['copy=3:42', 'close=3'],
    args: [`do:dump=${dump}`],
  });
  await waits(started);
  started.pipe(3).write('go');
  t.equal((await started.ended()).status, 0);
});

promise('a value that is no number is an error that names the variable', async (t, it) => {
  const dump = it.file('dump');
  for (const value of ['x', '3x', 'x3', '3 ', ' 3', '-1', '+3', '0x3', '3.0', '3\n', '\xff']) {
    const env = [Buffer.from(`_OCI_STARTPIPE=${value}`, 'latin1')];
    const outcome = await it.run({ env, caller: ['null=3'], args: [`do:dump=${dump}`] });
    t.match(outcome, { status: 1, stderr: `${ERROR}unable to parse _OCI_STARTPIPE Invalid argument\n` }, value);
  }
  for (const value of ['2147483648', '4294967299', '99999999999999999999999999']) {
    const outcome = await it.run({ env: [`_OCI_STARTPIPE=${value}`], caller: ['null=3'], args: [`do:dump=${dump}`] });
    const stderr = `${ERROR}unable to parse _OCI_STARTPIPE Numerical result out of range\n`;
    t.match(outcome, { status: 1, stderr }, value);
  }
  t.notOk(existsSync(dump));
});

promise('an fd that is not open is an error', async (t, it) => {
  for (const value of ['3', '2147483647']) {
    const outcome = await it.run({ env: [`_OCI_STARTPIPE=${value}`] });
    t.match(outcome, { status: 1, stderr: `${ERROR}unable to make _OCI_STARTPIPE CLOEXEC Bad file descriptor\n` });
  }
});

promise('an fd that cannot be read is an error', async (t, it) => {
  const outcome = await it.run({ env: ['_OCI_STARTPIPE=3'], caller: ['file=3:/'] });
  t.match(outcome, { status: 1, stderr: `${ERROR}start-pipe read failed Is a directory\n` });
});

promise('a regular file is read once, an empty one is EOF', async (t, it) => {
  const input = it.file('input');
  for (const content of ['go', '']) {
    writeFileSync(input, content);
    t.equal((await it.run({ env: ['_OCI_STARTPIPE=3'], caller: [`file=3:${input}`] })).status, 0);
  }
});

promise('0 and the empty string name no start pipe', async (t, it) => {
  const dump = it.file('dump');
  for (const value of ['0', '', '000']) {
    // stdin stays open and silent: a read of it would never end
    t.equal((await it.run({ env: [`_OCI_STARTPIPE=${value}`], args: [`do:dump=${dump}`] })).status, 0, `"${value}"`);
  }
});

promise('the first of two entries counts, as for getenv', async (t, it) => {
  const env = ['_OCI_STARTPIPE=x', '_OCI_STARTPIPE=0'];
  t.equal((await it.run({ env })).status, 1);
  t.equal((await it.run({ env: env.toReversed() })).status, 0);
});

promise('SIGTERM, SIGINT and SIGQUIT end the wait with status 1, and nothing is started', async (t, it) => {
  const dump = it.file('dump');
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) {
    for (const caller of [[], ['ignore=all', 'block=all']]) {
      const options = { stdio: [...PIPE_3.stdio], env: ['_OCI_STARTPIPE=3'], args: [`do:dump=${dump}`], caller };
      const started = it.start(options);
      await waits(started);
      started.child.kill(signal);
      t.match(await started.ended(), { status: 1, signal: null, stderr: '' }, `${signal} ${caller}`);
    }
  }
  t.notOk(existsSync(dump));
});

promise('a blocked SIGTERM that is already pending ends it with status 1', async (t, it) => {
  const dump = it.file('dump');
  const outcome = await it.run({ caller: ['block=15', 'raise=15'], args: [`do:dump=${dump}`] });
  t.match(outcome, { status: 1, signal: null });
  t.notOk(existsSync(dump));
});

promise('SIGPIPE does not end the wait', async (t, it) => {
  const started = start(it, it.file('dump'));
  await waits(started);
  started.child.kill('SIGPIPE');
  started.pipe(3).write('go');
  t.equal((await started.ended()).status, 0);
});
