/** The reaper with real processes: children, orphans, and a container that is somebody else's child. */
import t, { type Test } from 'tap';
import { PR_SET_CHILD_SUBREAPER } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Reaper } from '../../../src/session/reaper.ts';
import { exitStatus } from '../../../src/session/wait-status.ts';
import { childrenOf } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { start } from '../native/report.ts';
import { Complaints } from './complaints.ts';

sys.prctl(PR_SET_CHILD_SUBREAPER, 1);

function aReaper(test: Test): Reaper {
  const reaper = new Reaper(sys, new Complaints().diag);
  const onChild = () => reaper.reap();
  process.on('SIGCHLD', onChild);
  test.teardown(() => {
    process.off('SIGCHLD', onChild);
    reaper.close();
  });
  return reaper;
}

t.test('SIGCHLD tells every end, also of fifty children at once', async (t) => {
  const reaper = aReaper(t);
  const told = new Map<number, number>();
  for (let status = 0; status < 50; status++) {
    const pid = start([`exit=${status}`]);
    reaper.watch(pid, (waitStatus) => told.set(status, exitStatus(waitStatus)));
  }
  reaper.reap();
  await waitFor('fifty ends', () => told.size === 50);
  for (const [expected, status] of told) t.equal(status, expected);
  t.same(childrenOf(process.pid), []);
});

t.test('a child that ended before it was watched is told its status', async (t) => {
  const reaper = aReaper(t);
  const since = reaper.expect();
  const pid = start(['exit=9']);
  await waitFor('its end', () => childrenOf(process.pid).length === 0);
  const told: number[] = [];
  reaper.watchStranger(pid, since, (waitStatus) => told.push(exitStatus(waitStatus)));
  t.same(told, [9]);
});

t.test('a signal that ends a child is told', async (t) => {
  const reaper = aReaper(t);
  const since = reaper.expect();
  const told: number[] = [];
  const pid = start(['pause']);
  reaper.watchStranger(pid, since, (waitStatus) => told.push(exitStatus(waitStatus)));
  sys.kill(pid, 15);
  await waitFor('its end', () => told.length > 0);
  t.same(told, [143]);
});

t.test('orphans are reaped; one that is watched is told its own status', async (t) => {
  const reaper = aReaper(t);
  const since = reaper.expect();
  const runtime = start(['orphan=7', 'orphan=8', 'nap=100', 'exit=3']);
  let runtimeStatus = -1;
  reaper.watch(runtime, (waitStatus) => {
    runtimeStatus = exitStatus(waitStatus);
  });
  const [container] = await waitFor('both orphans to be', () => {
    const children = childrenOf(runtime);
    return children.length === 2 && children;
  });
  const told: number[] = [];
  // While the runtime lives the container is its child, not ours: it is probed, then inherited.
  reaper.watchStranger(container?.pid ?? -1, since, (waitStatus) => told.push(exitStatus(waitStatus)));
  await waitFor('the end of all', () => told.length > 0 && childrenOf(process.pid).length === 0);
  t.equal(runtimeStatus, 3);
  t.same(told, [7]);
});
