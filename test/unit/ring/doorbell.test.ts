/** Who is woken when, and that a busy partner costs no system call. */
import { constants } from 'node:os';
import t from 'tap';
import { POLLIN } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Doorbell, declareAwake, declareSleep, ring } from '../../../src/ring/doorbell.ts';
import { ConsumerWord, consumerBase, Word } from '../../../src/ring/layout.ts';
import { fakeSys } from '../native/fake-sys.ts';
import { CountingBell, pattern, Rig } from './rig.ts';

const { EAGAIN, EBADF } = constants.errno;

t.test('a consumer is woken by a commit only when it sleeps, and once', async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 256, active: [0, 1], doorbells: [undefined, bell.doorbell] });
  const consumer = rig.consumer(1);
  rig.put(pattern(8, 1));
  t.equal(bell.rings, 0, 'awake');
  declareSleep(rig.words, consumer.sleepsWord);
  rig.producer.tryClaim(8, 8);
  rig.producer.commit(0, 2);
  t.equal(bell.rings, 0, 'a claim that is given back is no news');
  rig.put(pattern(8, 2));
  rig.put(pattern(8, 3));
  t.equal(bell.rings, 1);
  t.equal(Atomics.load(rig.words, consumer.sleepsWord), 0, 'the ringer takes the flag down');
  declareSleep(rig.words, consumer.sleepsWord);
  declareAwake(rig.words, consumer.sleepsWord);
  rig.put(pattern(8, 4));
  t.equal(bell.rings, 1);
});

t.test('the end wakes every consumer that has a doorbell', async (t) => {
  const bells = [new CountingBell(), new CountingBell()];
  const rig = new Rig({ capacityBytes: 64, doorbells: bells.map((bell) => bell.doorbell) });
  rig.producer.end();
  t.same(
    bells.map((bell) => bell.rings),
    [1, 1],
  );
});

t.test('the producer is woken by a release or a leave only when it sleeps', async (t) => {
  const bell = new CountingBell();
  const rig = new Rig({ capacityBytes: 256, active: [0, 1], producerDoorbell: bell.doorbell });
  const consumer = rig.consumer(1);
  rig.put(pattern(8, 1));
  rig.put(pattern(8, 2));
  rig.put(pattern(8, 3));
  rig.take(consumer);
  t.equal(bell.rings, 0);
  declareSleep(rig.words, Word.producerSleeps);
  consumer.next();
  t.equal(bell.rings, 0, 'finding a record frees nothing');
  consumer.release();
  t.equal(bell.rings, 1);
  rig.take(consumer);
  t.equal(bell.rings, 1);
  declareSleep(rig.words, Word.producerSleeps);
  consumer.leave();
  t.equal(bell.rings, 2);
});

t.test('the words of two threads never share a cache line', async (t) => {
  const words = [Word.tail, Word.producerSleeps, Word.ended];
  for (const consumer of [0, 1])
    for (const word of Object.values(ConsumerWord)) words.push(consumerBase(consumer) + word);
  t.equal(new Set(words.map((word) => Math.floor((word * 4) / 64))).size, words.length);
});

t.test('a real doorbell wakes a poll and is quiet once it was heard', async (t) => {
  const fd = Doorbell.createFd(sys);
  t.teardown(() => sys.close(fd));
  const bell = new Doorbell(sys, fd);
  const set = Int32Array.of(fd, POLLIN);
  t.equal(sys.poll(set, 1, 0), 0);
  t.equal(bell.take(), false);
  bell.ring();
  bell.ring();
  t.equal(sys.poll(set, 1, 0), 1);
  t.equal(bell.take(), true);
  t.equal(bell.take(), false, 'two rings are heard as one');
  set[1] = POLLIN;
  t.equal(sys.poll(set, 1, 0), 0);
});

t.test('a doorbell whose count is full still rings', async (t) => {
  const bell = new Doorbell(fakeSys({ write: () => -EAGAIN }), 3);
  bell.ring();
  t.pass('EAGAIN: the owner has not even heard the rings before');
});

t.test('a doorbell that is gone is an error, not silence', async (t) => {
  const bell = new Doorbell(fakeSys({ write: () => -EBADF, read: () => -EBADF }), 3);
  t.throws(() => bell.ring(), { message: 'doorbell: write: Bad file descriptor' });
  t.throws(() => bell.take(), { message: 'doorbell: read: Bad file descriptor' });
});

t.test('ring leaves an awake partner alone', async (t) => {
  const bell = new CountingBell();
  const words = new Int32Array(new SharedArrayBuffer(8));
  ring(words, 1, bell.doorbell);
  t.equal(bell.rings, 0);
  words[1] = 1;
  ring(words, 1, bell.doorbell);
  ring(words, 1, bell.doorbell);
  t.equal(bell.rings, 1);
});
