/** Which memory cgroup a process is in, by what /proc/PID/cgroup says on machines of each kind. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type CgroupTrees, findMemoryCgroup } from '../../../src/session/memory-cgroup.ts';

const dir = mkdtempSync(join(tmpdir(), 'conmon-cgroup-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
mkdirSync(join(dir, '7'));

function found(text: string | Buffer, unified: boolean): unknown {
  writeFileSync(join(dir, '7/cgroup'), text);
  const trees: CgroupTrees = { proc: dir, cgroup: '/cg', unified: () => unified };
  return findMemoryCgroup(7, trees);
}

const HYBRID = '12:pids:/other\n5:memory:/pod/ctr\n1:name=systemd:/x\n0::/unified/ctr\n';

t.test('pure v2: the one line', async (t) => {
  t.same(found('0::/a/b:c.scope\n', true), { version: 2, path: '/cg/a/b:c.scope' });
});

t.test('v2 with v1 hierarchies beside it: the 0:: line, wherever it stands', async (t) => {
  t.same(found(HYBRID, true), { version: 2, path: '/cg/unified/ctr' });
  t.same(found('0::/first\n3:net_cls:/\n', true), { version: 2, path: '/cg/first' });
});

t.test('v1: the line with the memory controller, alone or with others', async (t) => {
  t.same(found('3:cpu,cpuacct:/a\n2:memory:/b\n', false), { version: 1, path: '/cg/memory/b' });
  t.same(found('3:cpu,memory:/a\n', false), { version: 1, path: '/cg/cpu,memory/a' });
  t.same(found('3:memoryx:/a\n4:xmemory:/b\n', false), undefined, 'a whole name');
});

t.test('a hybrid machine: v1 where the memory controller is, else v2', async (t) => {
  t.same(found(HYBRID, false), { version: 1, path: '/cg/memory/pod/ctr' });
  t.same(found('5:pids:/a\n0::/b\n', false), { version: 2, path: '/cg/unified/b' });
});

t.test('the root is nobody’s own, and a process that has ended is in it', async (t) => {
  t.equal(found('0::/\n', true), undefined);
  t.equal(found('5:memory:/\n0::/x\n', false), undefined);
});

t.test('a cgroup that was removed, and one that cannot be seen from here, are none', async (t) => {
  t.equal(found('0::/a/b (deleted)\n', true), undefined);
  t.equal(found('0::/../a\n', true), undefined);
  t.equal(found('5:memory:/../../a\n', false), undefined);
});

t.test('lines that are no lines are passed over', async (t) => {
  t.equal(found('', true), undefined);
  t.equal(found('0:\nrubbish\n:\n', true), undefined);
  t.same(found('\n\n0::/a\n', true), { version: 2, path: '/cg/a' });
});

t.test('names that are not ASCII', async (t) => {
  t.same(found('0::/żółw\n', true), { version: 2, path: '/cg/żółw' });
});

t.test('a process that is gone throws ENOENT', async (t) => {
  const trees: CgroupTrees = { proc: dir, cgroup: '/cg', unified: () => true };
  t.throws(() => findMemoryCgroup(8, trees), { code: 'ENOENT' });
});
