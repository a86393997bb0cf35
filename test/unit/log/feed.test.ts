/** Drivers at their own pace: one that is stalled, slow or broken takes nothing from the others. */
import t, { type Test } from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import type { LogDriver } from '../../../src/log/driver.ts';
import { DriverField, driverState } from '../../../src/log/driver-state.ts';
import { Feed, type PumpDriver } from '../../../src/log/feed.ts';
import { Loss } from '../../../src/log/loss.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import {
  CONSUMER_COUNT,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  LOG_CONSUMER,
  memoryBytes,
  recordBytes,
} from '../../../src/ring/layout.ts';
import { RingProducer } from '../../../src/ring/producer.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

const GEOMETRY = { capacityBytes: 4096, softBytes: 4096, outputBytes: 64, outputCount: 1 };
const NEVER = Number.POSITIVE_INFINITY;

/** Takes lines; while it is stalled it holds one batch, like a file's output area, and no more. */
class Taker implements LogDriver {
  /** What it has written, and what it gave up. */
  text = '';
  shedText = '';
  held = '';
  stalled = false;
  patient = false;
  wakeAtMs = NEVER;
  waitFd = -1;
  closed = 0;
  get calm(): boolean {
    return !this.stalled && this.wakeAtMs === NEVER && this.waitFd === -1;
  }
  /** Called with each batch, before it is taken. */
  before: ((text: string) => void) | undefined;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  consume(_stream: Stream, offset: number, length: number): boolean {
    const text = Buffer.from(this.#bytes.slice(offset, offset + length)).toString();
    this.before?.(text);
    this.retry();
    if (this.stalled && this.held !== '') return false;
    if (this.stalled) this.held = text;
    else this.text += text;
    return true;
  }

  retry(): void {
    if (this.stalled) return;
    this.text += this.held;
    this.held = '';
  }

  shed(): void {
    this.shedText += this.held;
    this.held = '';
  }

  settle(): void {}
  holdsPartial(): boolean {
    return false;
  }
  reopen(): void {}
  rest(): void {}
  leave(): void {}
  sync(): void {}
  close(): void {
    this.closed++;
  }
}

class Rig {
  readonly memory = createMemory(memoryBytes(GEOMETRY));
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly complaints = new Complaints();
  readonly producer: RingProducer;
  readonly cursor: RingConsumer;
  readonly takers: Taker[] = [];
  readonly slots: PumpDriver[] = [];
  readonly feed: Feed;

  constructor(_test: Test, count: number) {
    const words = new Int32Array(this.memory.buffer);
    words[consumerBase(LOG_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    this.producer = new RingProducer(this.memory, GEOMETRY, new Array(CONSUMER_COUNT).fill(undefined));
    this.cursor = new RingConsumer(this.memory, GEOMETRY.capacityBytes, LOG_CONSUMER, undefined);
    for (let i = 0; i < count; i++) {
      const state = driverState(this.memory, i);
      const driver = new Taker(this.bytes);
      this.takers.push(driver);
      this.slots.push({ driver, state, loss: new Loss(sys, this.complaints.diag, `log${i}`, state), name: `log${i}` });
    }
    this.feed = new Feed(this.complaints.diag, this.bytes, this.cursor, this.slots);
  }

  taker(index: number): Taker {
    const taker = this.takers[index];
    if (taker === undefined) throw new Error('no such driver');
    return taker;
  }

  slot(index: number): PumpDriver {
    const slot = this.slots[index];
    if (slot === undefined) throw new Error('no such driver');
    return slot;
  }

  /** Puts a text into the ring. @returns false when it is full */
  put(text: string): boolean {
    const offset = this.producer.tryClaim(text.length, text.length);
    if (offset === -1) return false;
    this.bytes.set(Buffer.from(text), offset);
    this.producer.commit(text.length, STDOUT);
    return true;
  }
}

t.test('every driver gets everything, in order, and the ring is free again', async (t) => {
  const rig = new Rig(t, 3);
  for (const text of ['one\n', 'two\n', 'three\n']) {
    t.ok(rig.put(text));
    rig.feed.all();
    t.equal(rig.cursor.backlogBytes, 0);
  }
  for (const taker of rig.takers) t.equal(taker.text, 'one\ntwo\nthree\n');
});

t.test('a stalled driver stays behind and the others go on; then it catches up, once', async (t) => {
  const rig = new Rig(t, 3);
  rig.taker(1).stalled = true;
  let sent = '';
  for (let i = 0; i < 20; i++) {
    sent += `line ${i}\n`;
    t.ok(rig.put(`line ${i}\n`));
    rig.feed.all();
  }
  t.equal(rig.taker(0).text, sent);
  t.equal(rig.taker(2).text, sent);
  t.equal(rig.taker(1).text, '');
  t.ok(rig.cursor.backlogBytes > 0, 'the ring keeps its part');
  rig.taker(1).stalled = false;
  rig.feed.retry(rig.slot(1));
  t.equal(rig.taker(1).text, sent);
  t.equal(rig.cursor.backlogBytes, 0);
});

t.test('the ring keeps what the driver that is furthest behind has not had', async (t) => {
  for (const [far, near] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const rig = new Rig(t, 2);
    rig.taker(far).stalled = true;
    for (const text of ['one\n', 'two\n', 'three\n', 'four\n']) {
      if (text === 'three\n') rig.taker(near).stalled = true;
      t.ok(rig.put(text));
      rig.feed.all();
    }
    t.equal(rig.cursor.backlogBytes, 3 * recordBytes(5), 'the first is held');
  }
});

t.test('what is too far behind is given up, the oldest first, and nobody else loses anything', async (t) => {
  const rig = new Rig(t, 2);
  rig.taker(0).stalled = true;
  let sent = '';
  for (let i = 0; i < 500; i++) {
    sent += `line ${i}\n`;
    rig.feed.limit(1000);
    t.ok(rig.put(`line ${i}\n`), 'the ring is never full');
    rig.feed.all();
  }
  t.equal(rig.taker(1).text, sent);
  t.ok(rig.cursor.backlogBytes <= 1100);
  rig.taker(0).stalled = false;
  rig.feed.retry(rig.slot(0));
  t.equal(rig.taker(0).shedText + rig.taker(0).text, sent, 'given up, then the rest: each line once');
  t.ok(rig.taker(0).shedText.length > 0);
});

t.test('a driver that throws loses what it was given, counted; the others lose nothing', async (t) => {
  const rig = new Rig(t, 3);
  rig.taker(1).before = (text) => {
    if (text === 'poison\nmore') throw new Error('a bug');
  };
  for (const text of ['one\n', 'poison\nmore', 'two\n']) {
    rig.put(text);
    rig.feed.all();
  }
  t.equal(rig.taker(0).text, 'one\npoison\nmoretwo\n');
  t.equal(rig.taker(2).text, 'one\npoison\nmoretwo\n');
  t.equal(rig.taker(1).text, 'one\ntwo\n');
  const state = rig.slot(1).state;
  t.equal(state[DriverField.droppedBytes], 11);
  t.equal(state[DriverField.droppedRecords], 2);
  t.match(rig.slot(1).loss.text(), /dropped 11 bytes in 2 records .*: internal error$/);
  t.match(rig.complaints.lines, [
    '[conmon:e]: log log1: internal error (1 of 3): a bug',
    /failed to write to log log1: internal error/,
  ]);
});

t.test('a driver that throws again and again is left alone, and all it should have had is counted', async (t) => {
  const rig = new Rig(t, 2);
  let calls = 0;
  const taker = rig.taker(0);
  taker.before = () => {
    calls++;
    throw new Error('a bug');
  };
  taker.waitFd = 5;
  for (let i = 0; i < 10; i++) {
    rig.put('x\n');
    rig.feed.all();
  }
  taker.wakeAtMs = 0;
  t.equal(calls, 3);
  t.equal(rig.slot(0).state[DriverField.droppedBytes], 20);
  t.equal(rig.slot(0).state[DriverField.droppedRecords], 10);
  t.equal(rig.taker(1).text, 'x\n'.repeat(10));
  t.equal(rig.feed.wakeAtMs(), NEVER, 'it is not waited for');
  t.equal(rig.feed.waitFd(rig.slot(0)), -1);
  t.equal(rig.cursor.backlogBytes, 0);
});

t.test('a driver that throws when it is closed does not keep the others from being closed', async (t) => {
  const rig = new Rig(t, 2);
  rig.taker(0).close = () => {
    throw new Error('a bug');
  };
  rig.feed.close(true);
  t.equal(rig.taker(1).closed, 1);
});

t.test('who takes over finds where each driver was', async (t) => {
  const rig = new Rig(t, 2);
  rig.taker(0).stalled = true;
  for (const text of ['one\n', 'two\n', 'three\n']) {
    rig.put(text);
    rig.feed.all();
  }
  const cursor = new RingConsumer(rig.memory, GEOMETRY.capacityBytes, LOG_CONSUMER, undefined);
  rig.taker(0).stalled = false;
  new Feed(rig.complaints.diag, rig.bytes, cursor, rig.slots).all();
  t.equal(rig.taker(0).held + rig.taker(0).text, 'one\ntwo\nthree\n');
  t.equal(rig.taker(1).text, 'one\ntwo\nthree\n', 'nothing twice');
});

t.test(`any stalls at any time: each driver has, or gave up, every line once, in order, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const rig = new Rig(t, 4);
  let sent = '';
  for (let i = 0; i < 5000; i++) {
    const text = `${i}${'.'.repeat(random.below(60))}\n`;
    rig.feed.limit(1500);
    if (!rig.put(text)) t.fail('the ring is full');
    sent += text;
    rig.feed.all();
    const taker = random.pick(rig.takers);
    if (random.below(10) === 0) taker.stalled = !taker.stalled;
    if (random.below(3) === 0) rig.feed.retry(rig.slot(rig.takers.indexOf(taker)));
  }
  for (const [index, taker] of rig.takers.entries()) {
    taker.stalled = false;
    rig.feed.retry(rig.slot(index));
    const lines = (text: string) => text.split('\n').slice(0, -1);
    const order = (list: readonly string[]) => list.map((text) => Number.parseInt(text, 10));
    for (const list of [taker.text, taker.shedText])
      t.same(
        order(lines(list)),
        order(lines(list)).toSorted((a, b) => a - b),
        'in order',
      );
    const all = [...lines(taker.text), ...lines(taker.shedText)];
    t.equal(all.toSorted().join(), lines(sent).toSorted().join(), `driver ${index}: each line once`);
  }
});
