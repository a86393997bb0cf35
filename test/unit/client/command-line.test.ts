/** The attach client's command line: what is attached to, and what is said about mistakes. */
import t from 'tap';
import { HELP, type Plan, parseCommandLine } from '../../../src/client/command-line.ts';

function plan(...args: string[]): Plan {
  const found = parseCommandLine(args, '1.2.3');
  if (found.kind !== 'attach') throw new Error(found.text);
  return found;
}

t.test('a container by its id, its bundle, or its socket', async (t) => {
  for (const args of [['abc'], ['-c', 'abc'], ['--cid', 'abc'], ['--cid=abc']])
    t.match(plan(...args), {
      socketPath: '/var/run/crio/abc/attach',
      ctlPath: '/var/run/crio/abc/ctl',
      configPath: '/var/run/crio/abc/config.json',
    });
  t.equal(plan('abc', '--socket-dir-path', '/s').socketPath, '/s/abc/attach');
  t.match(plan('-b', 'some/bundle'), { socketPath: 'some/bundle/attach', ctlPath: 'some/bundle/ctl' });
  t.match(plan('--bundle', '/b'), { socketPath: '/b/attach', configPath: '/b/config.json' });
  t.match(plan('./x/attach'), { socketPath: './x/attach', ctlPath: 'x/ctl' });
  t.match(plan('/any/where/sock'), { socketPath: '/any/where/sock', ctlPath: '/any/where/ctl' });
});

t.test('how to talk', async (t) => {
  t.match(plan('x'), { terminal: undefined, detachKeys: [16, 17], input: true, exitFile: undefined });
  t.match(plan('x', '--no-stdin', '--tty', '--detach-keys', 'ctrl-a,d', '--exit-dir', '/exits'), {
    terminal: true,
    detachKeys: [1, 'd'.charCodeAt(0)],
    input: false,
    exitFile: '/exits/x',
  });
  t.match(plan('x', '--no-tty', '--detach-keys='), { terminal: false, detachKeys: [] });
});

t.test('mistakes are named', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /no container was named/],
    [['a', 'b'], /several containers/],
    [['a', '-c', 'b'], /several containers/],
    [['-c', 'a', '-b', 'b'], /several containers/],
    [[''], /name is empty/],
    [['-c', 'a/b'], /"a\/b" is no container id/],
    [['-c', '..'], /is no container id/],
    [['..'], /is no container id/],
    [['x'.repeat(256)], /is no container id/],
    [['x', '--nonsense'], /--nonsense/],
    [['x', '--cid'], /--cid/],
    [['x', '--detach-keys', 'ctrl-1'], /--detach-keys/],
    [['x', '--tty', '--no-tty'], /contradict/],
    [['/a/attach', '--exit-dir', '/e'], /--exit-dir needs a container/],
    [['-b', '/a', '--exit-dir', '/e'], /--exit-dir needs a container/],
  ];
  for (const [args, message] of cases) t.throws(() => plan(...args), { name: 'ClientError', message }, args.join(' '));
});

t.test('help and version come before mistakes of the rest', async (t) => {
  t.same(parseCommandLine(['-h'], '1.2.3'), { kind: 'text', text: HELP });
  t.same(parseCommandLine(['--version', 'a', 'b'], '1.2.3'), { kind: 'text', text: 'conmon-attach of conmon 1.2.3\n' });
});
