/** The demo runtime's life cycle: create, start, state, kill, delete, without a monitor. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { waitFor } from '../../helpers/wait.ts';
import { isRunning, processSpec, Scratch } from './support.ts';

const scratch = new Scratch(t);
const isRoot = process.geteuid?.() === 0;

const text = (path: string) => readFileSync(path, 'utf8');
const isStopped = (id: string) => scratch.state(id).status === 'stopped';

t.test('a created container waits, runs on start, and is stopped at its end', async (t) => {
  const ran = scratch.path('ran');
  const bundle = scratch.bundle(processSpec(['sh', '-c', `echo "$$" > ${ran}; read line < ${ran}.end`]));
  await once(spawn('mkfifo', [`${ran}.end`], { timeout: 5000 }), 'exit');
  const pidFile = scratch.path('pidfile');
  scratch.must(['create', '--bundle', bundle, '--pid-file', pidFile, 'life']);
  const pid = Number(text(pidFile));
  const { ociVersion, id, status, bundle: where, pid: statePid } = scratch.state('life');
  t.same([ociVersion, id, status, where, statePid], ['1.0.2', 'life', 'created', bundle, pid]);
  t.notOk(existsSync(ran), 'the command has not run');
  scratch.must(['start', 'life']);
  await waitFor('the command', () => existsSync(ran) && text(ran) !== '');
  t.equal(text(ran), `${pid}\n`, 'the pid file names the process that is the command');
  t.equal(scratch.state('life').status, 'running');
  writeFileSync(`${ran}.end`, '\n');
  await waitFor('the end', () => isStopped('life'));
  t.equal(scratch.state('life').pid, 0);
  scratch.must(['delete', 'life']);
  t.same(scratch.containers(), []);
});

t.test('arguments and environment reach the command byte for byte', async (t) => {
  const out = scratch.path('exact');
  const args = [
    'sh',
    '-c',
    `cat /proc/$$/cmdline > ${out}.a; cat /proc/$$/environ > ${out}.e`,
    'a b\nc',
    'ü"\'$`\\',
    '',
    '--',
  ];
  const env = ['PATH=/usr/bin:/bin', 'X.y=ä z', 'MULTI=1\n2=3', 'EMPTY=', 'PWD=/elsewhere', '-i=x'];
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(args, { env })), 'exact']);
  scratch.must(['start', 'exact']);
  await waitFor('the end', () => isStopped('exact'));
  t.same(text(`${out}.a`).split('\0'), [...args, '']);
  t.same(text(`${out}.e`).split('\0'), [...env, '']);
});

t.test('a command with = in its name is a command, not a variable', async (t) => {
  const command = scratch.path('name=value');
  writeFileSync(command, `#!/bin/sh\necho "$1" > ${scratch.path('equal')}\n`, { mode: 0o755 });
  scratch.must(['create', '--bundle', scratch.bundle(processSpec([command, 'one'])), 'equal']);
  scratch.must(['start', 'equal']);
  await waitFor('the end', () => isStopped('equal'));
  t.equal(text(scratch.path('equal')), 'one\n');
});

t.test('the command is looked up in the PATH of its own environment', async (t) => {
  const out = scratch.path('lookup');
  writeFileSync(scratch.path('only-here'), `#!/bin/sh\necho "$0" > ${out}\n`, { mode: 0o755 });
  const env = [`PATH=/nonexistent:${scratch.directory}:/bin`];
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['only-here'], { env })), 'lookup']);
  scratch.must(['start', 'lookup']);
  await waitFor('the end', () => isStopped('lookup'));
  t.equal(text(out), `${scratch.path('only-here')}\n`);
});

t.test(
  'cwd, umask and, for root, user are those of the process',
  { skip: isRoot ? false : 'needs root' },
  async (t) => {
    const args = ['sh', '-c', 'pwd; umask; id -u; id -g; ps -o sid= -p $$ | tr -d " "; echo $$'];
    const spec = processSpec(args, { cwd: '/usr', user: { uid: 12345, gid: 23456, umask: 0o27 } });
    const out = scratch.path('who');
    const outFd = openSync(out, 'w');
    const child = spawn(scratch.runtime, ['--root', scratch.root, 'create', '-b', scratch.bundle(spec), 'who'], {
      stdio: ['ignore', outFd, outFd],
      timeout: 20_000,
    });
    closeSync(outFd);
    t.same(await once(child, 'exit'), [0, null]);
    const { pid } = scratch.state('who');
    scratch.must(['start', 'who']);
    await waitFor('the end', () => isStopped('who'));
    t.same(text(out).trim().split('\n'), ['/usr', '0027', '12345', '23456', String(pid), String(pid)]);
  },
);

t.test('the container has the preserved fds and no others', async (t) => {
  const out = scratch.path('fds');
  const bundle = scratch.bundle(processSpec(['sh', '-c', `ls /proc/$$/fd > ${out}; echo three >&3; echo four >&4`]));
  const fds = ['p3', 'p4', 'p5'].map((name) => openSync(scratch.path(name), 'w'));
  scratch.must(['create', '--preserve-fds', '2', '--bundle', bundle, 'fds'], { fds });
  for (const fd of fds) closeSync(fd);
  scratch.must(['start', 'fds']);
  await waitFor('the end', () => isStopped('fds'));
  t.same([text(scratch.path('p3')), text(scratch.path('p4'))], ['three\n', 'four\n']);
  // sh keeps a number of its own for a redirection that it takes back.
  t.notOk(text(out).split('\n').includes('5'), 'fd 5 was not preserved');
});

t.test('preserving an fd that is not open, or too many, is an error', async (t) => {
  const bundle = scratch.bundle(processSpec(['true']));
  t.match(scratch.command(['create', '--preserve-fds', '1', '--bundle', bundle, 'nofd']), {
    status: 1,
    stderr: /fd 3 is not open/,
  });
  t.match(scratch.command(['create', '--preserve-fds', '7', '--bundle', bundle, 'nofd']), {
    status: 1,
    stderr: /0 to 6/,
  });
  t.notOk(scratch.containers().includes('nofd'));
});

t.test('start works once, and only for a container that waits', async (t) => {
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sleep', '60'])), 'once']);
  scratch.must(['start', 'once']);
  t.match(scratch.command(['start', 'once']), { status: 1, stderr: /state "running"/ });
  scratch.must(['kill', 'once', 'KILL']);
  await waitFor('the end', () => isStopped('once'));
  t.match(scratch.command(['start', 'once']), { status: 1, stderr: /state "stopped"/ });
  t.match(scratch.command(['start', 'nobody']), { status: 1, stderr: /container nobody does not exist/ });
});

t.test('an id that is taken or no file name is refused', async (t) => {
  const bundle = scratch.bundle(processSpec(['sleep', '60']));
  scratch.must(['create', '--bundle', bundle, 'taken']);
  t.match(scratch.command(['create', '--bundle', bundle, 'taken']), { status: 1, stderr: /already exists/ });
  t.equal(scratch.state('taken').status, 'created', 'the first one is untouched');
  for (const id of ['..', '.', 'a/b', '', 'a b', 'ä', 'x'.repeat(256)]) {
    t.match(
      scratch.command(['create', '--bundle', bundle, '--', id]),
      { status: 1, stderr: /invalid container ID|Not enough/ },
      JSON.stringify(id),
    );
  }
});

t.test('a bad config.json is told by name and leaves nothing behind', async (t) => {
  const good = { args: ['true'], cwd: '/', env: ['PATH=/bin'] };
  const config = (process: unknown) => ({ ociVersion: '1.0.2', process });
  const cases: [string, unknown, RegExp][] = [
    ['no JSON', '{', /config\.json is not JSON/],
    ['no object', '[]', /config\.json holds no JSON object/],
    ['no version', { process: good }, /ociVersion/],
    ['no process', { ociVersion: '1.0.2' }, /process is missing/],
    ['no args', config({ ...good, args: undefined }), /process\.args is missing/],
    ['empty args', config({ ...good, args: [] }), /process\.args is empty/],
    ['args of numbers', config({ ...good, args: [1] }), /process\.args\[0\]/],
    ['a NUL', config({ ...good, args: ['a\0b'] }), /holds a NUL/],
    ['env without =', config({ ...good, env: ['HOME'] }), /"HOME" is not NAME=value/],
    ['env without a name', config({ ...good, env: ['=x'] }), /"=x" is not NAME=value/],
    ['no cwd', config({ ...good, cwd: undefined }), /process\.cwd/],
    ['relative cwd', config({ ...good, cwd: 'x' }), /not an absolute path/],
    ['cwd that is not there', config({ ...good, cwd: '/nonexistent' }), /\/nonexistent/],
    ['unknown command', config({ ...good, args: ['frobnicate'] }), /"frobnicate": executable file not found in \$PATH/],
    ['command that is no file', config({ ...good, args: ['/bin'] }), /"\/bin": is not a regular file/],
    ['empty command', config({ ...good, args: [''] }), /executable file not found/],
    ['bad uid', config({ ...good, user: { uid: -1 } }), /user\.uid/],
    ['bad umask', config({ ...good, user: { umask: 512 } }), /user\.umask/],
    ['terminal without a socket', config({ ...good, terminal: true }), /--console-socket/],
  ];
  const before = scratch.containers();
  for (const [name, content, message] of cases) {
    const pidFile = scratch.fresh('pidfile');
    const result = scratch.command(['create', '--bundle', scratch.bundle({}, content), '--pid-file', pidFile, 'bad']);
    t.match(result, { status: 1, stderr: message, stdout: '' }, name);
    t.match(result.stderr, /isolates nothing/, 'and says what it is');
    t.notOk(existsSync(pidFile));
  }
  t.match(scratch.command(['create', '--bundle', '/nonexistent', 'bad']), {
    status: 1,
    stderr: /\/nonexistent\/config\.json/,
  });
  t.same(scratch.containers(), before);
});

t.test('a pid file that cannot be written undoes the create', async (t) => {
  const bundle = scratch.bundle(processSpec(['sh', '-c', ': a-mark-of-its-own; sleep 60']));
  const result = scratch.command(['create', '--bundle', bundle, '--pid-file', '/nonexistent/pid', 'nopid']);
  t.match(result, { status: 1, stderr: /pid file \/nonexistent\/pid/ });
  t.notOk(scratch.containers().includes('nopid'));
  const waits = () =>
    readdirSync('/proc').some((pid) => isRunning(Number(pid)) && cmdline(pid).includes('a-mark-of-its-own'));
  await waitFor('the process to go', () => !waits());
});

t.test('kill takes names and numbers, and refuses what it does not know', async (t) => {
  const out = scratch.path('signals');
  const script = `trap 'echo usr1 >> ${out}' USR1; trap 'echo term >> ${out}' TERM; echo ready >> ${out}; while :; do sleep 0.05; done`;
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sh', '-c', script])), 'signals']);
  scratch.must(['start', 'signals']);
  const lines = () => (existsSync(out) ? text(out).split('\n').length - 1 : 0);
  await waitFor('the traps', () => lines() === 1);
  let count = 1;
  for (const signal of ['USR1', 'SIGUSR1', 'usr1', '10', undefined, '15']) {
    scratch.must(['kill', 'signals', ...(signal === undefined ? [] : [signal])]);
    count++;
    await waitFor(`signal ${signal}`, () => lines() === count);
  }
  t.same(text(out).trim().split('\n'), ['ready', 'usr1', 'usr1', 'usr1', 'usr1', 'term', 'term']);
  t.match(scratch.command(['kill', 'signals', 'NOSUCH']), { status: 1, stderr: /unknown signal "NOSUCH"/ });
  t.match(scratch.command(['kill', 'signals', '65']), { status: 1, stderr: /unknown signal "65"/ });
  scratch.must(['kill', 'signals', 'KILL']);
  await waitFor('the end', () => isStopped('signals'));
  t.match(scratch.command(['kill', 'signals', 'KILL']), { status: 1, stderr: /not running/ });
});

t.test('kill --all ends the children too, also when the first process is gone', async (t) => {
  const out = scratch.path('children');
  const script = `sleep 300 & echo $! > ${out}; exit 0`;
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sh', '-c', script])), 'children']);
  scratch.must(['start', 'children']);
  await waitFor('the end', () => isStopped('children'));
  const child = Number(text(out));
  t.ok(isRunning(child));
  scratch.must(['kill', '--all', 'children', 'KILL']);
  await waitFor('the child to go', () => !isRunning(child));
});

t.test('delete wants a container that has ended, or --force', async (t) => {
  const out = scratch.path('force');
  const script = `sleep 300 & echo $! > ${out}; wait`;
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sh', '-c', script])), 'force']);
  scratch.must(['start', 'force']);
  await waitFor('the child', () => existsSync(out) && text(out) !== '');
  const { pid } = scratch.state('force');
  t.match(scratch.command(['delete', 'force']), { status: 1, stderr: /it is running/ });
  scratch.must(['delete', '--force', 'force']);
  t.notOk(isRunning(pid) || isRunning(Number(text(out))), 'nothing of it runs');
  t.match(scratch.command(['delete', 'force']), { status: 1, stderr: /does not exist/ });
  scratch.must(['delete', '--force', 'force']);
});

t.test('a container that was never started can be deleted', async (t) => {
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sleep', '60'])), 'unstarted']);
  const { pid } = scratch.state('unstarted');
  scratch.must(['delete', 'unstarted']);
  t.notOk(isRunning(pid));
});

t.test('a pid that belongs to another process by now is never signalled', async (t) => {
  const stranger = spawn('sleep', ['300'], { stdio: 'ignore', detached: true, timeout: 60_000 });
  t.teardown(() => stranger.kill('SIGKILL'));
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['true'])), 'reused']);
  scratch.must(['start', 'reused']);
  await waitFor('the end', () => isStopped('reused'));
  const record = join(scratch.root, 'reused/container.json');
  const content = JSON.parse(text(record));
  writeFileSync(record, JSON.stringify({ ...content, init: { ...content.init, pid: stranger.pid } }));
  t.equal(scratch.state('reused').status, 'stopped');
  t.match(scratch.command(['kill', 'reused', 'KILL']), { status: 1, stderr: /not running/ });
  t.match(scratch.command(['kill', '--all', 'reused', 'KILL']), { status: 1, stderr: /not running/ });
  scratch.must(['delete', '--force', 'reused']);
  t.ok(isRunning(stranger.pid ?? -1));
});

function cmdline(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
