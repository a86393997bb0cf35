/** The container's stdin on its own: what is held, written, dropped, and when it is closed. */
import t from 'tap';
import { ContainerStdin } from '../../../src/attach/stdin.ts';
import { EAGAIN, EPIPE } from '../../../src/native/constants.ts';
import type { AttachCounters } from '../../../src/proto/attach-messages.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';

const FD = 7;

/** A stdin that takes `answers[i]` bytes with its i-th write, or answers that error; then everything. */
function rig(...answers: number[]) {
  const counters: AttachCounters = {
    clients: 0,
    sentBytes: 0,
    stdinBytes: 0,
    droppedStdinBytes: 0,
    stalledClients: 0,
  };
  const written: string[] = [];
  const closed: number[] = [];
  const sys = fakeSys({
    write: (_fd, bytes, offset, length) => {
      const answer = Math.min(answers.shift() ?? length, length);
      if (answer > 0) written.push(textOf(bytes, offset, answer));
      return answer;
    },
    close: (fd) => closed.push(fd),
  });
  const stdin = new ContainerStdin(sys, counters);
  const put = (text: string): void => {
    stdin.buffer.set(Buffer.from(text, 'latin1'));
    stdin.write(text.length);
  };
  return { stdin, counters, written, closed, put };
}

t.test('a packet is written in as many pieces as the container takes', async (t) => {
  const { stdin, counters, written, put } = rig(2, EAGAIN, 1, EAGAIN);
  stdin.open(FD);
  put('abcdef');
  t.equal(stdin.pending, true);
  stdin.flush();
  t.equal(stdin.pending, true);
  stdin.flush();
  t.equal(stdin.pending, false);
  t.same(written, ['ab', 'c', 'def']);
  t.equal(counters.stdinBytes, 6);
});

t.test('before it is known a packet is held, then written', async (t) => {
  const { stdin, written, put } = rig();
  put('abc');
  stdin.flush();
  t.equal(stdin.pending, true);
  t.equal(stdin.fd, -1);
  stdin.open(FD);
  t.same(written, ['abc']);
  t.equal(stdin.fd, FD);
});

t.test('closing waits for what is pending, and for stdin itself', async (t) => {
  const slow = rig(EAGAIN, 1, EAGAIN);
  slow.stdin.open(FD);
  slow.put('abc');
  slow.stdin.close();
  slow.stdin.flush();
  t.same(slow.closed, []);
  slow.stdin.flush();
  t.same(slow.written, ['a', 'bc']);
  t.same(slow.closed, [FD]);
  t.equal(slow.stdin.fd, -1);

  const early = rig();
  early.put('abc');
  early.stdin.close();
  t.equal(early.stdin.pending, true);
  early.stdin.open(FD);
  t.same(early.written, ['abc']);
  t.same(early.closed, [FD]);
});

t.test('an fd that comes after the close is closed', async (t) => {
  const { stdin, closed } = rig();
  stdin.close();
  stdin.open(FD);
  t.same(closed, [FD]);
  t.equal(stdin.fd, -1);
});

t.test('closed twice, or closed and abandoned, it is closed once', async (t) => {
  const { stdin, closed } = rig();
  stdin.open(FD);
  stdin.close();
  stdin.close();
  stdin.abandon();
  t.same(closed, [FD]);
});

t.test('what cannot be written is dropped and counted, and a pending close then happens', async (t) => {
  const { stdin, counters, closed, put } = rig(1, EAGAIN, EPIPE);
  stdin.open(FD);
  put('abc');
  stdin.close();
  stdin.flush();
  t.equal(counters.stdinBytes, 1);
  t.equal(counters.droppedStdinBytes, 2);
  t.same(closed, [FD]);
});

t.test('abandoned, nothing is pending and input is dropped', async (t) => {
  const { stdin, counters, closed, put } = rig(EAGAIN);
  stdin.open(FD);
  put('abc');
  stdin.abandon();
  t.equal(stdin.pending, false);
  t.same(closed, [FD]);
  put('de');
  t.equal(stdin.pending, false);
  t.equal(counters.droppedStdinBytes, 5);
});
