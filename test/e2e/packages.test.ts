/** The .deb, the .rpm and the tarballs: what they say, what is in them, and that a container runs from where they install. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Container } from '../helpers/container.ts';
import { listTree, make, PROGRAM_FILES, temporaryRoot } from '../helpers/make.ts';
import { REPOSITORY } from '../helpers/native.ts';
import { findRuntime } from '../helpers/runtimes.ts';
import { Workspace } from '../helpers/workspace.ts';

const DIST = `${REPOSITORY}/build/dist`;
const { version } = JSON.parse(readFileSync(`${REPOSITORY}/package.json`, 'utf8')) as { version: string };
const HOME = '/usr/libexec/conmon-ts';
const [debArch, rpmArch, nodeArch] =
  process.arch === 'arm64' ? ['arm64', 'aarch64', 'arm64'] : ['amd64', 'x86_64', 'x64'];
const DEB = `${DIST}/conmon-ts_${version}-1_${debArch}.deb`;
const RPM = `${DIST}/conmon-ts-${version}-1.${rpmArch}.rpm`;

/** Files of both packages, as `MODE PATH`; documentation apart. */
const FILES = [
  `0755 ${HOME}/bin/conmon`,
  `0755 ${HOME}/bin/conmon-attach`,
  ...PROGRAM_FILES.map((line) => line.replace(' ', ` ${HOME}/libexec/conmon/`)),
  '0644 /usr/share/conmon-ts/containers.conf.d/10-conmon-ts.conf',
  '0644 /usr/share/conmon-ts/crio.conf.d/10-conmon-ts.conf',
  '0644 /usr/share/conmon-ts/kubernetes/runtimeclass.yaml',
  '0644 /usr/share/man/man8/conmon-ts.8.gz',
].sort();

function run(program: string, args: readonly string[]): string {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' };
  return execFileSync(program, args, { encoding: 'utf8', timeout: 120_000, env, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** `-rwxr-xr-x` to 0755; what is not plain (setuid, links) stays as it is, to be seen in a comparison. */
function mode(text: string): string {
  const bits = text.slice(1).replace(/[rwx]/g, '1').replace(/-/g, '0');
  return /^-[01]{9}$/.test(`-${bits}`) && text.startsWith('-')
    ? Number.parseInt(bits, 2).toString(8).padStart(4, '0')
    : text;
}

const withoutDocumentation = (line: string): boolean => !line.includes(' /usr/share/doc/');

/** A container under the conmon at `path`, called through a symlink, from create to exit file and log. */
async function runContainer(t: Test, path: string): Promise<void> {
  const workspace = new Workspace();
  try {
    const link = workspace.path('conmon');
    symlinkSync(path, link);
    const monitor = { name: 'ours', path: link, version } as const;
    const runtime = findRuntime('runc', workspace);
    const container = new Container(workspace, monitor, runtime, { script: 'echo installed; echo err >&2; exit 7' });
    try {
      await container.run();
      t.equal(await container.finished(), 7);
      const log = readFileSync(container.logPath, 'utf8');
      t.match(log, /stdout F installed\n/);
      t.match(log, /stderr F err\n/);
    } finally {
      await workspace.runDeferred();
    }
    await workspace.expectNothingLeft();
  } finally {
    workspace.destroy();
  }
}

t.before(() => {
  make(['deb', 'rpm', 'dist-binary', 'dist-source'], { PACKAGE_COMPRESSION: 'fast' });
});

t.test(
  'the .deb holds the installed tree, root-owned, without scripts, and names the libraries it needs',
  async (t) => {
    const lines = run('dpkg-deb', ['-c', DEB]).trimEnd().split('\n');
    const entries = lines.map((line) => line.trim().split(/\s+/));
    t.strictSame(
      entries.filter(([, owner]) => owner !== 'root/root'),
      [],
    );
    t.strictSame(
      entries.filter(([rights = '']) => !/^(d|-)rwxr-xr-x$|^-rw-r--r--$/.test(rights)),
      [],
      'no setuid, nothing writable, no link',
    );
    const files = entries.filter(([rights = '']) => rights.startsWith('-'));
    const listed = files.map(([rights = '', , , , , path = '']) => `${mode(rights)} ${path.slice(1)}`);
    t.strictSame(listed.filter(withoutDocumentation).sort(), FILES);
    const field = (name: string) => run('dpkg-deb', ['-f', DEB, name]).trim();
    t.equal(field('Package'), 'conmon-ts');
    t.equal(field('Version'), `${version}-1`);
    t.equal(field('Architecture'), debArch);
    for (const library of ['libc6', 'libstdc++6', 'libatomic1', 'libgcc-s1']) t.match(field('Depends'), library);
    t.equal(field('Conflicts') + field('Replaces') + field('Provides'), '', 'it lives beside another conmon');
    const control = run('dpkg-deb', ['-I', DEB]).match(/(preinst|postinst|prerm|postrm|conffiles)/g);
    t.strictSame(control, null, 'installing runs nothing');
  },
);

t.test('the .rpm holds the same files and runs nothing either', async (t) => {
  const lines = run('rpm', [
    '-qp',
    '--qf',
    '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]',
    RPM,
  ]);
  const entries = lines
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
  t.strictSame(
    entries.filter(([, owner]) => owner !== 'root/root'),
    [],
  );
  const files = entries.filter(([rights = '']) => !rights.startsWith('d'));
  const listed = files.map(([rights = '', , path = '']) => `${mode(rights)} ${path}`);
  t.strictSame(listed.filter(withoutDocumentation).sort(), FILES);
  t.equal(run('rpm', ['-qp', '--scripts', '--triggers', RPM]), '');
  const wanted = run('rpm', ['-qp', '--requires', RPM]);
  for (const library of ['libc.so.6', 'libstdc++.so.6', 'libatomic.so.1']) t.match(wanted, library);
  t.equal(run('rpm', ['-qp', '--conflicts', '--obsoletes', RPM]), '');
  const provides = run('rpm', ['-qp', '--provides', RPM]).trimEnd().split('\n');
  t.strictSame(
    provides.filter((line) => !line.startsWith('conmon-ts')),
    [],
  );
});

t.test('installed by dpkg, a container runs from there; removed, nothing is left', async (t) => {
  const root = temporaryRoot(t);
  mkdirSync(join(root, 'var/lib/dpkg/updates'), { recursive: true });
  mkdirSync(join(root, 'var/lib/dpkg/info'));
  writeFileSync(join(root, 'var/lib/dpkg/status'), '');
  const dpkg = ['--root', root, '--force-not-root', '--force-depends', '--log', '/dev/null'];
  run('dpkg', [...dpkg, '-i', DEB]);
  t.match(run('dpkg', [...dpkg, '-s', 'conmon-ts']), /^Status: install ok installed$/m);
  t.match(run(join(root, HOME, 'bin/conmon'), ['--version']), `conmon version ${version}\n`);
  await runContainer(t, join(root, HOME, 'bin/conmon'));
  const example = readFileSync(join(root, 'usr/share/conmon-ts/crio.conf.d/10-conmon-ts.conf'), 'utf8');
  t.match(example, `monitor_path = "${HOME}/bin/conmon"`);
  run('dpkg', [...dpkg, '--purge', 'conmon-ts']);
  t.strictSame(
    listTree(root).filter((line) => !line.includes('var/')),
    [],
  );
});

t.test('installed by rpm, a container runs from there; erased, nothing is left', async (t) => {
  const root = temporaryRoot(t);
  const rpm = ['--root', root, '--nodeps', '--dbpath', '/rpmdb'];
  run('rpm', [...rpm, '-i', RPM]);
  t.equal(run('rpm', [...rpm, '-V', 'conmon-ts']), '', 'all is as the package says');
  await runContainer(t, join(root, HOME, 'bin/conmon'));
  run('rpm', [...rpm, '-e', 'conmon-ts']);
  t.strictSame(
    listTree(root).filter((line) => line.includes('conmon')),
    [],
  );
});

t.test('unpacked at another place, the binary tarball runs', async (t) => {
  const root = temporaryRoot(t);
  run('tar', ['-C', root, '-xzf', `${DIST}/conmon-${version}-linux-${nodeArch}.tar.gz`]);
  t.strictSame(readdirSync(root), ['opt']);
  await runContainer(t, join(root, 'opt/conmon-ts/bin/conmon'));
});

t.test('the source tarball holds the sources, nothing that was built, and the commit', async (t) => {
  const root = temporaryRoot(t);
  run('tar', ['-C', root, '-xzf', `${DIST}/conmon-${version}.tar.gz`]);
  t.strictSame(readdirSync(root), [`conmon-${version}`]);
  const top = join(root, `conmon-${version}`);
  for (const name of ['Makefile', 'package-lock.json', 'src/main.ts', 'native/sys.c', 'docs/conmon.8', 'LICENSE'])
    t.ok(existsSync(join(top, name)), name);
  for (const name of ['node_modules', 'bin', 'libexec', 'build', '.git']) t.notOk(existsSync(join(top, name)), name);
  // From a tree that git knows nothing about, as a distribution has it, comes the same.
  execFileSync('make', ['-C', top, 'dist-source', 'PACKAGE_COMPRESSION=fast'], { stdio: 'pipe', timeout: 60_000 });
  run('tar', ['-C', root, '--one-top-level=again', '-xzf', `${top}/build/dist/conmon-${version}.tar.gz`]);
  const again = join(root, 'again', `conmon-${version}`);
  t.strictSame(
    listTree(again).filter((line) => !line.endsWith('/')),
    listTree(top).filter((line) => !line.endsWith('/') && !line.includes(' build/')),
  );
  t.match(readFileSync(join(again, 'COMMIT'), 'utf8'), /^([0-9a-f]{40}|unknown)\n?$/);
});
