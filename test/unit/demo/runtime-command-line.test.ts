/** The demo runtime's command line: help, mistakes, the dialect that conmon and engines use. */

import { readFileSync } from 'node:fs';
import t from 'tap';
import { parseCommandLine } from '../../../src/demo/command-line.ts';
import { Scratch } from './support.ts';

const scratch = new Scratch(t);
const program = { name: 'runtime', about: 'about', version: '1', defaultRoot: '/default' };
const parse = (line: string) => parseCommandLine(line.split(' '), program);

t.test('--help, --version and a failing create say what this runtime is', async (t) => {
  const notice = /for trying out conmon and for its tests. It isolates nothing/;
  t.match(scratch.command(['--help']), { status: 0, stdout: notice, stderr: '' });
  t.match(scratch.command(['--version']), { status: 0, stdout: notice });
  t.match(scratch.command(['create', '--bundle', '/nonexistent', 'x']), { status: 1, stderr: notice });
  t.match(scratch.command(['create', '--help']), { status: 0, stdout: /--console-socket/ });
});

t.test('features is JSON with the OCI versions', async (t) => {
  t.match(JSON.parse(scratch.must(['features'])), { ociVersionMin: '1.0.0', ociVersionMax: '1.0.2' });
});

t.test("conmon's and the engines' command lines are understood", async (t) => {
  t.match(
    await parse(
      '--systemd-cgroup --root=/r --log /l --log-format json create --bundle /b --pid-file /p --no-pivot ' +
        '--no-new-keyring --preserve-fds 2 --console-socket /s 0123',
    ),
    {
      command: 'create',
      id: '0123',
      root: '/r',
      log: '/l',
      logFormat: 'json',
      bundle: '/b',
      pidFile: '/p',
      preserveFds: 2,
      consoleSocket: '/s',
    },
  );
  t.match(await parse('exec --pid-file /p --process /s --detach c'), {
    command: 'exec',
    process: '/s',
    pidFile: '/p',
    detach: true,
    root: '/default',
  });
  t.match(await parse('kill --all c 9'), { command: 'kill', id: 'c', signal: '9', all: true });
  t.match(await parse('kill c'), { signal: 'TERM', all: false });
  t.match(await parse('delete -f c'), { command: 'delete', force: true });
  t.match(await parse('--root /a --root /b state c'), { root: '/b' }, 'the last one wins');
});

t.test('a mistake is one line on stderr and status 1', async (t) => {
  for (const [args, message] of [
    [[], /no command given/],
    [['frobnicate'], /frobnicate/],
    [['state'], /Not enough/],
    [['state', 'a', 'b'], /b/],
    [['state', 'a', '--frob'], /frob/],
    [['create', 'a', '--bundle'], /bundle/],
    [['exec', 'a'], /process/],
    [['create', '--preserve-fds', 'x', 'a'], /preserve/],
    [['--log-format', 'xml', 'state', 'a'], /xml/],
  ] as const) {
    const result = scratch.command(args);
    t.match(result, { status: 1, stdout: '', stderr: message }, args.join(' '));
    t.equal(result.stderr.trim().split('\n').length, 1);
  }
});

t.test('errors go to the log, too', async (t) => {
  const log = scratch.path('log');
  scratch.command(['--log', log, '--log-format', 'json', 'state', 'nobody']);
  scratch.command(['--log', log, 'state', 'nobody']);
  const [json, text] = readFileSync(log, 'utf8').split('\n');
  t.match(JSON.parse(json ?? ''), { level: 'error', msg: 'container nobody does not exist' });
  t.match(text, /level=error msg="container nobody does not exist"/);
});
