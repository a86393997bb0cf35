/** Where a session's programs are born. */
import t from 'tap';
import type { SpawnSpec } from '../../../src/native/sys.ts';
import { spawnInCgroup } from '../../../src/session/spawn.ts';

const [EAGAIN, ENODEV, EACCES, EBADF, ENOMEM, ENOSYS, ENOENT] = [-11, -19, -13, -9, -12, -38, -2];

/** Only what decides; the rest goes through as it is. */
const spec = (cgroupFd: number | undefined): SpawnSpec =>
  ({ path: '/bin/true', ...(cgroupFd === undefined ? {} : { cgroupFd }) }) as SpawnSpec;

/** Answers one after the other, and the cgroups that were asked for. */
function answering(...answers: readonly number[]) {
  const asked: (number | undefined)[] = [];
  const spawn = (each: SpawnSpec): number => {
    t.equal(each.path, '/bin/true');
    asked.push(each.cgroupFd);
    return answers[asked.length - 1] ?? 0;
  };
  return { asked, spawn };
}

t.test('a process whose cgroup is gone, closed to us or unknown to the kernel is born in ours', async (t) => {
  for (const failure of [ENODEV, EACCES, ENOSYS]) {
    const sys = answering(failure, 42);
    t.equal(spawnInCgroup(sys, spec(7)), 42);
    t.same(sys.asked, [7, -1]);
  }
});

t.test('what is wrong with the program is told as it is', async (t) => {
  const sys = answering(ENOENT, ENOENT);
  t.equal(spawnInCgroup(sys, spec(7)), ENOENT);
});

t.test('a machine without processes or memory, and a wrong fd, are not asked twice', async (t) => {
  for (const failure of [EAGAIN, ENOMEM, EBADF]) {
    const sys = answering(failure);
    t.equal(spawnInCgroup(sys, spec(7)), failure);
    t.same(sys.asked, [7]);
  }
});

t.test('one that is born in our cgroup is started once', async (t) => {
  for (const cgroupFd of [undefined, -1]) {
    const sys = answering(ENOENT);
    t.equal(spawnInCgroup(sys, spec(cgroupFd)), ENOENT);
    t.same(sys.asked, [cgroupFd]);
  }
  const sys = answering(42);
  t.equal(spawnInCgroup(sys, spec(7)), 42);
  t.same(sys.asked, [7]);
});
