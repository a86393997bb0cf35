/** Ids and paths that would lead a file somewhere else are refused where they become a file. */
import t from 'tap';
import { CREATE, ID, options, refusal } from './fixtures/command-line.ts';

const e = (text: string) => `[conmon:e]: ${text}`;
const LEGACY_EXEC = ['-c', ID, '-r', '/r', '-l', 'none', '-e', '--exec-process-spec', '/s'] as const;

t.test('an id is never empty', async (t) => {
  t.equal(refusal([...CREATE, '-c', '']), e('--cid must not be empty'));
  t.equal(refusal([...CREATE, '-u', '']), e('--cuuid must not be empty'));
});

t.test('an id has no slash where it becomes a file name', async (t) => {
  const slash = (option: string, id: string) => e(`${option} must not contain '/', it becomes a file name: '${id}'`);
  t.equal(refusal([...CREATE, '-c', '../x', '--exit-dir', '/e', '-p', '/p']), slash('--cid', '../x'));
  t.equal(refusal([...CREATE, '-c', 'a/b']), slash('--cid', 'a/b'), 'the default pid file');
  t.equal(options([...CREATE, '-c', 'a/b', '-p', '/p']).cid, 'a/b', 'left to the runtime');
  t.equal(refusal([...CREATE, '-u', '/etc']), slash('--cuuid', '/etc'));
  t.equal(options([...CREATE, '-u', 'a/b', '--full-attach']).cuuid, 'a/b');
  t.equal(options([...CREATE, '-u', 'a/b', '-l', 'passthrough']).cuuid, 'a/b', 'no attach socket');
  t.equal(options([...LEGACY_EXEC, '-u', 'a/b']).cuuid, 'a/b', 'no bundle, no attach socket');
});

t.test('an id is not the name of a directory itself', async (t) => {
  for (const id of ['.', '..']) {
    t.equal(refusal([...CREATE, '-c', id, '--exit-dir', '/e']), e(`--cid must not be '${id}', it becomes a file name`));
    t.equal(refusal([...CREATE, '-u', id]), e(`--cuuid must not be '${id}', it becomes a file name`));
    t.equal(options([...CREATE, '-c', id]).cid, id, 'pidfile-. is a name like any other');
  }
});

t.test('an id fits into a file name, counted in bytes', async (t) => {
  const exit = ['--exit-dir', '/e', '-p', '/p'];
  t.equal(options([...CREATE, '-c', 'é'.repeat(127), ...exit]).cid.length, 127);
  t.equal(refusal([...CREATE, '-c', 'é'.repeat(128), ...exit]), e('--cid is 1 bytes too long, it becomes a file name'));
  t.equal(refusal([...CREATE, '-c', 'x'.repeat(250)]), e('--cid is 3 bytes too long, it becomes a file name'));
  t.equal(refusal([...CREATE, '-u', 'x'.repeat(256)]), e('--cuuid is 1 bytes too long, it becomes a file name'));
});

t.test('a legacy exec with a bundle needs the uuid that names its socket directory', async (t) => {
  t.equal(refusal([...LEGACY_EXEC, '-b', '/b']), e('Container UUID not provided. Use --cuuid'));
  t.equal(options([...LEGACY_EXEC, '-b', '/b', '-u', 'u']).cuuid, 'u');
  t.equal(options([...LEGACY_EXEC, '-b', '/b', '--full-attach']).cuuid, undefined);
});

t.test('an empty path is no path', async (t) => {
  const paths = [
    'conmon-pidfile',
    'container-pidfile',
    'pidfile',
    'exit-command',
    'exit-dir',
    'persist-dir',
    'restore',
  ];
  for (const name of [...paths, 'sdnotify-socket', 'socket-dir-path', 'log-allowlist-dir']) {
    const option = name === 'pidfile' ? 'container-pidfile' : name;
    t.equal(refusal([...CREATE, `--${name}=`]), e(`--${option} must not be empty`));
  }
  t.equal(refusal([...LEGACY_EXEC, '--exec-process-spec=']), e('--exec-process-spec must not be empty'));
});

t.test('a NUL that came another way than argv is refused', async (t) => {
  for (const name of ['cid', 'cuuid', 'name', 'log-tag', 'exit-dir']) {
    t.equal(refusal([...CREATE, '-l', 'journald', `--${name}`, `${ID}\0x`]), e(`--${name} must not contain NUL`));
  }
});

t.test('names and tags are free text', async (t) => {
  const { name, logTag } = options([...CREATE, '-l', 'journald', '-n', 'a/../b', '--log-tag', '']);
  t.same([name, logTag], ['a/../b', '']);
});
