/** For test/unit/session/launch.test.ts and exit-files.test.ts. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { replaceFile } from '../../../src/session/exit-files.ts';
import { parseLaunch } from '../../../src/session/launch.ts';

t.test('a range of three numbers, and fds that do not ascend, are refused', async (t) => {
  const of = (fds: string) => () => parseLaunch(`v1 status=5 environ=6 nofile=1:2 ppid=7 fds=${fds}`, 1);
  for (const fds of ['3-5-7', '9,3', '3-5,4', '3,3']) t.throws(of(fds), { code: 'LAUNCHER' }, fds);
});

t.test('a temporary file that a crash left behind does not cost the exit file', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'conmon-exit-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, `.conmon-${process.pid}.tmp`), '');
  t.equal(replaceFile(join(dir, 'c'), '7'), undefined);
  t.equal(readFileSync(join(dir, 'c'), 'latin1'), '7');
  t.same(readdirSync(dir), ['c']);
});
