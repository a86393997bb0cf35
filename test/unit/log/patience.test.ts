/** A driver whose sink is slow fills the ring; one whose sink is gone has to drop. */
import t from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import type { LogDriver } from '../../../src/log/driver.ts';
import { driverState } from '../../../src/log/driver-state.ts';
import { Feed } from '../../../src/log/feed.ts';
import { Loss } from '../../../src/log/loss.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import {
  CONSUMER_COUNT,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  LOG_CONSUMER,
  memoryBytes,
} from '../../../src/ring/layout.ts';
import { RingProducer } from '../../../src/ring/producer.ts';
import { Complaints } from '../session/complaints.ts';

const GEOMETRY = { capacityBytes: 1 << 16, softBytes: 1 << 16, outputBytes: 64, outputCount: 1 };

/** Takes nothing while it is blocked, unless it was told to give up what comes next. */
class Slow implements LogDriver {
  readonly taken: number[] = [];
  readonly dropped: number[] = [];
  blocked = true;
  patient = true;
  #shedding = false;
  readonly wakeAtMs = Number.POSITIVE_INFINITY;
  readonly waitFd = -1;
  readonly calm = false;
  readonly settled: boolean[] = [];

  get stalled(): boolean {
    return this.blocked;
  }

  consume(_stream: number, _offset: number, length: number): boolean {
    if (this.blocked && !this.#shedding) return false;
    (this.#shedding ? this.dropped : this.taken).push(length);
    this.#shedding = false;
    return true;
  }

  shed(): void {
    this.#shedding = true;
  }

  settle(_stream: number, last: boolean): void {
    this.settled.push(last);
  }

  holdsPartial(_stream: number, last: boolean): boolean {
    return last;
  }

  retry(): void {}

  reopen(): void {}

  rest(): void {}
  leave(): void {}
  sync(): void {}

  close(): void {}
}

function rig() {
  const memory = createMemory(memoryBytes(GEOMETRY));
  new Int32Array(memory.buffer)[consumerBase(LOG_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
  const { diag } = new Complaints();
  const producer = new RingProducer(memory, GEOMETRY, new Array(CONSUMER_COUNT).fill(undefined));
  const cursor = new RingConsumer(memory, GEOMETRY.capacityBytes, LOG_CONSUMER, undefined);
  const driver = new Slow();
  const state = driverState(memory, 0);
  const slot = { driver, state, loss: new Loss(sys, diag, 'slow', state), name: 'slow' };
  const feed = new Feed(diag, new Uint8Array(memory.buffer), cursor, [slot]);
  const put = (bytes: number): void => {
    if (producer.tryClaim(bytes, bytes) === -1) throw new Error('the ring is full');
    producer.commit(bytes, STDOUT);
    feed.all();
  };
  return { driver, slot, feed, put, backlog: () => cursor.tail - cursor.head };
}

t.test('while it is worth waiting for, nothing has to be dropped', async (t) => {
  const { driver, feed, put, backlog } = rig();
  for (let i = 1; i <= 10; i++) put(1000 + i);
  feed.limit(2000);
  t.same(driver.dropped, []);
  t.ok(backlog() > 10_000, 'all of it is in the ring');
  driver.blocked = false;
  feed.all();
  t.same(driver.taken, [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010], 'in order, once');
  t.equal(backlog(), 0);
});

t.test('once it is not, what is too far behind goes', async (t) => {
  const { driver, feed, put, backlog } = rig();
  for (let i = 1; i <= 10; i++) put(1000 + i);
  driver.patient = false;
  t.equal(feed.limit(2100), true);
  t.same(driver.dropped, [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008]);
  t.ok(backlog() <= 2100, `${backlog()} bytes are kept`);
  driver.blocked = false;
  feed.all();
  t.same(driver.taken, [1009, 1010]);
});

t.test('at the end, when nothing is kept, it has to drop as well', async (t) => {
  const { driver, feed, put, backlog } = rig();
  for (let i = 1; i <= 3; i++) put(1000 + i);
  t.equal(feed.limit(0), true);
  t.same(driver.dropped, [1001, 1002, 1003]);
  t.equal(backlog(), 0);
  t.equal(feed.limit(0), false);
});

t.test('a driver that is not called any more is not waited for', async (t) => {
  const { driver, slot, feed, put } = rig();
  put(10);
  driver.consume = () => {
    throw new Error('a bug');
  };
  for (let i = 0; i < 3; i++) put(10);
  t.equal(feed.patient(slot), false);
});

t.test('the end of a stream is told apart from a pause', async (t) => {
  const { driver, feed } = rig();
  feed.settle(STDOUT, false);
  t.same(driver.settled, [], 'it holds nothing that a pause would bring out');
  t.equal(feed.holdsPartial(STDOUT), false);
  feed.settle(STDOUT, true);
  t.same(driver.settled, [true]);
});
