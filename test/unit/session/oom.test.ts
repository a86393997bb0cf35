/**
 * Out of memory, on fixtures of both versions of cgroups: which events are one, and the files that tell of it. The real
 * thing is in test/e2e/oom.test.ts.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Sys } from '../../../src/native/sys.ts';
import { sys } from '../../../src/native/sys.ts';
import { parseCounters } from '../../../src/session/memory-events.ts';
import { OomWatch, writeOomFiles } from '../../../src/session/oom.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Complaints } from './complaints.ts';

const PID = 4711;

class Fixture {
  readonly dir = mkdtempSync(join(tmpdir(), 'conmon-oom-'));
  readonly complaints = new Complaints('debug');
  readonly cgroup: string;
  readonly version: 1 | 2;
  events = 0;
  watch: OomWatch | undefined;

  constructor(t: Test, version: 1 | 2) {
    this.version = version;
    this.cgroup = join(this.dir, version === 1 ? 'cg/memory/ctr' : 'cg/ctr');
    mkdirSync(this.cgroup, { recursive: true });
    mkdirSync(join(this.dir, `proc/${PID}`), { recursive: true });
    writeFileSync(join(this.dir, `proc/${PID}/cgroup`), version === 1 ? '4:memory:/ctr\n' : '0::/ctr\n');
    if (version === 1) {
      writeFileSync(join(this.cgroup, 'cgroup.event_control'), '');
      writeFileSync(join(this.cgroup, 'memory.oom_control'), '');
    } else {
      this.counters(0, 0);
    }
    t.teardown(() => {
      this.watch?.finish();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  counters(oom: number, oomKill: number): void {
    writeFileSync(
      join(this.cgroup, 'memory.events'),
      `low 0\nhigh 7\nmax 9\noom ${oom}\noom_kill ${oomKill}\noom_group_kill 0\n`,
    );
  }

  /** The eventfd that was registered. */
  get eventFd(): number {
    const text = readFileSync(join(this.cgroup, 'cgroup.event_control'), 'latin1');
    if (!/^\d+ \d+$/.test(text)) throw new Error(`cgroup.event_control holds ${JSON.stringify(text)}`);
    return Number.parseInt(text, 10);
  }

  /** The kernel counts the eventfd up. */
  signal(count = 1): void {
    const bytes = new Uint8Array(BigUint64Array.of(BigInt(count)).buffer);
    sys.write(this.eventFd, bytes, 0, 8);
  }

  start(fromNow = false, calls: Partial<Sys> = {}): this {
    const trees = { proc: join(this.dir, 'proc'), cgroup: join(this.dir, 'cg'), unified: () => this.version === 2 };
    this.watch = new OomWatch(
      { ...sys, ...calls },
      this.complaints.diag,
      { pid: PID, fromNow, trees },
      () => this.events++,
    );
    return this;
  }

  async happens(count: number): Promise<void> {
    await waitFor(`${count} events`, () => this.events === count);
  }
}

/** One turn of the event loop and more: what was readable has been read. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

t.test('v2: each rise of oom or of oom_kill is an event, and nothing else is', async (t) => {
  const f = new Fixture(t, 2).start();
  f.counters(1, 0);
  await f.happens(1);
  f.counters(1, 1);
  await f.happens(2);
  writeFileSync(join(f.cgroup, 'memory.events'), 'low 5\nhigh 99\nmax 99\noom 1\noom_kill 1\n');
  await settle();
  t.equal(f.events, 2, 'other counters do not count');
  f.counters(2, 2);
  await f.happens(3);
});

t.test('v2: what the counters say when the container’s pid is known counts for it, not for an exec', async (t) => {
  const container = new Fixture(t, 2);
  container.counters(1, 1);
  container.start();
  t.equal(container.events, 1, 'found by a look at the beginning');
  container.watch?.finish();
  t.equal(container.events, 1, 'once');
  const exec = new Fixture(t, 2);
  exec.counters(1, 1);
  exec.start(true);
  exec.watch?.finish();
  t.equal(exec.events, 0);
  const later = new Fixture(t, 2);
  later.counters(1, 1);
  later.start(true);
  later.counters(2, 1);
  await later.happens(1);
});

t.test('v2: the last look finds what the event loop has not seen yet, once', async (t) => {
  const f = new Fixture(t, 2).start();
  f.counters(1, 1);
  f.watch?.finish();
  t.equal(f.events, 1);
  f.counters(2, 2);
  f.watch?.finish();
  await settle();
  t.equal(f.events, 1, 'nothing is watched any longer');
});

t.test('v2: a cgroup that goes ends the watch', async (t) => {
  const f = new Fixture(t, 2).start();
  rmSync(f.cgroup, { recursive: true });
  await settle();
  f.watch?.finish();
  t.equal(f.events, 0);
  t.same(f.complaints.lines, [], 'without a word');
});

t.test('v1: the eventfd is registered with memory.oom_control, and each count is an event', async (t) => {
  const f = new Fixture(t, 1).start();
  const [, second] = readFileSync(join(f.cgroup, 'cgroup.event_control'), 'latin1').split(' ');
  t.match(second, /^\d+$/, 'the fd of memory.oom_control');
  f.signal();
  await f.happens(1);
  f.signal(3);
  await f.happens(2);
});

t.test('v1: one count of a cgroup that is gone is its removal; two are not', async (t) => {
  const removed = new Fixture(t, 1).start();
  const removedFd = removed.eventFd;
  rmSync(removed.cgroup, { recursive: true });
  sys.write(removedFd, new Uint8Array(BigUint64Array.of(1n).buffer), 0, 8);
  await settle();
  removed.watch?.finish();
  t.equal(removed.events, 0);
  const killed = new Fixture(t, 1).start();
  const killedFd = killed.eventFd;
  rmSync(killed.cgroup, { recursive: true });
  sys.write(killedFd, new Uint8Array(BigUint64Array.of(2n).buffer), 0, 8);
  await killed.happens(1);
});

t.test('v1: the last look finds what the event loop has not seen yet', async (t) => {
  const f = new Fixture(t, 1).start();
  f.signal();
  f.watch?.finish();
  t.equal(f.events, 1);
});

t.test('missing files cost the notice and a debug message, nothing else', async (t) => {
  const noEvents = new Fixture(t, 2);
  rmSync(join(noEvents.cgroup, 'memory.events'));
  const noControl = new Fixture(t, 1);
  rmSync(join(noControl.cgroup, 'cgroup.event_control'));
  const noOomControl = new Fixture(t, 1);
  rmSync(join(noOomControl.cgroup, 'memory.oom_control'));
  const noProcess = new Fixture(t, 2);
  rmSync(join(noProcess.dir, 'proc'), { recursive: true });
  for (const f of [noEvents, noControl, noOomControl, noProcess]) {
    f.start();
    f.watch?.finish();
    t.equal(f.events, 0);
    t.equal(f.complaints.lines.length, 1);
    t.match(f.complaints.lines[0], /^\[conmon:d\]: no OOM monitoring: /);
  }
});

t.test('a machine without a free fd, or without the interface, costs a warning', async (t) => {
  const EMFILE = -24;
  for (const [version, calls] of [
    [1, { eventfd: () => EMFILE }],
    [2, { inotifyInit: () => EMFILE }],
    [2, { inotifyAddWatch: () => -28 }],
  ] as const) {
    const f = new Fixture(t, version).start(false, calls);
    f.watch?.finish();
    t.match(f.complaints.lines, [/^\[conmon:w\]: no OOM monitoring: Failed to /]);
  }
});

t.test('no fd is left behind', async (t) => {
  const open = () => readdirSync('/proc/self/fd').length;
  new Fixture(t, 1).start().watch?.finish();
  await settle();
  const before = open();
  for (const version of [1, 2] as const) {
    new Fixture(t, version).start().watch?.finish();
    const broken = new Fixture(t, version);
    rmSync(join(broken.cgroup), { recursive: true });
    broken.start().watch?.finish();
  }
  await settle();
  t.equal(open(), before);
});

t.test('counters of memory.events', async (t) => {
  t.same(parseCounters('low 0\noom 12\noom_kill 3\noom_group_kill 9\n'), { oom: 12, oomKill: 3 });
  t.same(parseCounters(''), { oom: 0, oomKill: 0 });
  t.same(parseCounters('oom x\noom_kill\n'), { oom: 0, oomKill: 0 });
});

t.test('the files: empty, in each directory that is given, as often as wanted', async (t) => {
  const f = new Fixture(t, 2);
  const [persist, bundle] = [join(f.dir, 'persist'), join(f.dir, 'bundle')];
  mkdirSync(persist);
  mkdirSync(bundle);
  t.same(writeOomFiles([persist, undefined, bundle]), []);
  t.same(writeOomFiles([persist, bundle]), []);
  for (const dir of [persist, bundle]) t.equal(statSync(join(dir, 'oom')).size, 0);
});

t.test('a directory that is missing is told by name and keeps the other file from nothing', async (t) => {
  const f = new Fixture(t, 2);
  const failures = writeOomFiles([join(f.dir, 'gone'), f.dir]);
  t.equal(failures.length, 1);
  t.match(failures[0], `Failed to write oom file to the ${f.dir}/gone path`);
  t.ok(existsSync(join(f.dir, 'oom')));
});

t.test('a symlink in the file’s place is not followed', async (t) => {
  const f = new Fixture(t, 2);
  symlinkSync(join(f.dir, 'elsewhere'), join(f.dir, 'oom'));
  t.equal(writeOomFiles([f.dir]).length, 1);
  t.notOk(existsSync(join(f.dir, 'elsewhere')));
});
