/** Where the launcher looks for Node: next to its own file, whatever the caller's directory, names and environment. */
import { mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { processInfo } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Installation, NODE_FLAGS, promise } from './harness.ts';

promise('a symlink leads to the installation', async (t, it) => {
  const [first, second] = [it.file('link'), it.file('link')];
  symlinkSync('bin/conmon', first);
  symlinkSync(first, second);
  for (const path of [first, second, first.replace(`${it.root}/`, '')]) {
    const dump = await it.observe({ path });
    t.equal(dump.one('exe'), it.node, path);
    t.equal(dump.all('arg')[2 + NODE_FLAGS.length], join(it.root, 'libexec/conmon/main.cjs'));
  }
});

promise('a relative path works from any directory, also from one that is gone', async (t, it) => {
  t.equal((await it.observe({ path: 'conmon', caller: [`cd=${join(it.root, 'bin')}`] })).one('exe'), it.node);
  t.equal((await it.observe({ path: `../..${it.conmon}`, caller: ['cd=/usr/bin'] })).one('exe'), it.node);
  t.equal((await it.observe({ caller: [`lost=${it.file('lost')}`] })).one('exe'), it.node);
});

promise('argv[0] and the environment have no say', async (t, it) => {
  const env = ['PATH=/evil', 'CONMON_NODE=/evil', 'CONMON_LIBEXEC=/evil', '_=/evil/bin/conmon', 'HOME=/evil'];
  for (const argv0 of ['', '/evil/bin/conmon', '-conmon', 'a b']) {
    t.equal((await it.observe({ env, argv0 })).one('exe'), it.node);
  }
});

promise('no argv at all is no arguments', async (t, it) => {
  const started = it.start({ caller: ['argv=/dev/null'] });
  t.match(await started.ended(), { status: 0, stderr: '' });
});

for (const name of ['with blanks', 'line\nbreak', '%s%n', 'ünï', '\\"\'$(x)']) {
  promise(`a directory named ${JSON.stringify(name)} works`, async (t, { root }) => {
    const it = new Installation(t, 'static', name);
    t.not(it.root, root);
    const dump = await it.observe();
    t.equal(dump.one('exe'), Buffer.from(it.node).toString('latin1'));
  });
}

promise('a launcher whose file is gone says so', async (t, it) => {
  const outcome = await it.run({ caller: [`execlost=${it.conmon}`] });
  t.equal(outcome.status, 1);
  t.equal(outcome.stderr, `[conmon:e]: Failed to find the directory of conmon: ${it.conmon} (deleted)\n`);
});

promise('a file that is replaced while the launcher waits on the start pipe changes nothing', async (t, it) => {
  const dump = it.file('dump');
  const stdio = ['pipe', 'pipe', 'pipe', 'pipe'] as const;
  const started = it.start({ stdio: [...stdio], env: ['_OCI_STARTPIPE=3'], args: [`do:dump=${dump}`] });
  await waitFor('the launcher to wait', () => {
    const info = processInfo(started.pid);
    return info?.comm === 'conmon' && info.state === 'S';
  });
  rmSync(it.conmon);
  started.pipe(3).write('go');
  t.equal((await started.ended()).status, 0);
  t.equal((await it.dump(dump)).one('exe'), it.node);
});

promise('a path that is too long for libexec is an error', async (t, it) => {
  let directory = it.root;
  while (directory.length + 201 < 4080) {
    directory = join(directory, 'd'.repeat(200));
    mkdirSync(directory);
  }
  directory = join(directory, 'd'.repeat(4080 - directory.length - 1));
  mkdirSync(directory);
  mkdirSync(join(directory, 'bin'));
  const path = join(directory, 'bin/conmon');
  renameSync(it.conmon, path);
  const outcome = await it.run({ path });
  t.equal(outcome.status, 1);
  t.match(outcome.stderr, /^\[conmon:e\]: Path of node next to .* is too long\n$/);
});
