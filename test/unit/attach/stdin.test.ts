/** The container's stdin on its own: what is held, written, dropped, and when it has ended. */
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
  const sys = fakeSys({
    write: (_fd, bytes, offset, length) => {
      const answer = Math.min(answers.shift() ?? length, length);
      if (answer > 0) written.push(textOf(bytes, offset, answer));
      return answer;
    },
  });
  const ends: string[] = [];
  const stdin = new ContainerStdin(sys, counters, () => ends.push(written.join('')));
  const put = (text: string): void => {
    stdin.buffer.set(Buffer.from(text, 'latin1'));
    stdin.write(text.length);
  };
  return { stdin, counters, written, ends, put };
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
  t.same(slow.ends, []);
  slow.stdin.flush();
  t.same(slow.written, ['a', 'bc']);
  t.same(slow.ends, ['abc'], 'told once everything is written');
  t.equal(slow.stdin.fd, -1);

  const early = rig();
  early.put('abc');
  early.stdin.close();
  t.equal(early.stdin.pending, true);
  early.stdin.open(FD);
  t.same(early.written, ['abc']);
  t.same(early.ends, ['abc']);
});

t.test('an fd that comes after the end is not written to, whatever comes then', async (t) => {
  const { stdin, ends, written, put } = rig();
  stdin.close();
  t.same(ends, ['']);
  stdin.open(FD);
  put('late');
  t.equal(stdin.fd, -1);
  t.equal(stdin.pending, false);
  t.same(ends, [''], 'told once');
  t.same(written, []);
});

t.test('closed twice, or closed and abandoned, its end is told once', async (t) => {
  const { stdin, ends } = rig();
  stdin.open(FD);
  stdin.close();
  stdin.close();
  stdin.abandon();
  t.same(ends, ['']);
  t.equal(stdin.fd, -1);
});

t.test('what cannot be written is dropped and counted, and a pending close then happens', async (t) => {
  const { stdin, counters, ends, put } = rig(1, EAGAIN, EPIPE);
  stdin.open(FD);
  put('abc');
  stdin.close();
  stdin.flush();
  t.equal(counters.stdinBytes, 1);
  t.equal(counters.droppedStdinBytes, 2);
  t.same(ends, ['a']);
});

t.test('abandoned, nothing is pending and input is dropped', async (t) => {
  const { stdin, counters, ends, put } = rig(EAGAIN);
  stdin.open(FD);
  put('abc');
  stdin.abandon();
  t.equal(stdin.pending, false);
  t.same(ends, ['']);
  put('de');
  t.equal(stdin.pending, false);
  t.equal(counters.droppedStdinBytes, 5);
});
