/** The demo runtime's exec. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { waitFor } from '../../helpers/wait.ts';
import { isRunning, processSpec, Scratch } from './support.ts';

const scratch = new Scratch(t);

function specFile(args: readonly string[], changes: object = {}): string {
  const path = scratch.fresh('process');
  writeFileSync(path, JSON.stringify(processSpec(args, changes)));
  return path;
}

t.before(() => {
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sleep', '300'])), 'c']);
  scratch.must(['start', 'c']);
});

t.test('without --detach, exec passes streams and status on', async (t) => {
  const spec = specFile(['sh', '-c', 'echo out; echo err >&2; exit 42']);
  t.same(scratch.command(['exec', '--process', spec, 'c']), { status: 42, stdout: 'out\n', stderr: 'err\n' });
  t.equal(scratch.command(['exec', '--process', specFile(['sh', '-c', 'kill -9 $$']), 'c']).status, 137);
});

t.test('with --detach, exec returns at once and the pid file names the command', async (t) => {
  const pidFile = scratch.path('pidfile');
  const out = scratch.path('out');
  const spec = specFile(['sh', '-c', `echo $$ > ${out}; exec sleep 300`]);
  // As CRI-O has it: the file is there, empty.
  writeFileSync(pidFile, '');
  scratch.must(['exec', '--detach', '--pid-file', pidFile, '--process', spec, 'c']);
  await waitFor('the command', () => existsSync(out) && readFileSync(out, 'utf8') !== '');
  t.equal(`${readFileSync(pidFile, 'utf8')}\n`, readFileSync(out, 'utf8'));
  t.ok(isRunning(Number(readFileSync(pidFile, 'utf8'))));
});

t.test('a command that cannot be found is told, and no pid file is written', async (t) => {
  const pidFile = scratch.fresh('pidfile');
  const result = scratch.command(['exec', '--pid-file', pidFile, '--process', specFile(['frobnicate']), 'c']);
  t.match(result, { status: 1, stderr: /"frobnicate": executable file not found/ });
  t.notOk(existsSync(pidFile));
});

t.test('a bad process file is told by name', async (t) => {
  t.match(scratch.command(['exec', '--process', '/nonexistent', 'c']), {
    status: 1,
    stderr: /cannot read \/nonexistent/,
  });
  t.match(scratch.command(['exec', '--process', specFile([]), 'c']), { status: 1, stderr: /args is empty/ });
  t.match(scratch.command(['exec', 'c']), { status: 1, stderr: /process/ });
});

t.test('deleting the container ends what was executed in it', async (t) => {
  const pidFile = scratch.fresh('pidfile');
  scratch.must(['exec', '-d', '--pid-file', pidFile, '-p', specFile(['sleep', '300']), 'c']);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  scratch.must(['kill', 'c', 'KILL']);
  await waitFor('the end', () => scratch.state('c').status === 'stopped');
  t.match(scratch.command(['exec', '-p', specFile(['true']), 'c']), { status: 1, stderr: /state "stopped"/ });
  t.ok(isRunning(pid));
  scratch.must(['delete', 'c']);
  t.notOk(isRunning(pid));
});
