/** The questions put to the real file system. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import t from 'tap';
import { fileProbe, lookupErrorText } from '../../../src/cli/probe.ts';
import { tempDir } from './fixtures/temp-dir.ts';

const [ENOENT, EACCES, ENOTDIR, EINVAL, ENAMETOOLONG, ELOOP] = [2, 13, 20, 22, 36, 40];

t.test('a runtime is a path that this process may execute', async (t) => {
  const dir = tempDir(t);
  writeFileSync(`${dir}/run`, '');
  writeFileSync(`${dir}/plain`, '');
  chmodSync(`${dir}/run`, 0o755);
  symlinkSync('loop', `${dir}/loop`);
  t.equal(fileProbe.canExecute(`${dir}/run`), 0);
  t.equal(fileProbe.canExecute(`${dir}/plain`), EACCES, 'root needs an x bit too');
  t.equal(fileProbe.canExecute(`${dir}/none`), ENOENT);
  t.equal(fileProbe.canExecute(`${dir}/run/none`), ENOTDIR);
  t.equal(fileProbe.canExecute(`${dir}/loop`), ELOOP);
  t.equal(fileProbe.canExecute(''), ENOENT);
  t.equal(fileProbe.canExecute('x'.repeat(5000)), ENAMETOOLONG);
  t.equal(fileProbe.canExecute('/bin/sh\0'), EINVAL);
});

t.test('a bundle is a directory that this process may enter', async (t) => {
  const dir = tempDir(t);
  mkdirSync(`${dir}/bundle`);
  writeFileSync(`${dir}/file`, '');
  symlinkSync('bundle', `${dir}/link`);
  t.equal(fileProbe.canEnter(`${dir}/bundle`), 0);
  t.equal(fileProbe.canEnter(`${dir}/bundle/`), 0);
  t.equal(fileProbe.canEnter(`${dir}/link`), 0);
  t.equal(fileProbe.canEnter('.'), 0);
  t.equal(fileProbe.canEnter(`${dir}/file`), ENOTDIR);
  t.equal(fileProbe.canEnter(`${dir}/none`), ENOENT);
});

const root = process.getuid?.() === 0;
t.test('a bundle without search permission is refused, but not to root', async (t) => {
  const dir = tempDir(t);
  const answer = (mode: number) => {
    mkdirSync(`${dir}/${mode}`);
    chmodSync(`${dir}/${mode}`, mode);
    return fileProbe.canEnter(`${dir}/${mode}`);
  };
  const refused = root ? 0 : EACCES;
  t.same([answer(0o000), answer(0o444), answer(0o711), answer(0o311)], [refused, refused, 0, 0]);
});

t.test('errors are worded as libc words them', async (t) => {
  const dir = tempDir(t);
  writeFileSync(`${dir}/plain`, '');
  // cat prints strerror(3).
  for (const [path, errno] of [
    [`${dir}/none`, ENOENT],
    [`${dir}/plain/x`, ENOTDIR],
    [`/${'x'.repeat(300)}`, ENAMETOOLONG],
  ] as const) {
    const { stderr } = spawnSync('cat', [path], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      timeout: 10_000,
    });
    t.equal(stderr, `cat: ${path}: ${lookupErrorText(errno)}\n`);
  }
  t.equal(lookupErrorText(4095), 'Unknown error 4095');
  t.ok(getSystemErrorMap().has(-ELOOP), 'the numbers are this system’s');
});
