/** The reaper: whose ends are told to whom, with faked system calls. */
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { Reaper } from '../../../src/session/reaper.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const { ECHILD, EINVAL, EPERM, ESRCH } = constants.errno;

const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

/** A machine with children of ours, ends that wait to be collected, and processes that belong to others. */
class Machine {
  /** Ends that nobody has collected: pid and wait status. */
  readonly ended: [number, number][] = [];
  /** Children that still run. */
  readonly running = new Set<number>();
  /** Processes of others. */
  readonly strangers = new Set<number>();
  readonly complaints = new Complaints();
  readonly reaper: Reaper;
  failure = 0;
  killAnswer = 0;
  /** How often somebody was asked whether he lives. */
  probes = 0;

  constructor(test: Test) {
    const sys = fakeSys({
      waitpid: (pid, _options, status) => {
        if (this.failure !== 0) return this.failure;
        const index = this.ended.findIndex(([each]) => pid === -1 || each === pid);
        const found = this.ended[index];
        if (found !== undefined) {
          this.ended.splice(index, 1);
          status[0] = found[1];
          return found[0];
        }
        if (pid === -1) return this.running.size > 0 ? 0 : -ECHILD;
        return this.running.has(pid) ? 0 : -ECHILD;
      },
      kill: (pid) => {
        this.probes++;
        if (this.killAnswer !== 0) return this.killAnswer;
        return this.strangers.has(pid) || this.running.has(pid) ? 0 : -ESRCH;
      },
    });
    this.reaper = new Reaper(sys, this.complaints.diag);
    test.teardown(() => this.reaper.close());
  }
}

t.test('a watched child is told once, from reap', async (t) => {
  const machine = new Machine(t);
  const told: number[] = [];
  machine.running.add(10);
  machine.reaper.watch(10, (status) => told.push(status));
  machine.reaper.reap();
  t.same(told, []);
  machine.running.delete(10);
  machine.ended.push([10, 3 << 8]);
  machine.reaper.reap();
  machine.reaper.reap();
  t.same(told, [3 << 8]);
});

t.test('two who watch one process are both told', async (t) => {
  const machine = new Machine(t);
  const told: string[] = [];
  machine.running.add(10);
  machine.reaper.watchStranger(10, 0, () => told.push('first'));
  machine.reaper.watchStranger(10, 0, () => told.push('second'));
  machine.running.delete(10);
  machine.ended.push([10, 0]);
  machine.reaper.reap();
  t.same(told, ['first', 'second']);
});

t.test('reap collects everything there is, in one go', async (t) => {
  const machine = new Machine(t);
  const told: number[] = [];
  for (let pid = 1; pid <= 5; pid++) {
    machine.ended.push([pid, pid]);
    machine.reaper.watch(pid, () => told.push(pid));
  }
  machine.running.add(99);
  machine.reaper.reap();
  t.same(told, [1, 2, 3, 4, 5]);
  t.equal(machine.ended.length, 0);
});

t.test('the end of a child that is expected is kept until its pid is known', async (t) => {
  const machine = new Machine(t);
  const since = machine.reaper.expect();
  machine.ended.push([10, 7 << 8], [11, 9]);
  machine.reaper.reap();
  const told: number[] = [];
  machine.reaper.watchStranger(10, since, (status) => told.push(status));
  t.same(told, [7 << 8], 'told at once');
  machine.reaper.watchStranger(11, since, (status) => told.push(status));
  t.same(told, [7 << 8, 9]);
  machine.strangers.add(10);
  machine.reaper.watchStranger(10, since, (status) => told.push(status));
  t.equal(told.length, 2, 'and only once');
});

t.test('unknown ends are kept while somebody expects one, whoever else has settled', async (t) => {
  const machine = new Machine(t);
  machine.strangers.add(10);
  machine.ended.push([10, 1]);
  machine.reaper.reap();
  const first = machine.reaper.expect();
  let told = 0;
  machine.reaper.watchStranger(10, first, () => told++);
  t.equal(told, 0, 'what ended before is about another process of that pid');
  const second = machine.reaper.expect();
  machine.ended.push([11, 7 << 8]);
  machine.reaper.reap();
  machine.reaper.settle();
  machine.reaper.watchStranger(11, second, () => told++);
  t.equal(told, 1, 'the other one still expects its own');
  machine.ended.push([12, 7 << 8]);
  machine.reaper.reap();
  machine.reaper.settle();
  machine.strangers.add(12);
  machine.reaper.watchStranger(12, 0, () => told++);
  t.equal(told, 1, 'nobody expected it any longer');
});

t.test('an end that was kept before somebody expected a child is not that of the child', async (t) => {
  const machine = new Machine(t);
  machine.strangers.add(10);
  machine.reaper.expect();
  machine.ended.push([10, 1], [20, 1]);
  machine.reaper.reap();
  const since = machine.reaper.expect();
  const told: number[] = [];
  machine.reaper.watchStranger(10, since, (status) => told.push(status));
  machine.reaper.watch(20, (status) => told.push(status));
  t.same(told, []);
  machine.ended.push([20, 5 << 8]);
  machine.reaper.reap();
  t.same(told, [5 << 8], 'nor that of a child just started');
});

t.test('of a flood of unknown ends the last are kept', async (t) => {
  const machine = new Machine(t);
  const since = machine.reaper.expect();
  for (let pid = 1000; pid < 15_000; pid++) machine.ended.push([pid, 1]);
  machine.reaper.reap();
  t.equal(machine.ended.length, 0, 'all are collected');
  let told = 0;
  machine.reaper.watchStranger(14_999, since, () => told++);
  t.equal(told, 1);
  machine.strangers.add(1000);
  machine.reaper.watchStranger(1000, since, () => told++);
  t.equal(told, 1, 'but not without bound');
});

t.test('a step that throws is told and does not keep others from hearing of their children', async (t) => {
  const machine = new Machine(t);
  const told: number[] = [];
  machine.reaper.watch(1, () => {
    throw new Error('a bug');
  });
  machine.reaper.watch(2, (status) => told.push(status));
  machine.ended.push([1, 0], [2, 4]);
  machine.reaper.reap();
  t.same(told, [4]);
  t.match(machine.complaints.lines, [/internal error: Error: a bug/]);
});

t.test('an end that is told may start and watch the next process', async (t) => {
  const machine = new Machine(t);
  const told: string[] = [];
  machine.ended.push([1, 0]);
  machine.reaper.watch(1, () => {
    told.push('first');
    machine.ended.push([2, 0]);
    machine.reaper.watch(2, () => told.push('second'));
    machine.reaper.reap();
  });
  machine.reaper.reap();
  t.same(told, ['first', 'second']);
});

t.test('without children, and when waitpid fails, reap ends', async (t) => {
  const machine = new Machine(t);
  machine.reaper.reap();
  t.same(machine.complaints.lines, []);
  machine.failure = -EINVAL;
  machine.reaper.reap();
  t.same(machine.complaints.lines, ['[conmon:w]: Failed to read child process status: Invalid argument']);
});

t.test('a container that is our child is not probed', async (t) => {
  const machine = new Machine(t);
  machine.running.add(10);
  const before = timers();
  machine.reaper.watchStranger(10, 0, () => {});
  t.equal(timers(), before, 'no probe was started');
  t.same(machine.complaints.lines, []);
});

t.test('a container that has just ended is told at once', async (t) => {
  const machine = new Machine(t);
  machine.ended.push([10, 4 << 8]);
  const told: number[] = [];
  machine.reaper.watchStranger(10, 0, (status) => told.push(status));
  t.same(told, [4 << 8]);
});

t.test("a stranger's end is found by probing and counts as 0, with a warning", async (t) => {
  const machine = new Machine(t);
  machine.strangers.add(10);
  const told: number[] = [];
  machine.reaper.watchStranger(10, 0, (status) => told.push(status));
  t.match(machine.complaints.lines, [/Container process 10 is still alive but not a direct child/]);
  machine.strangers.delete(10);
  await waitFor('the probe', () => told.length > 0);
  t.same(told, [0]);
  t.match(machine.complaints.lines[1], /\[conmon:w\]: Container process 10 has exited, its status is not known/);
});

t.test('a stranger that may not be signalled is alive', async (t) => {
  const machine = new Machine(t);
  machine.killAnswer = -EPERM;
  const told: number[] = [];
  machine.reaper.watchStranger(10, 0, (status) => told.push(status));
  await waitFor('some probes', () => machine.probes > 2);
  t.same(told, []);
  machine.killAnswer = -ESRCH;
  await waitFor('the probe', () => told.length > 0);
});

t.test('a stranger that becomes ours is told its real status', async (t) => {
  const machine = new Machine(t);
  machine.strangers.add(10);
  const told: number[] = [];
  machine.reaper.watchStranger(10, 0, (status) => told.push(status));
  machine.strangers.delete(10);
  machine.ended.push([10, 6 << 8]);
  await waitFor('the probe', () => told.length > 0);
  t.same(told, [6 << 8]);
});

t.test('close stops the probe', async (t) => {
  const machine = new Machine(t);
  machine.strangers.add(10);
  const before = timers();
  machine.reaper.watchStranger(10, 0, () => {});
  t.equal(timers(), before + 1);
  machine.reaper.close();
  t.equal(timers(), before);
});
