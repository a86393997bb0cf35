/** `make install` and `make uninstall`: what lies where afterwards, and that it works wherever it is put. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { listTree, make, PROGRAM_FILES, temporaryRoot } from '../../helpers/make.ts';
import { REPOSITORY } from '../../helpers/native.ts';
import { NODE_FLAGS } from '../launcher/harness.ts';

/** The part of an installed tree below `directory`. */
function below(tree: readonly string[], directory: string): string[] {
  return tree.flatMap((line) => {
    const [mode = '', ...rest] = line.split(' ');
    const path = rest.join(' ');
    return path.startsWith(`${directory}/`) && path !== `${directory}/`
      ? [`${mode} ${path.slice(directory.length + 1)}`]
      : [];
  });
}

function version(conmon: string): string {
  const { stdout, stderr, status } = spawnSync(conmon, ['--version'], { encoding: 'utf8', timeout: 30_000, env: {} });
  return status === 0 ? stdout : `status ${status}: ${stderr}`;
}

t.test('an installed tree holds what a session needs, documentation and examples, and nothing else', async (t) => {
  const root = temporaryRoot(t);
  make(['install'], { DESTDIR: root, PREFIX: '/usr/local' }, 0o077);
  const tree = listTree(root);
  t.strictSame(below(tree, 'usr/local/libexec/conmon'), PROGRAM_FILES);
  t.strictSame(
    tree.filter((line) => !line.includes('libexec/conmon/') && !line.endsWith('/')),
    [
      '0755 usr/local/bin/conmon',
      '0755 usr/local/bin/conmon-attach',
      '0644 usr/local/share/conmon/containers.conf.d/10-conmon-ts.conf',
      '0644 usr/local/share/conmon/crio.conf.d/10-conmon-ts.conf',
      '0644 usr/local/share/conmon/kubernetes/runtimeclass.yaml',
      '0644 usr/local/share/doc/conmon/CHANGELOG.md',
      '0644 usr/local/share/doc/conmon/LICENSE',
      '0644 usr/local/share/doc/conmon/README.md',
      '0644 usr/local/share/doc/conmon/compat.md',
      '0644 usr/local/share/doc/conmon/install.md',
      '0644 usr/local/share/man/man8/conmon.8',
    ],
  );
  const directories = tree.filter((line) => line.endsWith('/'));
  t.strictSame(
    directories.filter((line) => !line.startsWith('0755 ')),
    [],
    'every directory can be entered, whatever the umask was',
  );
  t.ok(statSync(join(root, 'usr/local/libexec/conmon/node')).isFile(), 'Node is a file, no link to another place');
});

t.test('it runs from wherever it is put, through symlinks, in an empty environment', async (t) => {
  const root = temporaryRoot(t);
  make(['install'], { DESTDIR: root, PREFIX: '/usr/local' });
  const place = join(root, 'moved, with blanks');
  renameSync(join(root, 'usr/local'), place);
  mkdirSync(join(root, 'links'));
  symlinkSync('../moved, with blanks/bin/conmon', join(root, 'links/first'));
  symlinkSync('first', join(root, 'links/second'));
  t.match(version(join(root, 'links/second')), /^conmon version \d+\.\d+\.\d+\ncommit: \S+\n$/);
  const help = execFileSync(join(root, 'links/second'), ['--help'], { encoding: 'utf8', timeout: 30_000, env: {} });
  t.match(help, '--log-global-size-max');
});

t.test('V8 takes the code caches of a tree that was moved, and tells a stranger from them', async (t) => {
  const root = temporaryRoot(t);
  make(['install'], { DESTDIR: root, PREFIX: '/usr/local' });
  const place = join(root, 'moved');
  renameSync(join(root, 'usr/local'), place);
  const libexec = join(place, 'libexec/conmon');
  const probe = join(root, 'probe.cjs');
  writeFileSync(
    probe,
    `const { readdirSync, readFileSync } = require('node:fs');
     const { Script } = require('node:vm');
     const names = readdirSync(process.argv[2]).filter((name) => name.endsWith('.cache'));
     console.log(JSON.stringify(names.map((name) => {
       const file = process.argv[2] + '/' + name.replace('.cache', '.js');
       const cachedData = readFileSync(process.argv[2] + '/' + name);
       return [name, new Script(readFileSync(file, 'latin1'), { filename: file, cachedData }).cachedDataRejected];
     })));`,
  );
  const ask = (flags: readonly string[]): [string, boolean][] => {
    const output = execFileSync(join(libexec, 'node'), [...flags, probe, libexec], { encoding: 'utf8', env: {} });
    return JSON.parse(output) as [string, boolean][];
  };
  const names = PROGRAM_FILES.filter((line) => line.endsWith('.cache')).map((line) => line.split(' ')[1] ?? '');
  t.strictSame(
    ask(NODE_FLAGS),
    names.map((name) => [name, false]),
    'with the flags that the launcher passes',
  );
  t.strictSame(
    ask([...NODE_FLAGS, '--stack-size=500']),
    names.map((name) => [name, true]),
    'and the probe can tell: other flags, no cache',
  );
  for (const name of names)
    t.notOk(readFileSync(join(libexec, name)).includes(REPOSITORY), `${name} does not say where it was built`);
});

t.test('the examples name the conmon that they were installed with', async (t) => {
  const root = temporaryRoot(t);
  make(['install'], { DESTDIR: root, PREFIX: '/opt/conmon-ts', NAME: 'conmon-ts' });
  const share = join(root, 'opt/conmon-ts/share/conmon-ts');
  const parse = (name: string): unknown => {
    const program = 'import json, sys, tomllib; print(json.dumps(tomllib.load(open(sys.argv[1], "rb"))))';
    return JSON.parse(execFileSync('python3', ['-c', program, join(share, name)], { encoding: 'utf8' }));
  };
  t.strictSame(parse('crio.conf.d/10-conmon-ts.conf'), {
    crio: {
      runtime: {
        runtimes: {
          'conmon-ts': {
            inherit_default_runtime: true,
            monitor_path: '/opt/conmon-ts/bin/conmon',
            monitor_env: [
              'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
              'CONMON_ATTACH_STALL_TIMEOUT=10',
            ],
          },
        },
      },
    },
  });
  t.strictSame(parse('containers.conf.d/10-conmon-ts.conf'), {
    engine: { conmon_path: ['/opt/conmon-ts/bin/conmon'] },
  });
  t.ok(statSync(join(root, 'opt/conmon-ts/share/man/man8/conmon-ts.8')).isFile());
});

t.test('it is installed over itself, and uninstall leaves no file', async (t) => {
  const root = temporaryRoot(t);
  const where = { DESTDIR: root, PREFIX: '/usr/local' };
  make(['install'], where);
  const libexec = join(root, 'usr/local/libexec/conmon');
  writeFileSync(join(libexec, 'of-an-older-version.js'), '');
  const first = listTree(root).filter((line) => !line.endsWith('of-an-older-version.js'));
  make(['install'], where);
  t.strictSame(listTree(root), first, 'what an older version had is gone, nothing half-installed stays');
  writeFileSync(join(root, 'usr/local/bin/of-somebody-else'), '');
  make(['uninstall'], where);
  const left = listTree(root).map((line) => line.slice(5));
  t.strictSame(left, [
    'usr/',
    'usr/local/',
    'usr/local/bin/',
    'usr/local/bin/of-somebody-else',
    'usr/local/libexec/',
    'usr/local/share/',
    'usr/local/share/doc/',
    'usr/local/share/man/',
    'usr/local/share/man/man8/',
  ]);
});

t.test('a prefix with blanks, or one that is relative, is refused in words', async (t) => {
  const root = temporaryRoot(t);
  t.throws(() => make(['install'], { DESTDIR: root, PREFIX: '/opt/some where' }), /must not hold blanks/);
  t.throws(() => make(['uninstall'], { DESTDIR: root, PREFIX: '/opt /' }), /must not hold blanks/);
  t.throws(() => make(['install'], { DESTDIR: root, PREFIX: 'opt/conmon-ts' }), /must be absolute/);
  t.strictSame(listTree(root), []);
});
