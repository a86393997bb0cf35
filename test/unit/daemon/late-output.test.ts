/** The output that is started behind the runtime: in pieces, with what is asked of it kept meanwhile. */
import { constants, openSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { LateOutput, type OutputSteps } from '../../../src/daemon/late-output.ts';
import { F_GETFD } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import type { Output } from '../../../src/session/session.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Complaints } from '../session/complaints.ts';

/** Everything that happens, in order. */
class Rig {
  readonly journal: string[] = [];
  readonly complaints = new Complaints();
  readonly output: LateOutput;
  /** What the real one says of clients. */
  serves = true;

  constructor(steps: (rig: Rig) => OutputSteps) {
    this.output = new LateOutput({
      sys,
      diag: this.complaints.diag,
      steps: steps(this),
      close: () => this.journal.push('close'),
      replaceLogs: () => this.journal.push('new logs'),
      onEnded: () => this.journal.push('ended'),
      onFailed: (reason) => this.journal.push(`failed: ${reason}`),
    });
  }

  /** What the pieces make in the end. */
  real(): Output {
    const note = (text: string): void => void this.journal.push(text);
    return {
      begin: (sources, stdinFd) => note(`begin ${sources.length} ${stdinFd}`),
      startAttach: () => {
        note('startAttach');
        return this.serves;
      },
      reopen: () => note('reopen'),
      end: (drain) => note(`end ${drain}`),
      whenClosed: () => note('whenClosed'),
    };
  }
}

function* inThree(rig: Rig): OutputSteps {
  for (const piece of [1, 2, 3]) {
    rig.journal.push(`piece ${piece}`);
    yield;
  }
  return rig.real();
}

function* failing(rig: Rig): OutputSteps {
  rig.journal.push('piece 1');
  yield;
  throw new Error('no eventfd left');
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** A pipe whose reading end does not wait, as openStdio makes them. @returns its fds, closed when the test is over. */
function pipe(t: Test): readonly [number, number] {
  const fds = new Int32Array(2);
  t.equal(sys.pipe2(fds, constants.O_NONBLOCK), 0);
  const [readFd = -1, writeFd = -1] = fds;
  t.teardown(() => sys.close(writeFd));
  return [readFd, writeFd];
}

t.test('what happens during one piece is heard before the next', async (t) => {
  const [readFd, writeFd] = pipe(t);
  const rig = new Rig(function* (rig) {
    writeSync(writeFd, 'x'); // as the runtime's end does, somewhere in a piece
    yield* inThree(rig);
    return rig.real();
  });
  const watch = sys.watch(readFd, () => {
    rig.journal.push('heard');
    if (typeof watch !== 'number') sys.unwatch(watch);
    sys.close(readFd);
  });
  t.same(rig.journal, [], 'and nothing is done in the turn in which the runtime is executed');
  await waitFor('the last piece', () => rig.journal.includes('piece 3'));
  t.same(rig.journal, ['piece 1', 'heard', 'piece 2', 'piece 3']);
});

t.test('what is asked before is done once there is an output, in the same order, and afterwards at once', async (t) => {
  const rig = new Rig(inThree);
  rig.output.startAttach({ listenFd: 9 }, () => {});
  rig.output.begin([], 7);
  rig.output.reopen();
  rig.output.whenClosed(() => t.fail('the output itself decides'));
  rig.output.end(true);
  t.same(rig.journal, []);
  await turns(6);
  const asked = ['startAttach', 'begin 0 7', 'reopen', 'whenClosed', 'end true'];
  t.same(rig.journal, ['piece 1', 'piece 2', 'piece 3', ...asked]);
  rig.output.reopen();
  t.equal(rig.journal.at(-1), 'reopen');
});

t.test('a container that never was costs no thread: the end cancels what is left', async (t) => {
  const rig = new Rig(inThree);
  await turn();
  let closed = false;
  rig.output.whenClosed(() => {
    closed = true;
  });
  rig.output.end(false);
  t.ok(closed);
  await turns(6);
  t.same(rig.journal, ['piece 1', 'close', 'ended']);
});

t.test('a failure before there is a container is told, and what was opened is closed', async (t) => {
  const rig = new Rig(failing);
  rig.output.reopen(); // may come at any time
  await turns(4);
  t.same(
    rig.journal,
    ['piece 1', 'failed: no eventfd left', 'close', 'new logs'],
    'an engine waits for them without a limit',
  );
  rig.output.end(false);
  t.equal(rig.journal.at(-1), 'ended');
  t.same(rig.complaints.lines, []);
});

t.test('a failure after the caller was told of the container throws output away, and says so', async (t) => {
  const [readFd, writeFd] = pipe(t);
  const stdinFd = openSync('/dev/null', 'w');
  const rig = new Rig(failing);
  rig.output.begin([{ fd: readFd, stream: STDOUT, terminal: false }], stdinFd);
  await turns(4);
  t.same(rig.complaints.lines, ["[conmon:e]: the container's output is thrown away: no eventfd left"]);
  const block = new Uint8Array(65536);
  for (let written = 0; written < 4 << 20; ) {
    const result = sys.write(writeFd, block, 0, block.length);
    if (result > 0) written += result;
    await turn(); // it would never end if nobody read
  }
  t.same(rig.journal, ['piece 1', 'close']);
  rig.output.reopen();
  rig.output.end(true);
  t.same(rig.journal, ['piece 1', 'close', 'new logs', 'ended']);
  t.match(rig.complaints.lines[1], /^\[conmon:w\]: at least 4\d{6} bytes of output were thrown away/);
  for (const fd of [readFd, stdinFd]) t.ok(sys.fcntl(fd, F_GETFD, 0) < 0, `fd ${fd} is closed`);
});

t.test('whether clients are served is known once there is an output; until then they are kept waiting', async (t) => {
  const rig = new Rig(inThree);
  let lefts = 0;
  const ask = (): boolean => rig.output.startAttach({ listenFd: 5 }, () => lefts++);
  rig.serves = false;
  t.equal(ask(), true);
  await turns(5);
  t.equal(lefts, 1, 'main is to ask again');
  t.equal(ask(), false);
  rig.serves = true;
  t.equal(ask(), true);
  t.equal(lefts, 1);
  const without = new Rig(failing);
  without.output.begin([], -1);
  await turns(5);
  t.equal(
    without.output.startAttach({ listenFd: 5 }, () => {}),
    false,
    'where there is none, nobody serves',
  );
});

t.test('what fails of that which was asked before keeps nothing else from being done', async (t) => {
  const rig = new Rig(function* (rig) {
    yield;
    const real = rig.real();
    return {
      ...real,
      startAttach: () => {
        throw new Error('no eventfd left');
      },
      begin: (sources, stdinFd) => {
        real.begin(sources, stdinFd);
        throw new Error('no memory left');
      },
    };
  });
  let lefts = 0;
  rig.output.startAttach({ listenFd: 5 }, () => lefts++);
  rig.output.begin([], -1);
  rig.output.end(true);
  await turns(4);
  t.same(rig.journal, ['begin 0 -1', 'end true']);
  t.equal(lefts, 1, 'whoever waits is seen to');
  t.same(rig.complaints.lines, [
    "[conmon:e]: the container's output: no eventfd left",
    "[conmon:e]: the container's output: no memory left",
  ]);
});
