/** The files that tell a container's end: whole, in order, and each on its own. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { replaceFile, writeExitFiles } from '../../../src/session/exit-files.ts';
import { waitFor } from '../../helpers/wait.ts';

function directories(test: Test): { dir: string; persistDir: string; exitDir: string } {
  const dir = mkdtempSync(join(tmpdir(), 'conmon-exit-'));
  test.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [persistDir, exitDir] = [join(dir, 'persist'), join(dir, 'exits')];
  mkdirSync(persistDir);
  mkdirSync(exitDir);
  return { dir, persistDir, exitDir };
}

t.test('both files hold the decimal status without a newline, readable by all', async (t) => {
  const { persistDir, exitDir } = directories(t);
  const before = process.umask(0o022);
  t.teardown(() => process.umask(before));
  for (const status of [0, 1, 137, 255, -1]) {
    t.same(writeExitFiles({ persistDir, exitDir, cid: 'the-cid' }, status), []);
    for (const path of [join(persistDir, 'exit'), join(exitDir, 'the-cid')]) {
      t.equal(readFileSync(path, 'latin1'), String(status));
      t.equal(statSync(path).mode & 0o777, 0o644);
    }
  }
  t.same(readdirSync(persistDir), ['exit']);
  t.same(readdirSync(exitDir), ['the-cid']);
});

t.test('the persist file is there before the exit file', async (t) => {
  const { persistDir, exitDir } = directories(t);
  writeExitFiles({ persistDir, exitDir, cid: 'c' }, 3);
  const time = (path: string) => statSync(path, { bigint: true }).ctimeNs;
  t.ok(time(join(persistDir, 'exit')) <= time(join(exitDir, 'c')));
});

t.test('a watcher sees the file appear by rename, with its content', async (t) => {
  const { exitDir } = directories(t);
  const seen: { event: string; name: string | null; content: string }[] = [];
  const watcher = watch(exitDir, (event, name) => {
    const path = join(exitDir, name ?? '');
    seen.push({ event, name, content: existsSync(path) ? readFileSync(path, 'latin1') : '' });
  });
  t.teardown(() => watcher.close());
  writeExitFiles({ persistDir: undefined, exitDir, cid: 'c' }, 42);
  await waitFor('the watcher', () => seen.some(({ name }) => name === 'c'));
  t.match(
    seen.find(({ name }) => name === 'c'),
    { event: 'rename', content: '42' },
  );
});

t.test('only the files whose directories are given are written', async (t) => {
  const { persistDir, exitDir } = directories(t);
  t.same(writeExitFiles({ persistDir: undefined, exitDir: undefined, cid: 'c' }, 1), []);
  t.same(writeExitFiles({ persistDir, exitDir: undefined, cid: 'c' }, 1), []);
  t.same(readdirSync(exitDir), []);
  t.same(readdirSync(persistDir), ['exit']);
});

t.test('the failure of one does not stop the other, and is told with the path', async (t) => {
  const { dir, persistDir, exitDir } = directories(t);
  const missing = join(dir, 'missing');
  const exitFailed = writeExitFiles({ persistDir, exitDir: missing, cid: 'c' }, 7);
  t.same(exitFailed, [`Failed to write 7 to exit file: ${join(missing, 'c')}: No such file or directory`]);
  t.equal(readFileSync(join(persistDir, 'exit'), 'latin1'), '7');
  const persistFailed = writeExitFiles({ persistDir: missing, exitDir, cid: 'c' }, 8);
  t.same(persistFailed, [
    `Failed to write 8 to container exit file: ${join(missing, 'exit')}: No such file or directory`,
  ]);
  t.equal(readFileSync(join(exitDir, 'c'), 'latin1'), '8');
  t.equal(writeExitFiles({ persistDir: missing, exitDir: missing, cid: 'c' }, 9).length, 2);
});

t.test('nothing is left behind when the file cannot be put into place', async (t) => {
  const { exitDir } = directories(t);
  mkdirSync(join(exitDir, 'c'));
  t.match(replaceFile(join(exitDir, 'c'), 'x'), /Is a directory$/);
  t.same(readdirSync(exitDir), ['c']);
});

t.test('a link at the path is replaced, not followed', async (t) => {
  const { dir, exitDir } = directories(t);
  const victim = join(dir, 'victim');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, join(exitDir, 'c'));
  t.same(writeExitFiles({ persistDir: undefined, exitDir, cid: 'c' }, 0), []);
  t.equal(readFileSync(victim, 'latin1'), 'precious');
  t.equal(readFileSync(join(exitDir, 'c'), 'latin1'), '0');
});

t.test('an older file is replaced whole, also a read-only one', async (t) => {
  const { exitDir } = directories(t);
  writeFileSync(join(exitDir, 'c'), 'something much longer');
  chmodSync(join(exitDir, 'c'), 0o400);
  t.same(writeExitFiles({ persistDir: undefined, exitDir, cid: 'c' }, 5), []);
  t.equal(readFileSync(join(exitDir, 'c'), 'latin1'), '5');
});
