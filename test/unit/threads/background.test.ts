/** V8's background thread and the log thread on one CPU: who runs first. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { SCHED_BATCH } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { keepBackgroundBehind } from '../../../src/threads/background.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

/** Scheduling policies of this process's threads, by name of the thread (proc(5), stat, field 41). */
function policies(): readonly [string, number][] {
  return readdirSync('/proc/self/task').map((tid) => {
    const stat = readFileSync(`/proc/self/task/${tid}/stat`, 'latin1');
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    return [name, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[41 - 3])];
  });
}

t.test("V8's threads are made to wait for their turn, and no other thread is", async (t) => {
  const complaints = new Complaints('debug');
  keepBackgroundBehind(sys, complaints.diag);
  t.same(complaints.lines, []);
  const after = policies();
  t.ok(
    after.some(([name]) => name === 'node-V8Worker'),
    'this Node names them so',
  );
  for (const [name, policy] of after) t.equal(policy, name === 'node-V8Worker' ? SCHED_BATCH : 0, name);
});

t.test('where that is not allowed it is said at debug level, and nothing else happens', async (t) => {
  const complaints = new Complaints('debug');
  keepBackgroundBehind(fakeSys({ schedSetscheduler: () => -1 }), complaints.diag);
  t.ok(complaints.lines.length > 0);
  for (const line of complaints.lines)
    t.match(line, /^\[conmon:d\]: V8's background thread keeps its scheduling policy: /);
});
