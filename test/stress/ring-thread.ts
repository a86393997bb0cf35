/**
 * One thread of the ring's stress test: the producer, the consumer that is always there, or a visitor that comes and
 * goes. Sleeps as the real threads do: declare, look again, poll on a real eventfd.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { POLLIN } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import { RingConsumer } from '../../src/ring/consumer.ts';
import { Doorbell, declareAwake, declareSleep } from '../../src/ring/doorbell.ts';
import { Word } from '../../src/ring/layout.ts';
import { RingProducer } from '../../src/ring/producer.ts';
import { seededRandom } from '../helpers/random.ts';
import { byteOf, NUMBER_BYTES, type RingResult, type RingTask, SLEEP_LIMIT_MS } from './ring-task.ts';

const task = workerData as RingTask;
const { memory, capacityBytes } = task;
const words = new Int32Array(memory.buffer);
const bytes = new Uint8Array(memory.buffer);
const random = seededRandom(task.seed);
const total = { records: 0, bytes: 0, sleeps: 0, lost: 0, visits: 0 };

/** Sleeps until the doorbell rings, unless `work` sees something to do after the flag is up. */
function sleep(bell: Doorbell, sleepsWord: number, work: () => boolean): void {
  declareSleep(words, sleepsWord);
  if (!work()) {
    total.sleeps++;
    const set = Int32Array.of(bell.fd, POLLIN);
    if (sys.poll(set, 1, SLEEP_LIMIT_MS) === 0 && work()) total.lost++;
  }
  declareAwake(words, sleepsWord);
  bell.take();
}

/** Something else to do, so that the threads meet in every phase. */
function dawdle(): void {
  if (random.below(64) !== 0) return;
  for (let i = random.below(20_000); i > 0; i--) Atomics.load(words, Word.ended);
}

function produce(): void {
  const bells = task.consumerFds.map((fd) => new Doorbell(sys, fd));
  const own = new Doorbell(sys, task.producerFd);
  const producer = new RingProducer(memory, { capacityBytes, softBytes: capacityBytes }, bells);
  while (total.records < task.records) {
    const want = 1 + random.below(random.pick([8, 64, capacityBytes]));
    const least = Math.min(want, 1 + random.below(capacityBytes / 2 - 8));
    let offset = producer.tryClaim(want, least);
    while (offset === -1) {
      sleep(own, Word.producerSleeps, () => producer.tryClaim(want, least) !== -1);
      offset = producer.tryClaim(want, least);
    }
    const length = producer.claimedBytes;
    const number = total.records;
    for (let i = 0; i < length; i++) bytes[offset + i] = byteOf(number, i);
    producer.commit(length, number & 0xff);
    total.records++;
    total.bytes += length;
    dawdle();
  }
  producer.end();
}

/** Takes the record that `next` found. Throws when it is not number `expected`, whole. */
function check(consumer: RingConsumer, expected: number): void {
  if (consumer.stream !== (expected & 0xff))
    throw new Error(`stream ${consumer.stream} in place of ${expected & 0xff}, record ${expected}`);
  const { offset, length } = consumer;
  for (let i = 0; i < length; i++)
    if (bytes[offset + i] !== (byteOf(expected, i) & 0xff)) throw new Error(`record ${expected}: byte ${i} is wrong`);
  consumer.release();
  total.records++;
  total.bytes += length;
}

/** What the record that `next` found says of itself; -1: it is too short. */
function numberOf({ offset, length }: RingConsumer): number {
  return length < NUMBER_BYTES ? -1 : new DataView(memory.buffer).getInt32(offset, true);
}

function consume(): void {
  const own = new Doorbell(sys, task.consumerFds[0] ?? -1);
  const consumer = new RingConsumer(memory, capacityBytes, 0, new Doorbell(sys, task.producerFd));
  while (!consumer.finished) {
    if (consumer.next()) check(consumer, total.records);
    else sleep(own, consumer.sleepsWord, () => consumer.next() || consumer.finished);
    dawdle();
  }
}

function visit(): void {
  const own = new Doorbell(sys, task.consumerFds[1] ?? -1);
  const consumer = new RingConsumer(memory, capacityBytes, 1, new Doorbell(sys, task.producerFd));
  const ended = () => Atomics.load(words, Word.ended) === 1;
  while (!ended()) {
    consumer.request();
    // A request is answered when the producer claims again, which it does until the end.
    while (!consumer.active && !ended()) Atomics.wait(words, consumer.sleepsWord, 0, 1);
    if (consumer.active) {
      total.visits++;
      let next = -1;
      for (let left = random.below(200); left > 0 && !consumer.finished; left--) {
        if (consumer.next()) {
          const expected = next === -1 ? numberOf(consumer) : next;
          if (expected === -1) consumer.release();
          else check(consumer, expected);
          next = expected === -1 ? -1 : expected + 1;
        } else sleep(own, consumer.sleepsWord, () => consumer.next() || consumer.finished);
      }
    }
    consumer.leave();
    dawdle();
  }
}

({ producer: produce, consumer: consume, visitor: visit })[task.role]();
const result: RingResult = total;
parentPort?.postMessage(result);
