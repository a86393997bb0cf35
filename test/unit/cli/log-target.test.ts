/** `--log-path` values and the rules between drivers, tag, labels and id. */
import t from 'tap';
import { chooseLogTargets, parseLogPath } from '../../../src/cli/log-target.ts';
import { BARE, ID, options, refusal } from './fixtures/command-line.ts';

const e = (text: string) => `[conmon:e]: ${text}`;

t.test('a value is a driver with a path, a driver, or a bare path', async (t) => {
  const cases = {
    '/var/log/x': { driver: 'k8s-file', path: '/var/log/x' },
    'k8s-file:/var/log/x': { driver: 'k8s-file', path: '/var/log/x' },
    'k8s-file:relative': { driver: 'k8s-file', path: 'relative' },
    ':/var/log/x': { driver: 'k8s-file', path: '/var/log/x' },
    ':none': { driver: 'k8s-file', path: 'none' },
    '::journald::': { driver: 'k8s-file', path: 'journald' },
    'k8s-file::/x': { driver: 'k8s-file', path: '/x' },
    ':k8s-file:/x': { driver: 'k8s-file', path: '/x' },
    'json-file:/var/log/x': { driver: 'json-file', path: '/var/log/x' },
    journald: { driver: 'journald' },
    'journald:': { driver: 'journald' },
    'journald:ignored': { driver: 'journald' },
    passthrough: { driver: 'passthrough' },
    none: { driver: 'none' },
    off: { driver: 'none' },
    null: { driver: 'none' },
    'none:ignored': { driver: 'none' },
    ':none:ignored': { driver: 'none' },
  };
  for (const [text, target] of Object.entries(cases)) {
    const found = parseLogPath(text);
    t.same(found, target, text);
    t.ok(Object.isFrozen(found), text);
  }
});

t.test('a path keeps its colons', async (t) => {
  t.same(parseLogPath('k8s-file:/a:b/ctr.log'), { driver: 'k8s-file', path: '/a:b/ctr.log' });
});

t.test('what names no log is refused with the words of C', async (t) => {
  const cases = {
    '': 'log-path must not be empty',
    ':': 'log-path must not be empty',
    ':::': 'log-path must not be empty',
    'k8s-file': 'k8s-file requires a filename',
    'k8s-file:': 'k8s-file requires a filename',
    'json-file': 'json-file requires a filename',
    'json-file::': 'json-file requires a filename',
    'syslog:': 'No such log driver syslog',
    'foo:bar': 'No such log driver foo',
    '/var/log:x': 'No such log driver /var/log',
    ':a:b': 'No such log driver a',
    'K8S-FILE:/x': 'No such log driver K8S-FILE',
  };
  for (const [text, problem] of Object.entries(cases)) {
    t.equal(parseLogPath(text), problem, text);
    t.equal(refusal([...BARE, '-l', text]), e(problem));
  }
});

t.test('without a log path there is no session', async (t) => {
  t.equal(refusal(BARE), e('Log driver not provided. Use --log-path'));
});

t.test('each log is chosen once, any number of files of one driver, in the order of first mention', async (t) => {
  const chosen = chooseLogTargets({
    logPaths: [
      'none',
      'k8s-file:/a',
      'journald',
      'off',
      'json-file:/j',
      '/b',
      'json-file:/k',
      'passthrough',
      'k8s-file:/b',
      'journald',
      'k8s-file:/k',
    ],
    cid: ID,
    tag: undefined,
    labels: undefined,
  });
  t.same(chosen, {
    kind: 'targets',
    targets: [
      { driver: 'k8s-file', path: '/a' },
      { driver: 'journald' },
      { driver: 'json-file', path: '/j' },
      { driver: 'k8s-file', path: '/b' },
      { driver: 'json-file', path: '/k' },
      { driver: 'passthrough' },
      { driver: 'k8s-file', path: '/k' },
    ],
  });
  t.ok(chosen.kind === 'targets' && Object.isFrozen(chosen.targets));
});

t.test('there is a limit to how many logs a container has', async (t) => {
  const paths = (count: number) => Array.from({ length: count }, (_, i) => ['-l', `/log${i}`]).flat();
  t.equal(options([...BARE, ...paths(16), '-l', '/log3']).logTargets.length, 16);
  t.equal(refusal([...BARE, ...paths(17)]), e('Too many log paths: 17 of at most 16'));
});

t.test('no log at all is one target that says so', async (t) => {
  t.same(options([...BARE, '-l', 'none', '-l', 'off']).logTargets, [{ driver: 'none' }]);
});

t.test('the first bad value is the one that is told', async (t) => {
  t.equal(refusal([...BARE, '-l', '/ok', '-l', 'a:b', '-l', 'k8s-file']), e('No such log driver a'));
});

t.test('a k8s-file has no place for a tag or labels, unless the journal takes them', async (t) => {
  const labelled = ['--log-label', 'A=b'];
  t.equal(refusal([...BARE, '-l', '/x', '--log-tag', 't']), e("k8s-file doesn't support --log-tag"));
  t.equal(refusal([...BARE, '-l', '/x', '--log-tag', '']), e("k8s-file doesn't support --log-tag"));
  t.equal(refusal([...BARE, '-l', '/x', ...labelled]), e("k8s-file doesn't support --log-label"));
  t.equal(refusal([...BARE, '-l', '/x', ...labelled, '--log-tag', 't']), e("k8s-file doesn't support --log-tag"));
  const { logTag, logLabels } = options([...BARE, '-l', '/x', '-l', 'journald', '--log-tag', 't', ...labelled]);
  t.same([logTag, logLabels], ['t', ['A=b']]);
  options([...BARE, '-l', 'none', '--log-tag', 't', ...labelled]);
  options([...BARE, '-l', 'json-file:/x', '--log-tag', 't', ...labelled]);
});

t.test('the journal wants an id that is longer than the short one', async (t) => {
  const journal = (cid: string) => ['-c', cid, '-u', 'u', '-r', '/r', '-l', 'journald'];
  t.equal(refusal(journal('123456789012')), e('Container ID must be longer than 12 characters'));
  t.equal(options(journal('1234567890123')).cid, '1234567890123');
  t.equal(options(journal('éééééé1')).cid, 'éééééé1', 'counted in bytes, as C does');
  t.equal(options(['-c', 'short', '-u', 'u', '-r', '/r', '-l', '/x']).cid, 'short');
});

t.test('tag and labels that every record would carry have a limit', async (t) => {
  for (const driver of ['journald', 'json-file:/x']) {
    const label = `A=${'é'.repeat(8000)}`;
    const args = [...BARE, '-l', driver, '--log-label', label];
    t.equal(options([...args, '--log-tag', 't'.repeat(382)]).logLabels[0], label, '16384 bytes');
    const problem = 'log-tag and log-label together are longer than 16384 bytes';
    t.equal(refusal([...args, '--log-tag', 't'.repeat(383)]), e(problem));
  }
});

t.test('labels are NAME=VALUE with a plain name and one equals sign', async (t) => {
  const one = "Container labels must be in format LABEL=VALUE (none or more than one '=' present in";
  const cases = {
    '=x': "Container labels must be in format LABEL=VALUE (no LABEL present in '=x')",
    '=': "Container labels must be in format LABEL=VALUE (no LABEL present in '=')",
    '': `${one} '')`,
    LABEL: `${one} 'LABEL')`,
    'A=b=c': `${one} 'A=b=c')`,
    'a=b': "Container label names must contain only uppercase letters, numbers and underscore (in 'a=b')",
    'A-B=c': "Container label names must contain only uppercase letters, numbers and underscore (in 'A-B=c')",
    'É=c': "Container label names must contain only uppercase letters, numbers and underscore (in 'É=c')",
    ' A=b': "Container label names must contain only uppercase letters, numbers and underscore (in ' A=b')",
  };
  for (const driver of ['journald', 'json-file:/x']) {
    for (const [label, problem] of Object.entries(cases)) {
      t.equal(refusal([...BARE, '-l', driver, '--log-label', 'OK=1', '--log-label', label]), e(problem));
    }
    const good = ['A=', 'A_1=b c', '0=1', '_=x', 'A=ünï'];
    const argv = good.flatMap((label) => ['--log-label', label]);
    t.same(options([...BARE, '-l', driver, ...argv]).logLabels, good);
  }
});
