/**
 * For src/threads/main-loop.ts and main-wait.ts: a loop that hears line after line waits for the next one in poll(2), and main
 * misses nothing of what else it has to do. Real pipes, real events.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { O_CLOEXEC, O_NONBLOCK, POLLIN, POLLOUT } from '../../../src/native/constants.ts';
import { libexecDir } from '../../../src/native/libexec.ts';
import type { PollRequest, Steps } from '../../../src/native/steps.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { MainLoop } from '../../../src/threads/main-loop.ts';
import { waitFor, within } from '../../helpers/wait.ts';
import { type Pipe, pipe, realSysBut, SEED } from '../native/fake-sys.ts';

/** So many lines are heard through libuv first. */
const FIRST = 8;

class Rig {
  readonly pipes: Pipe[] = [];
  /** How often libuv has told of a line, and how often the loop's own wait has been entered. */
  told = 0;
  waits = 0;
  fulls = 0;
  readonly ends: unknown[] = [];
  lines = 0;
  readonly #children: ChildProcess[] = [];
  readonly #loops: MainLoop<string>[] = [];
  readonly sys: Sys = realSysBut({
    watch: (fd, callback, writable) =>
      sys.watch(
        fd,
        (status) => {
          this.told++;
          callback(status);
        },
        writable,
      ),
    watchWaits: (callback) =>
      sys.watchWaits(() => {
        this.waits++;
        callback();
      }),
  });

  constructor(test: Test) {
    test.teardown(() => {
      for (const loop of this.#loops) loop.stop();
      for (const child of this.#children) child.kill('SIGKILL');
      for (const { readFd, writeFd } of this.pipes) for (const fd of [readFd, writeFd]) sys.close(fd);
    });
  }

  pipe(): Pipe {
    const made = pipe(O_CLOEXEC | O_NONBLOCK);
    this.pipes.push(made);
    return made;
  }

  run(steps: Steps<string>, onStep?: (tookMs: number) => void, withSys = this.sys): MainLoop<string> {
    const loop = new MainLoop(withSys, steps, {
      onStep: (tookMs) => onStep?.(tookMs),
      onFull: () => this.fulls++,
      onEnd: (result, error) => this.ends.push(error ?? result),
    });
    this.#loops.push(loop);
    return loop;
  }

  say(to: Pipe, text = 'x'): void {
    sys.write(to.writeFd, Buffer.from(text), 0, text.length);
  }

  /** A program that writes to `to` from outside of this process; its end is an event of main's. */
  shell(to: Pipe, script: string): Promise<unknown> {
    const child = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', to.writeFd, 'inherit'] });
    this.#children.push(child);
    return within('the end of a shell', new Promise((resolve) => child.on('exit', resolve)));
  }

  /** Each step takes what there is, and counts. */
  *listen(from: Pipe, onLine: (text: string) => void = () => {}, timeoutMs = -1): Steps<string> {
    const bytes = new Uint8Array(1000);
    // With room for who polls, as the pump's; other sets here have none.
    const request: PollRequest = { set: Int32Array.of(-1, POLLIN, from.readFd, POLLIN, 0, 0), count: 2, timeoutMs };
    for (;;) {
      yield request;
      const text = take(from, bytes);
      if (text !== '') this.lines++;
      onLine(text);
      if (text.includes('end')) return text;
    }
  }

  /** Runs a loop, whose steps say one line after the other, until main waits for the next one by itself. */
  async settle(to: Pipe): Promise<void> {
    while (this.waits === 0) {
      this.say(to);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function take(from: Pipe, bytes = new Uint8Array(1000)): string {
  return Buffer.from(bytes.subarray(0, Math.max(0, sys.read(from.readFd, bytes, 0, bytes.length)))).toString();
}

t.test('a line after a line finds main in the loop’s own wait, and libuv is not asked', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  rig.run(rig.listen(a));
  await rig.shell(a, 'i=0; while [ $i -lt 60 ]; do echo x; sleep 0.005; i=$((i + 1)); done');
  t.ok(rig.lines >= 50, `${rig.lines} steps`);
  t.ok(rig.waits >= 1 && rig.told <= rig.lines / 2, `${rig.told} of ${rig.lines} through libuv, ${rig.waits} waits`);
});

t.test('a few lines, as an exec has, are heard as ever', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  rig.run(
    rig.listen(a),
    undefined,
    realSysBut({
      watchWaits: () => {
        throw new Error('not wanted');
      },
    }),
  );
  for (let i = 1; i < FIRST; i++) {
    rig.say(a);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  t.equal(rig.lines, FIRST - 1);
});

t.test('a time limit that lines put off again and again does not take main out of its wait for them', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  rig.run(rig.listen(a, undefined, 50));
  await rig.shell(a, 'i=0; while [ $i -lt 200 ]; do echo x; sleep 0.004; i=$((i + 1)); done');
  t.ok(rig.lines >= 100, `${rig.lines} steps`);
  t.ok(rig.waits >= 8, `${rig.waits} waits: each limit has ended one`);
  t.ok(rig.told < FIRST + rig.waits / 2, `${rig.told} lines through libuv, ${rig.waits} waits`);
});

t.test('a wait in which nothing came is not entered again before some lines more', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  rig.run(rig.listen(a));
  await rig.settle(a); // its immediate ends the wait, or the one after it
  const { waits } = rig;
  await new Promise((resolve) => setTimeout(resolve, 5));
  const after = rig.waits;
  t.ok(after <= waits + 1);
  for (let i = 1; i < FIRST; i++) {
    rig.say(a);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  t.ok(rig.waits <= after + FIRST, `${rig.waits} waits after ${after}`);
});

t.test(
  'while main waits so it hears timers, immediates, signals, threads and children, with nothing said',
  async (t) => {
    const rig = new Rig(t);
    const a = rig.pipe();
    rig.run(rig.listen(a));
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads'); parentPort.on('message', (m) => setTimeout(() => parentPort.postMessage(m), 20));`,
      { eval: true, execArgv: [] },
    );
    t.teardown(() => worker.terminate());
    await within('the thread', new Promise((resolve) => worker.once('online', resolve)));
    const events: Record<string, () => Promise<unknown>> = {
      timer: () => new Promise((resolve) => setTimeout(resolve, 30)),
      immediate: () => new Promise((resolve) => setImmediate(resolve)),
      signal: () =>
        new Promise((resolve) => {
          process.once('SIGUSR2', resolve);
          void rig.shell(rig.pipe(), `sleep 0.05; kill -USR2 ${process.pid}`);
        }),
      thread: () =>
        new Promise((resolve) => {
          worker.once('message', resolve);
          worker.postMessage('hello');
        }),
      child: () => rig.shell(a, 'sleep 0.05'),
    };
    for (const [name, event] of Object.entries(events)) {
      rig.waits = 0;
      await rig.settle(a);
      const before = rig.waits;
      for (let i = 0; i < 2 * FIRST; i++) rig.say(a);
      await within(name, event(), 10_000);
      t.ok(rig.waits >= before, name);
    }
    rig.say(a, 'end');
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.match(rig.ends, [/end$/]);
  },
);

t.test('libuv’s clock is right when it waits again, so that its timers do not come late', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  const calls: string[] = [];
  let waiting = false;
  const recording = realSysBut({
    watchWaits: (callback) =>
      sys.watchWaits(() => {
        waiting = true;
        callback();
        waiting = false;
        calls.push('back');
      }),
    poll: (set, count, timeoutMs) => {
      if (waiting) calls.push('poll');
      return sys.poll(set, count, timeoutMs);
    },
    loopTimeout: () => {
      calls.push('clock');
      return sys.loopTimeout();
    },
  });
  const loop: MainLoop<string> = rig.run(
    rig.listen(a),
    () => {
      if (waiting && rig.lines >= 30) loop.stop(); // also then
    },
    recording,
  );
  await rig.shell(a, 'i=0; while [ $i -lt 40 ]; do echo x; sleep 0.003; i=$((i + 1)); done');
  t.ok(rig.lines >= 30 && rig.lines < 40, `${rig.lines} steps`);
  const text = calls.join(' ');
  t.match(text, /poll/);
  t.notMatch(text, /poll back/, 'the clock is brought up to date after each wait');
});

t.test('what a step leaves main to do is done before the next one, when it says so', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  let owed = 0;
  let late = 0;
  let steps = 0;
  const loop: MainLoop<string> = rig.run(
    rig.listen(a, () => {
      if (owed > 0) late++;
      if (++steps < 100) rig.say(a);
      else if (steps === 100) rig.say(a, 'end');
    }),
    () => {
      if (steps % 3 !== 0) return;
      owed++;
      loop.giveWay();
      queueMicrotask(() => owed--);
    },
  );
  rig.say(a);
  await waitFor('the end', () => rig.ends.length > 0);
  t.equal(late, 0);
  t.ok(rig.waits > 0, 'main did wait there');
});

t.test('a loop is told which of its fds is ready there, and reads no other', async (t) => {
  const rig = new Rig(t);
  const pipes = [rig.pipe(), rig.pipe()];
  const heard: string[] = [];
  const request: PollRequest = {
    set: Int32Array.from(pipes.flatMap(({ readFd }) => [readFd, POLLIN])),
    count: 2,
    timeoutMs: -1,
  };
  function* steps(): Steps<string> {
    for (let line = 0; line < 200; line++) {
      yield request;
      const ready = pipes.filter((_, i) => (request.set[2 * i + 1] ?? 0) >>> 16 !== 0);
      heard.push(ready.map((from) => `${pipes.indexOf(from)}${take(from)}`).join());
      for (const to of pipes.slice(line % 2, (line % 2) + 1)) rig.say(to, String(line));
    }
    return 'end';
  }
  rig.run(steps());
  rig.say(pipes[1] as Pipe, '-1');
  await waitFor('the end', () => rig.ends.length > 0);
  t.same(
    heard,
    Array.from({ length: 200 }, (_, i) => `${(i + 1) % 2}${i - 1}`),
  );
  t.ok(rig.waits > 0, 'main did wait there');
});

t.test('an immediate that a step leaves is done after that step, however many lines there are', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  const asked: number[] = [];
  const done: number[] = [];
  rig.run(
    rig.listen(a, () => {
      if (rig.lines % 100 === 0) {
        asked.push(rig.lines);
        setImmediate(() => done.push(rig.lines));
      }
      rig.say(a, rig.lines < 1000 ? 'x' : 'end');
    }),
  );
  rig.say(a);
  await waitFor('the end', () => rig.ends.length > 0);
  t.ok(rig.waits > 0, 'main did wait there');
  t.ok(
    asked.every((line, i) => (done[i] ?? Number.POSITIVE_INFINITY) <= line + 8),
    `${asked} done at ${done}`,
  );
});

t.test('a step that rings the loop’s own doorbell is followed by one that finds it rung', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  const request: PollRequest = { set: Int32Array.of(-1, POLLIN, a.readFd, POLLIN), count: 2, timeoutMs: -1 };
  const rung: number[] = [];
  const found: number[] = [];
  let loop: MainLoop<string> | undefined;
  function* steps(): Steps<string> {
    for (let line = 1; line <= 1000; line++) {
      yield request;
      take(a);
      if ((request.set[1] ?? 0) >>> 16 !== 0) found.push(line);
      if (line % 100 === 0) {
        rung.push(line);
        loop?.wake();
      }
      rig.say(a);
    }
    return 'end';
  }
  loop = rig.run(steps());
  rig.say(a);
  await waitFor('the end', () => rig.ends.length > 0);
  t.ok(rig.waits > 0, 'main did wait there');
  t.ok(
    rung.slice(0, -1).every((line, i) => (found[i] ?? Number.POSITIVE_INFINITY) <= line + 8),
    `${rung} found at ${found}`,
  );
});

t.test('a loop’s own time limit holds there', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  const seen: string[] = [];
  function* steps(): Steps<string> {
    const request = { set: Int32Array.of(a.readFd, POLLIN), count: 1, timeoutMs: -1 };
    for (let i = 0; ; i++) {
      request.timeoutMs = i < 20 ? -1 : 50;
      yield request;
      const text = take(a);
      seen.push(text);
      if (text === '') return 'over';
      if (i < 19) rig.say(a);
    }
  }
  rig.run(steps());
  rig.say(a);
  const startMs = performance.now();
  await rig.shell(rig.pipe(), 'sleep 0.5'); // nothing else ends the wait
  t.same(rig.ends, ['over']);
  t.ok(performance.now() - startMs >= 50);
  t.ok(rig.waits > 0);
});

t.test('a moment’s pause is waited out as ever, and is main’s time', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  const paused: number[] = [];
  let pausing = false;
  function* steps(): Steps<string> {
    const request = { set: Int32Array.of(a.readFd, POLLIN), count: 1, timeoutMs: -1 };
    for (let i = 0; i < 20; i++) {
      yield request;
      take(a);
      if (i < 19) rig.say(a);
    }
    request.timeoutMs = 0.9;
    yield request;
    pausing = true;
    yield request;
    return 'end';
  }
  rig.run(steps(), (tookMs) => {
    if (pausing) paused.push(tookMs);
  });
  rig.say(a);
  await rig.shell(rig.pipe(), 'sleep 0.2');
  t.same(rig.ends, ['end']);
  t.ok(rig.waits > 0);
  t.ok((paused[0] ?? 0) >= 0.9, `${paused[0]} ms`);
});

t.test('a flood keeps neither timers nor signals from main', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  rig.run(rig.listen(a, () => rig.say(a)));
  rig.say(a);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  t.teardown(() => clearInterval(timer));
  await within(
    'a signal',
    new Promise((resolve) => {
      process.once('SIGUSR2', resolve);
      void rig.shell(rig.pipe(), `sleep 0.2; kill -USR2 ${process.pid}`);
    }),
  );
  t.ok(ticks >= 5, `${ticks} ticks`);
  t.ok(rig.waits > 0 && rig.lines > 100, `${rig.lines} steps`);
});

t.test('a wait there that a signal ends finds nothing ready', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  let waiting = false;
  let ended = 0;
  const interrupted = realSysBut({
    ...rig.sys,
    watchWaits: (callback) =>
      rig.sys.watchWaits(() => {
        waiting = true;
        callback();
        waiting = false;
      }),
    poll: (set, count, timeoutMs) => {
      if (waiting && ++ended % 2 === 0) return 0; // as poll(2) leaves the set when it answers EINTR
      return sys.poll(set, count, timeoutMs);
    },
  });
  const texts: string[] = [];
  rig.run(
    rig.listen(a, (text) => texts.push(text)),
    undefined,
    interrupted,
  );
  await rig.shell(a, 'i=0; while [ $i -lt 30 ]; do echo x; sleep 0.003; i=$((i + 1)); done');
  t.ok(ended >= 10, `${ended} waits`);
  t.notOk(texts.includes(''), 'no step without a line');
});

t.test('what was ready before a wait that a signal ends is not ready when its time is over', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  let interrupted = 0;
  const heard: number[] = [];
  const request: PollRequest = { set: Int32Array.of(a.readFd, POLLIN, 0, 0), count: 1, timeoutMs: 20 };
  function* steps(): Steps<string> {
    while (heard.length < 40) {
      yield request;
      heard.push((request.set[1] ?? 0) >>> 16);
      if (take(a) === '') heard.push(-1);
    }
    return 'end';
  }
  const withSignals = realSysBut({
    ...rig.sys,
    poll: (set, count, timeoutMs) => {
      if (rig.waits === 0 || timeoutMs <= 0) return sys.poll(set, count, timeoutMs);
      if (interrupted++ % 2 === 0) return sys.poll(set, count, timeoutMs);
      const until = performance.now() + timeoutMs;
      while (performance.now() < until);
      return 0; // as poll(2) leaves the set when it answers EINTR
    },
  });
  rig.run(steps(), undefined, withSignals);
  const writing = setInterval(() => rig.say(a), 3);
  await waitFor('the end', () => rig.ends.length > 0);
  clearInterval(writing);
  t.ok(interrupted > 0, `${interrupted} waits`);
  for (const [i, ready] of heard.entries())
    if (ready === -1) t.equal(heard[i - 1], 0, `step ${i}: ready, and nothing there`);
});

t.test('what is thrown there, and a wait that fails, end the loop', async (t) => {
  for (const way of ['throw', 'poll'] as const) {
    const rig = new Rig(t);
    const a = rig.pipe();
    let failing = false;
    const failed = realSysBut({
      ...rig.sys,
      poll: (set, count, timeoutMs) => (failing ? -22 : sys.poll(set, count, timeoutMs)),
    });
    rig.run(
      rig.listen(a, () => {
        if (rig.waits > 0 && way === 'throw') throw new Error('thrown');
        failing = rig.waits > 0;
        rig.say(a);
      }),
      undefined,
      failed,
    );
    rig.say(a);
    await waitFor(way, () => rig.ends.length > 0);
    t.match(rig.ends, [{ message: way === 'throw' ? 'thrown' : /poll: / }]);
  }
});

t.test('a loop that is stopped there leaves its fds to the next one', async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  let first: MainLoop<string> | undefined;
  const second: string[] = [];
  let opened = 0;
  let closed = 0;
  const counting = realSysBut({
    watch: (fd, callback, writable) => {
      opened++;
      return rig.sys.watch(fd, callback, writable);
    },
    watchWaits: (callback) => {
      opened++;
      return rig.sys.watchWaits(callback);
    },
    unwatch: (watch) => {
      closed++;
      return sys.unwatch(watch);
    },
  });
  const done = new Promise<void>((resolve) => {
    first = rig.run(
      rig.listen(a, () => rig.say(a)),
      () => {
        if (rig.waits === 0) return;
        first?.stop();
        rig.run(
          rig.listen(a, (text) => {
            second.push(text);
            resolve();
          }),
        );
      },
      counting,
    );
  });
  rig.say(a);
  await within('the next one', done);
  t.equal(closed, opened, 'and closes what it has opened');
  t.same(rig.ends, []);
  t.ok(second.length > 0);
});

t.test('fds that change there are watched, and one that is full is waited for', async (t) => {
  const rig = new Rig(t);
  const [a, b, full] = [rig.pipe(), rig.pipe(), rig.pipe()];
  const chunk = Buffer.alloc(1 << 16);
  while (sys.write(full.writeFd, chunk, 0, chunk.length) > 0);
  const heard: string[] = [];
  function* steps(): Steps<string> {
    for (let i = 0; i < 20; i++) {
      yield { set: Int32Array.of(a.readFd, POLLIN), count: 1, timeoutMs: -1 };
      take(a);
      if (i < 19) rig.say(a);
    }
    yield { set: Int32Array.of(b.readFd, POLLIN), count: 1, timeoutMs: -1 };
    heard.push(take(b));
    yield { set: Int32Array.of(full.writeFd, POLLOUT), count: 1, timeoutMs: -1 };
    return 'room';
  }
  let untold = 0;
  const telling = realSysBut({
    ...rig.sys,
    poll: (set, count, timeoutMs) => {
      if (rig.fulls === 0 && set.subarray(0, 2 * count).includes(full.writeFd)) untold++;
      return sys.poll(set, count, timeoutMs);
    },
  });
  rig.run(steps(), undefined, telling);
  rig.say(a);
  await rig.shell(b, 'sleep 0.1; echo b');
  t.same(heard, ['b\n']);
  t.same(rig.ends, []);
  while (sys.read(full.readFd, chunk, 0, chunk.length) > 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.same(rig.ends, ['room']);
  t.same([rig.fulls, untold], [1, 0], 'its owner is told before: it may want a thread');
  t.ok(rig.waits > 0);
});

t.test('two loops hear all of their lines, whichever main waits for', async (t) => {
  const rig = new Rig(t);
  const [a, b] = [rig.pipe(), rig.pipe()];
  let [fromA, fromB] = ['', ''];
  rig.run(rig.listen(a, (text) => (fromA += text)));
  rig.run(rig.listen(b, (text) => (fromB += text)));
  const script = (pause: string): string => `i=0; while [ $i -lt 50 ]; do echo $i; sleep ${pause}; i=$((i + 1)); done`;
  await Promise.all([rig.shell(a, script('0.003')), rig.shell(b, script('0.004'))]);
  const all = Array.from({ length: 50 }, (_, i) => `${i}\n`).join('');
  t.equal(fromA, all);
  t.equal(fromB, all);
  t.ok(rig.waits > 0);
});

t.test(`lines, messages, timers, immediates and loops that change places, at random, seed ${SEED}`, async (t) => {
  const rig = new Rig(t);
  const a = rig.pipe();
  let state = SEED || 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  const lines = 600;
  let text = '';
  let loop: MainLoop<string> | undefined;
  const start = (): void => {
    loop?.stop();
    loop = rig.run(
      rig.listen(
        a,
        (more) => {
          text += more;
          const dice = random(40);
          if (dice === 0) setImmediate(start);
          if (dice === 1) setTimeout(start, random(4));
          if (dice === 2) queueMicrotask(() => loop?.wake());
          if (dice <= 2) loop?.giveWay();
        },
        random(2) === 0 ? -1 : 1 + random(10),
      ),
    );
  };
  start();
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     process.dlopen(module, workerData.addon);
     let state = workerData.seed;
     const random = (below) => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff, (state >>> 8) % below);
     const pause = new Int32Array(new SharedArrayBuffer(4));
     for (let i = 0; i < workerData.lines; i++) {
       const line = Buffer.from(i + '\\n');
       module.exports.write(workerData.fd, line, 0, line.length);
       if (random(10) === 0) parentPort.postMessage(i);
       Atomics.wait(pause, 0, 0, random(4));
     }
     parentPort.postMessage('over');`,
    {
      eval: true,
      execArgv: [],
      workerData: { addon: join(libexecDir, 'sys.node'), fd: a.writeFd, lines, seed: SEED || 1 },
    },
  );
  const messages: unknown[] = [];
  let timers = 0;
  let fired = 0;
  await within(
    'the thread’s last message',
    new Promise<void>((resolve, reject) => {
      worker.on('error', reject);
      worker.on('message', (message) => {
        messages.push(message);
        timers++;
        setTimeout(() => fired++, random(5));
        if (message === 'over') resolve();
      });
    }),
    60_000,
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  await worker.terminate();
  t.equal(text, Array.from({ length: lines }, (_, i) => `${i}\n`).join(''));
  const numbers = messages.slice(0, -1) as number[];
  t.same(
    numbers,
    numbers.toSorted((x, y) => x - y),
  );
  t.equal(fired, timers);
  t.same(rig.ends, []);
  t.ok(rig.waits > 0, `${rig.waits} waits, ${rig.told} of ${rig.lines} through libuv`);
});

t.test(
  'in the loop’s own wait a line is a short step’s, the loop takes what is more, and neither is main’s time while it waits',
  async (t) => {
    const rig = new Rig(t);
    const a = rig.pipe();
    const said: string[] = [];
    const tookMs: number[] = [];
    const bytes = new Uint8Array(1000);
    function* steps(): Steps<string> {
      let heard = '';
      const request: PollRequest = {
        set: Int32Array.of(-1, POLLIN, a.readFd, POLLIN),
        count: 2,
        timeoutMs: -1,
        shortStep: () => {
          heard = take(a, bytes);
          if (heard.includes('slow')) for (const beganMs = performance.now(); performance.now() - beganMs < 30; );
          if (heard.includes('long')) return false;
          said.push(`short ${heard}`);
          return true;
        },
      };
      for (;;) {
        heard = '';
        yield request;
        const text = heard === '' ? take(a, bytes) : heard;
        said.push(`step ${text}`);
        if (text.includes('end')) return text;
      }
    }
    rig.run(steps(), (ms) => tookMs.push(ms));
    // The shell's end has main leave the wait: what is said then is a step's again.
    await rig.shell(
      a,
      'i=0; while [ $i -lt 20 ]; do echo x; sleep 0.02; i=$((i + 1)); done; echo long; sleep 0.02; echo slow; sleep 0.05; echo y',
    );
    t.ok(said.filter((text) => text === 'short x\n').length >= 5, said.join('|'));
    t.ok(said.includes('step long\n'), 'read by the short step, gone on with by the loop');
    t.equal(said.filter((text) => /long/.test(text)).length, 1);
    t.ok(said.includes('short slow\n'));
    t.ok(Math.max(...tookMs) >= 30, 'a short step that takes long is told of');
    t.ok(tookMs.reduce((sum, ms) => sum + ms) < 400, `${tookMs}: the waits are in it`);
    // Twenty lines come 20 ms after one another.
    t.ok((tookMs.toSorted((a, b) => a - b)[tookMs.length >> 1] ?? 0) < 10, `${tookMs}: a wait is in most of them`);
  },
);
