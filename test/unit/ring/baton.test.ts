/** Who may send to the attach clients: never two threads, and whoever comes next knows how far the other has got. */
import t from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { Baton } from '../../../src/ring/baton.ts';
import {
  ATTACH_CONSUMER,
  BATON_CLIENTS_MAX,
  ConsumerWord,
  consumerBase,
  memoryBytes,
  POSITION_MASK,
} from '../../../src/ring/layout.ts';

/** The same baton in the hands of three threads. */
function batons(position = 0) {
  const memory = createMemory(memoryBytes({ capacityBytes: 1024, softBytes: 1024, outputBytes: 64, outputCount: 1 }));
  const words = new Int32Array(memory.buffer);
  words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.head] = position;
  return { attach: new Baton(memory), log: new Baton(memory), main: new Baton(memory), words };
}

t.test('nobody takes what was not offered, or was taken back', async (t) => {
  const { attach, log } = batons();
  t.equal(log.offered, false);
  t.equal(log.tryTake(), false);
  attach.offer([7]);
  t.equal(log.offered, true);
  attach.takeBack();
  t.equal(log.offered, false);
  t.equal(log.tryTake(), false);
});

t.test(
  'the log thread gets the sockets in the order of the offer, and lays the baton down for the next record',
  async (t) => {
    const { attach, log } = batons();
    attach.offer([7, 9, 8]);
    for (let round = 0; round < 2; round++) {
      t.equal(log.tryTake(), true);
      t.equal(log.tryTake(), false, 'one at a time');
      t.same([log.count, log.fd(0), log.fd(1), log.fd(2)], [3, 7, 9, 8]);
      log.layDown();
    }
    attach.takeBack();
    attach.offer([5]);
    t.equal(log.tryTake(), true);
    t.same([log.count, log.fd(0)], [1, 5], 'none of an earlier offer');
  },
);

t.test(
  'while the log thread sends nobody else gets the sockets: the attach thread waits, main comes again',
  async (t) => {
    const { attach, log, main } = batons();
    attach.offer([7]);
    log.tryTake();
    t.equal(main.tryWithdraw(), false);
    t.equal(main.tryWithdraw(), false);
    log.layDown();
    t.equal(main.tryWithdraw(), true);
    t.equal(log.tryTake(), false);
    t.equal(main.tryWithdraw(), true, 'it is nobody’s to wait for');
  },
);

t.test('who takes it back knows who has the record that was under way', async (t) => {
  for (const position of [0, 4096, 2 ** 29 - 8, 2 ** 30 - 8]) {
    const { attach, log } = batons(position);
    attach.offer([7, 8, 9]);
    log.tryTake();
    const seen = () => [log.position, log.sent, log.underWay, log.sentBytes];
    t.same(seen(), [position, 0, false, 0]);
    log.begin(log.position, log.sent);
    t.same(seen(), [position, 0, true, 0]);
    log.settle(log.position, log.sent + 1, 100);
    t.same(seen(), [position, 1, false, 100]);
    log.begin(log.position, log.sent);
    log.settle(log.position, log.sent + 1, 100);
    log.begin(log.position, log.sent);
    log.settle(log.position, log.sent, 0);
    t.same(seen(), [position, 2, false, 200], 'the third took nothing');
    log.layDown();
    attach.takeBack();
    t.same([attach.position, attach.sent, attach.underWay, attach.sentBytes], [position, 2, false, 200]);
  }
});

t.test('with a position further on the progress of before is void, in one store', async (t) => {
  for (const position of [0, 2 ** 29 - 16, 2 ** 30 - 16]) {
    const { attach, log } = batons(position);
    attach.offer([7]);
    log.tryTake();
    log.begin(log.position, log.sent);
    log.settle(log.position, log.sent + 1, 8);
    t.equal(log.sent, 1);
    log.advance((position + 16) & POSITION_MASK);
    t.same([log.position, log.sent, log.underWay], [(position + 16) & POSITION_MASK, 0, false]);
    log.begin(log.position, log.sent);
    t.same([log.sent, log.underWay], [0, true]);
  }
});

t.test('a log thread that dies amid a send: the baton comes back, with whom it was sending to', async (t) => {
  const { attach, log, main } = batons(64);
  attach.offer([7, 8]);
  log.tryTake();
  log.begin(log.position, log.sent);
  log.settle(log.position, log.sent + 1, 5);
  log.begin(log.position, log.sent);
  main.logThreadDied();
  attach.takeBack(); // does not wait
  t.same([attach.position, attach.sent, attach.underWay, attach.sentBytes], [64, 1, true, 5]);
  t.equal(log.tryTake(), false, 'the next log thread waits for an offer');
  attach.offer([7]);
  t.same([attach.sent, attach.underWay, attach.sentBytes], [0, false, 0]);
});

t.test('a log thread that dies while it holds nothing changes nothing', async (t) => {
  const { attach, log, main } = batons();
  main.logThreadDied();
  t.equal(log.offered, false);
  attach.offer([7]);
  main.logThreadDied();
  t.equal(log.offered, true);
});

t.test('as many clients as there is room for, and no more', async (t) => {
  const { attach, log } = batons();
  const fds = Array.from({ length: BATON_CLIENTS_MAX }, (_, i) => 100 + i);
  attach.offer(fds);
  log.tryTake();
  for (let i = 0; i < BATON_CLIENTS_MAX; i++) {
    t.equal(log.fd(i), 100 + i);
    log.begin(log.position, log.sent);
    log.settle(log.position, log.sent + 1, 1);
    t.equal(log.sent, i + 1);
  }
  log.layDown();
  attach.takeBack();
  t.throws(() => attach.offer([...fds, 1]), RangeError);
});
