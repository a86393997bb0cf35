/** Loops as steps: alone on a thread, or many in one. */
import t from 'tap';
import { POLLIN } from '../../../src/native/constants.ts';
import { type PollRequest, runSteps, StepLoop, type Steps } from '../../../src/native/steps.ts';
import { sys } from '../../../src/native/sys.ts';

const bell = () => sys.eventfd(0, 0o4000);
const ring = (fd: number) => sys.write(fd, new Uint8Array(new BigUint64Array([1n]).buffer), 0, 8);
const take = (fd: number) => sys.read(fd, new Uint8Array(8), 0, 8) > 0;

/** Waits for `fd` as often as asked; tells each time whether it was ready. */
function* waits(fd: number, times: number, timeoutMs: number, told: boolean[]): Steps<string> {
  const request: PollRequest = { set: Int32Array.of(fd, 0), count: 1, timeoutMs };
  for (let i = 0; i < times; i++) {
    request.set[0] = fd;
    request.set[1] = POLLIN;
    yield request;
    told.push((request.set[1] ?? 0) >>> 16 !== 0);
    take(fd);
  }
  return `${fd} done`;
}

t.test('a loop alone waits in poll itself', async (t) => {
  const fd = bell();
  ring(fd);
  const told: boolean[] = [];
  t.equal(runSteps(sys, waits(fd, 2, 1, told)), `${fd} done`);
  t.same(told, [true, false], 'ready, then out of time');
  sys.close(fd);
  t.throws(() => runSteps({ ...sys, poll: () => -22 }, waits(fd, 1, 1, [])), /poll: Invalid argument/);
});

t.test('a short step is taken in the loop’s place, until it says that there is more', async (t) => {
  const fd = bell();
  const said: string[] = [];
  const answers = [true, true, false];
  function* steps(): Steps<string> {
    const request: PollRequest = {
      set: Int32Array.of(fd, POLLIN),
      count: 1,
      timeoutMs: 1000,
      shortStep: () => {
        said.push(`short ${(request.set[1] ?? 0) >>> 16 !== 0}`);
        return answers.shift() === true;
      },
    };
    ring(fd);
    yield request;
    said.push('step');
    return 'done';
  }
  t.equal(runSteps(sys, steps()), 'done');
  t.same(said, ['short true', 'short true', 'short true', 'step']);
  sys.close(fd);
});

t.test('of many loops those take a step that are ready or out of time', async (t) => {
  const loop = new StepLoop(sys);
  const [own, a, b, c] = [bell(), bell(), bell(), bell()];
  const told: Record<string, boolean[]> = { a: [], b: [], c: [] };
  const ends: string[] = [];
  const end = (result: string | undefined) => ends.push(String(result));
  loop.add(waits(a, 2, -1, told['a'] ?? []), end);
  loop.add(waits(b, 1, -1, told['b'] ?? []), end);
  loop.add(waits(c, 1, 20, told['c'] ?? []), end);
  t.equal(loop.size, 3);
  ring(a);
  t.equal(loop.turn(own), false);
  t.same(told, { a: [true], b: [], c: [] });
  ring(own);
  t.equal(loop.turn(own), true, 'our own fd');
  take(own);
  t.same(told, { a: [true], b: [], c: [] });
  t.equal(loop.turn(own), false);
  t.same(told, { a: [true], b: [], c: [false] }, 'the one with a time limit');
  t.same(ends, [`${c} done`]);
  ring(a);
  ring(b);
  loop.turn(own);
  t.same(told, { a: [true, true], b: [true], c: [false] });
  t.equal(loop.size, 0);
  t.same(ends, [`${c} done`, `${a} done`, `${b} done`]);
  for (const fd of [own, a, b, c]) sys.close(fd);
});

t.test('a loop that throws takes no other with it, and one may end at once', async (t) => {
  const loop = new StepLoop(sys);
  const [own, a, b] = [bell(), bell(), bell()];
  const told: boolean[] = [];
  const ends: unknown[] = [];
  loop.add(waits(a, 0, -1, told), () => ends.push(7));
  t.same(ends, [7]);
  loop.add(
    (function* (): Steps<void> {
      yield { set: Int32Array.of(a, POLLIN), count: 1, timeoutMs: -1 };
      throw new Error('a bug');
    })(),
    (_, error) => ends.push(String(error)),
  );
  loop.add(waits(b, 1, -1, told), () => ends.push('b'));
  ring(a);
  ring(b);
  loop.turn(own);
  t.same(ends, [7, 'Error: a bug', 'b']);
  t.same(told, [true]);
  for (const fd of [own, a, b]) sys.close(fd);
});

t.test('two hundred loops have room', async (t) => {
  const loop = new StepLoop(sys);
  const own = bell();
  const fds = Array.from({ length: 200 }, bell);
  const told: boolean[] = [];
  for (const fd of fds) loop.add(waits(fd, 1, -1, told), () => {});
  for (const fd of fds) ring(fd);
  loop.turn(own);
  t.equal(loop.size, 0);
  t.equal(told.filter(Boolean).length, 200);
  for (const fd of [own, ...fds]) sys.close(fd);
});

t.test('a wait of less than a millisecond stays one among many loops', async (t) => {
  const limits: number[] = [];
  const poll: typeof sys.poll = (set, count, timeoutMs) => {
    limits.push(timeoutMs);
    return sys.poll(set, count, timeoutMs);
  };
  const loop = new StepLoop({ ...sys, poll });
  const [own, a, b] = [bell(), bell(), bell()];
  loop.add(waits(a, 1, 0.25, []), () => {});
  loop.add(waits(b, 1, 60_000, []), () => {});
  while (loop.size > 1) loop.turn(own);
  t.ok(
    limits.every((limit) => limit >= 0 && limit <= 0.25),
    String(limits),
  );
  for (const fd of [own, a, b]) sys.close(fd);
});
