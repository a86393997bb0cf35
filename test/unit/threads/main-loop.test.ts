/** For src/threads/main-loop.ts: a worker's loop in Node's event loop waits, goes on and leaves as with poll(2). */
import t, { type Test } from 'tap';
import { O_CLOEXEC, O_NONBLOCK, POLLIN } from '../../../src/native/constants.ts';
import type { PollRequest, Steps } from '../../../src/native/steps.ts';
import { sys } from '../../../src/native/sys.ts';
import { MainLoop } from '../../../src/threads/main-loop.ts';
import { waitFor } from '../../helpers/wait.ts';
import { type Pipe, pipe, realSysBut } from '../native/fake-sys.ts';

const POLLOUT = 0x4;
const NO_FDS = -28;

class Rig {
  readonly a: Pipe;
  readonly b: Pipe;
  /** What each step found ready, by its fd's letter. */
  readonly seen: string[] = [];
  readonly ends: unknown[] = [];
  readonly steps: number[] = [];
  fulls = 0;
  loop: MainLoop<string> | undefined;

  constructor(test: Test) {
    this.a = pipe(O_CLOEXEC | O_NONBLOCK);
    this.b = pipe(O_CLOEXEC | O_NONBLOCK);
    test.teardown(() => {
      this.loop?.stop();
      for (const { readFd, writeFd } of [this.a, this.b]) for (const fd of [readFd, writeFd]) sys.close(fd);
    });
  }

  run(steps: Steps<string>, withSys = sys, onStep?: () => void): MainLoop<string> {
    this.loop = new MainLoop(withSys, steps, {
      onStep: (ms) => {
        this.steps.push(ms);
        onStep?.();
      },
      onFull: () => this.fulls++,
      onEnd: (result, error) => this.ends.push(error ?? result),
    });
    return this.loop;
  }

  say(to: Pipe, text: string): void {
    const bytes = Buffer.from(text);
    sys.write(to.writeFd, bytes, 0, bytes.length);
  }

  take(from: Pipe): string {
    const bytes = new Uint8Array(100);
    return Buffer.from(bytes.subarray(0, Math.max(0, sys.read(from.readFd, bytes, 0, 100)))).toString();
  }

  /** Its doorbell is not there; a, then b. */
  request(timeoutMs: number, fds = [-1, this.a.readFd, this.b.readFd], events = POLLIN): PollRequest {
    return { set: Int32Array.from(fds.flatMap((fd) => [fd, events])), count: fds.length, timeoutMs };
  }

  note({ set }: PollRequest): void {
    const names = ['bell', 'a', 'b'];
    this.seen.push(names.filter((_, i) => (set[2 * i + 1] ?? 0) >>> 16 !== 0).join(' ') || 'nothing');
  }
}

/** Waits, notes what is ready, takes it; until it is told `end`. */
function* listen(rig: Rig, timeoutMs = -1): Steps<string> {
  for (;;) {
    const request = rig.request(timeoutMs);
    yield request;
    rig.note(request);
    const text = rig.take(rig.a) + rig.take(rig.b);
    if (text.includes('end')) return text;
    if (text.includes('throw')) throw new Error('thrown');
  }
}

t.test('a loop goes on when one of its fds can be read, and ends with its result, once', async (t) => {
  const rig = new Rig(t);
  rig.run(listen(rig));
  await waitFor('the first step', () => rig.steps.length === 1);
  rig.say(rig.b, 'x');
  await waitFor('b', () => rig.seen.length === 1);
  rig.say(rig.a, 'end');
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(rig.seen, ['b', 'a']);
  t.same(rig.ends, ['end']);
  rig.say(rig.a, 'more');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same(rig.ends, ['end']);
  t.equal(rig.seen.length, 2, 'nobody listens any longer');
});

t.test('what a loop throws is its end', async (t) => {
  const rig = new Rig(t);
  rig.run(listen(rig));
  rig.say(rig.a, 'throw');
  await waitFor('the end', () => rig.ends.length > 0);
  t.match(rig.ends, [{ message: 'thrown' }]);
});

t.test('a wake is a ring of the doorbell, also for a loop that has none; several in one turn are one', async (t) => {
  const rig = new Rig(t);
  const loop = rig.run(listen(rig));
  await waitFor('the first step', () => rig.steps.length === 1);
  loop.wake();
  loop.wake();
  t.equal(rig.seen.length, 0, 'not at once');
  await Promise.resolve();
  t.same(rig.seen, ['bell']);
});

t.test('a wake finds what else is ready', async (t) => {
  const rig = new Rig(t);
  const loop = rig.run(listen(rig));
  await waitFor('the first step', () => rig.steps.length === 1);
  rig.say(rig.a, 'x');
  loop.wake();
  await Promise.resolve();
  t.same(rig.seen, ['bell a']);
});

t.test('a time limit ends a wait with nothing ready, and one that grows does not end it early', async (t) => {
  const rig = new Rig(t);
  const limits = [20, 60, -1];
  const starts: number[] = [];
  function* steps(): Steps<string> {
    for (const timeoutMs of limits) {
      const request = rig.request(timeoutMs);
      starts.push(performance.now());
      yield request;
      rig.note(request);
      if (timeoutMs === 20) rig.take(rig.a);
    }
    return 'end';
  }
  const loop = rig.run(steps());
  await Promise.resolve();
  rig.say(rig.a, 'x'); // the wait of 20 ms ends before its time, and its timer is the next one's too
  await waitFor('both waits', () => rig.seen.length === 2);
  t.same(rig.seen, ['a', 'nothing']);
  t.ok((starts[2] ?? 0) - (starts[1] ?? 0) >= 59, `${(starts[2] ?? 0) - (starts[1] ?? 0)} ms`);
  await new Promise((resolve) => setTimeout(resolve, 80));
  t.equal(rig.seen.length, 2, 'a wait without a limit has none');
  loop.wake();
  await Promise.resolve();
  t.same(rig.ends, ['end']);
});

/** How many turns main's event loop has had since, until the rig's loop ends. */
function countTurns(rig: Rig): () => number {
  let turns = 0;
  const immediate = (): void => {
    turns++;
    if (rig.ends.length === 0) setImmediate(immediate);
  };
  setImmediate(immediate);
  return () => turns;
}

t.test('a wait of no time looks at all fds, and main gets its turn between many of them', async (t) => {
  const rig = new Rig(t);
  function* steps(): Steps<string> {
    for (let i = 0; i < 100; i++) {
      const request = rig.request(0);
      yield request;
      rig.note(request);
    }
    return 'end';
  }
  rig.say(rig.a, 'x');
  rig.say(rig.b, 'x');
  rig.run(steps());
  const turns = countTurns(rig);
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(new Set(rig.seen.slice(1)), new Set(['a b']));
  t.ok(turns() >= 20, `${turns()} turns`);
});

t.test('a step that took a while is the last one of its turn', async (t) => {
  const rig = new Rig(t);
  function* steps(): Steps<string> {
    for (let i = 0; i < 20; i++) {
      const untilMs = performance.now() + 1.1;
      while (performance.now() < untilMs);
      yield rig.request(0);
    }
    return 'end';
  }
  rig.run(steps());
  const turns = countTurns(rig);
  await waitFor('the end', () => rig.ends.length > 0);
  t.ok(turns() >= 19, `${turns()} turns`);
});

t.test('a wait below a millisecond is waited out, is main’s time, and ends when something is ready', async (t) => {
  const rig = new Rig(t);
  const waits: number[] = [];
  const polling = realSysBut({
    poll: (set, count, timeoutMs) => {
      waits.push(timeoutMs);
      return sys.poll(set, count, timeoutMs);
    },
  });
  function* steps(): Steps<string> {
    for (let i = 0; i < 3; i++) {
      const request = rig.request(0.9);
      if (i === 2) rig.say(rig.a, 'x');
      yield request;
      rig.note(request);
    }
    return 'end';
  }
  rig.run(steps(), polling);
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(rig.seen, ['nothing', 'nothing', 'a']);
  t.same(waits, [0, 0.9, 0.9, 0.9]);
  t.ok((rig.steps[1] ?? 0) >= 0.9, 'a step is charged with the wait before it');
});

t.test('what was ready once is not ready for ever, also for a loop that uses its set again as it is', async (t) => {
  const rig = new Rig(t);
  const request = rig.request(-1);
  function* steps(): Steps<string> {
    for (;;) {
      yield request;
      rig.note(request);
      rig.take(rig.a);
      rig.take(rig.b);
      request.timeoutMs = rig.seen.length === 2 ? 20 : -1;
      if (rig.seen.length === 4) return 'end';
    }
  }
  const loop = rig.run(steps());
  await waitFor('the first step', () => rig.steps.length === 1);
  rig.say(rig.a, 'x');
  await waitFor('a', () => rig.seen.length === 1);
  rig.say(rig.b, 'x');
  await waitFor('the wait that nothing ends', () => rig.seen.length === 3);
  loop.wake();
  await Promise.resolve();
  t.same(rig.seen, ['a', 'b', 'nothing', 'bell']);
});

t.test('an fd that is not asked for is not watched; one that is again, is', async (t) => {
  const rig = new Rig(t);
  const sets = [
    [-1, rig.a.readFd, -1],
    [-1, -1, rig.b.readFd],
    [-1, rig.a.readFd, rig.b.readFd],
  ];
  function* steps(): Steps<string> {
    for (const fds of sets) {
      const request = rig.request(-1, fds);
      yield request;
      rig.note(request);
      rig.take(rig.b);
    }
    return 'end';
  }
  const watched: number[] = [];
  const unwatched: unknown[] = [];
  const watching = realSysBut({
    watch: (fd, callback) => {
      watched.push(fd);
      return sys.watch(fd, callback);
    },
    unwatch: (watch) => {
      unwatched.push(watch);
      return sys.unwatch(watch);
    },
  });
  rig.run(steps(), watching);
  rig.say(rig.a, 'x'); // stays readable: who went on watching it would spin
  await waitFor('a', () => rig.seen.length === 1);
  rig.say(rig.b, 'x');
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(rig.seen, ['a', 'b', 'a']);
  t.same(watched, [rig.a.readFd, rig.b.readFd, rig.a.readFd]);
  t.equal(unwatched.length, 3, 'all of them');
});

t.test('a loop that is left goes no further and lets go of what it holds, once', async (t) => {
  const rig = new Rig(t);
  let released = 0;
  function* steps(): Steps<string> {
    try {
      return yield* listen(rig);
    } finally {
      released++;
    }
  }
  const loop = rig.run(steps());
  await waitFor('the first step', () => rig.steps.length === 1);
  loop.wake();
  loop.stop();
  loop.stop();
  rig.say(rig.a, 'end');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same([rig.seen, rig.ends, released], [[], [], 1]);
});

t.test('a loop that is left in its own step takes no other', async (t) => {
  const rig = new Rig(t);
  const loop = rig.run(listen(rig, 0), sys, () => loop.stop());
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(rig.steps.length, 1);
  t.same(rig.ends, []);
});

t.test('an fd that cannot be watched is the end of the loop, with the reason', async (t) => {
  const rig = new Rig(t);
  rig.run(listen(rig), realSysBut({ watch: () => NO_FDS }));
  await waitFor('the end', () => rig.ends.length > 0);
  t.match(rig.ends, [{ message: /cannot be watched/ }]);
});

t.test('an fd that is to be written is watched for one wait, and not while its loop may close it', async (t) => {
  const rig = new Rig(t);
  const held: number[] = [];
  const watching = realSysBut({
    watch: (fd, callback, writable) => {
      held.push(fd);
      return sys.watch(fd, callback, writable);
    },
    unwatch: (watch) => {
      held.pop();
      return sys.unwatch(watch);
    },
  });
  const found: string[] = [];
  function* steps(): Steps<string> {
    for (let i = 0; i < 3; i++) {
      const request = rig.request(-1, [-1, rig.b.writeFd], POLLOUT);
      yield request;
      found.push(`${(request.set[3] ?? 0) >>> 16} ${held.length}`);
    }
    return 'end';
  }
  const full = Buffer.alloc(1 << 16);
  while (sys.write(rig.b.writeFd, full, 0, full.length) > 0);
  rig.run(steps(), watching);
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same(found, [], 'it is full');
  const room = new Uint8Array(1 << 16);
  while (sys.read(rig.b.readFd, room, 0, room.length) > 0);
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(found, ['4 0', '4 0', '4 0']);
  t.same(held, []);
  t.equal(rig.fulls, 3);
});

t.test('a loop that is left while it waits for room watches nothing any longer, and hears of none', async (t) => {
  const rig = new Rig(t);
  const full = Buffer.alloc(1 << 16);
  while (sys.write(rig.b.writeFd, full, 0, full.length) > 0);
  let steps = 0;
  function* waits(): Steps<string> {
    for (;;) {
      steps++;
      yield rig.request(-1, [-1, rig.a.readFd, rig.b.writeFd], POLLOUT);
    }
  }
  let held = 0;
  const watching = realSysBut({
    watch: (fd, callback, writable) => {
      held++;
      return sys.watch(fd, callback, writable);
    },
    unwatch: (watch) => {
      held--;
      return sys.unwatch(watch);
    },
  });
  const loop = rig.run(waits(), watching);
  await waitFor('the wait', () => rig.fulls > 0);
  loop.stop();
  t.equal(held, 0);
  while (sys.read(rig.b.readFd, full, 0, full.length) > 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.same([steps, rig.ends], [1, []]);
});
