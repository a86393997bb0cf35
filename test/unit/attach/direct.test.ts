/** Short records that the log thread sends by itself while the attach thread sleeps: same bytes, same order, same rules. */
import t from 'tap';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { BATON_BYTES_MAX, BATON_CLIENTS_MAX } from '../../../src/ring/layout.ts';
import { type FakeClient, Rig } from './rig.ts';

/** Main, when the log thread has died. */
function logThreadDies(rig: Rig): void {
  rig.sendDue = false;
  rig.baton.logThreadDied();
  rig.wake();
}

t.test('a line reaches every client while the attach thread sleeps on', async (t) => {
  const rig = new Rig();
  const clients = [rig.connect(), rig.connect(), rig.connect()];
  let polls = 0;
  rig.run(
    () => rig.put('before\n'),
    () => {
      polls = rig.polls;
      for (let i = 0; i < 100; i++) {
        rig.put(`out ${i}\n`);
        rig.put(`err ${i}\n`, 3);
        for (const client of clients) t.equal(client.packets.at(-1)?.toString(), `\x03err ${i}\n`, 'at once');
      }
      t.equal(rig.polls, polls);
      rig.end();
    },
  );
  const lines = Array.from({ length: 100 }, (_, i) => `2:out ${i}\n 3:err ${i}\n`).join(' ');
  for (const client of clients) t.equal(client.text, `2:before\n ${lines}`.replace('before\n 2:', 'before\n'));
  t.equal(rig.counters.sentBytes, 3 * ('before\n'.length + 200 * 'out 1\n'.length + 180), 'counted');
});

t.test('what is longer than a packet is the attach thread’s, and what follows comes after it', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  const long = 'x'.repeat(PACKET_PAYLOAD_MAX + 1);
  rig.run(
    () => rig.put('first'),
    () => {
      rig.put('x'.repeat(PACKET_PAYLOAD_MAX));
      t.equal(client.packets.length, 2, 'a whole packet');
      rig.put(long);
      t.equal(client.packets.length, 2);
      rig.put('last');
      t.equal(client.packets.length, 2);
    },
    () => rig.end(),
  );
  t.equal(client.text, `2:first${'x'.repeat(PACKET_PAYLOAD_MAX)}${long}last`);
});

t.test('a full client gets the rest from the attach thread, the others nothing twice', async (t) => {
  for (const full of [0, 1, 2]) {
    const rig = new Rig();
    const clients = [rig.connect(), rig.connect(), rig.connect()];
    rig.run(
      () => rig.put('one '),
      () => {
        if (clients[full]) clients[full].room = 0;
        rig.put('two ');
        rig.put('three ');
      },
      () => {
        for (const client of clients) t.equal(client.text, client === clients[full] ? '2:one ' : '2:one two three ');
        rig.put('four ');
        if (clients[full]) clients[full].room = 1;
      },
      () => {
        if (clients[full]) clients[full].room = Number.POSITIVE_INFINITY;
      },
      () => rig.put('five'),
      () => rig.end(),
    );
    for (const client of clients) t.equal(client.text, '2:one two three four five');
  }
});

t.test('a client that stalls is disconnected after its time, whoever sent to it', async (t) => {
  const rig = new Rig({ stallTimeoutMs: 500 });
  const [stalled, other] = [rig.connect(), rig.connect()];
  rig.run(
    () => rig.put('one '),
    () => {
      stalled.room = 0;
      rig.put('two ');
    },
    'time passes',
    () => {
      t.equal(stalled.closed, true);
      rig.put('three');
      rig.end();
    },
  );
  t.equal(rig.counters.stalledClients, 1);
  t.equal(stalled.text, '2:one ');
  t.equal(other.text, '2:one two three');
});

t.test(
  'a client that is gone is found by the log thread, closed by the other, and its number is free again',
  async (t) => {
    const rig = new Rig();
    const [gone, stays] = [rig.connect(), rig.connect()];
    let next: FakeClient | undefined;
    rig.run(
      () => rig.put('one '),
      () => {
        gone.hangUp();
        rig.put('two ');
        t.equal(gone.closed, false);
      },
      () => {
        t.equal(gone.closed, true);
        next = rig.connect();
      },
      () => {
        t.equal(next?.fd, gone.fd);
        rig.put('three');
      },
      () => rig.end(),
    );
    t.equal(gone.text, '2:one ');
    t.equal(stays.text, '2:one two three');
    t.equal(next?.text, '2:three', 'nothing of before it came');
  },
);

t.test('who shuts down its reading, or hung up with input left, keeps the log thread away', async (t) => {
  const rig = new Rig();
  const [deaf, hears] = [rig.connect(), rig.connect()];
  rig.run(
    () => {
      deaf.refuseOutput();
      rig.put('one '); // finds out
    },
    () => {
      t.equal(rig.baton.offered, false);
      rig.put('two');
    },
    () => rig.end(),
  );
  t.equal(hears.text, '2:one two');
});

t.test(
  'more clients than fit are served by their own thread, and by the log thread again when one has left',
  async (t) => {
    const rig = new Rig({ clientsMax: BATON_CLIENTS_MAX + 1 });
    const clients = Array.from({ length: BATON_CLIENTS_MAX + 1 }, () => rig.connect());
    rig.run(
      () => {
        t.equal(rig.baton.offered, false);
        rig.put('one ');
      },
      () => clients[3]?.hangUp(),
      () => {
        t.equal(rig.baton.offered, true);
        rig.put('two');
      },
      () => rig.end(),
    );
    for (const client of clients) t.equal(client.text, client === clients[3] ? '2:one ' : '2:one two');
  },
);

t.test('a baton that is taken back between commit and send costs nothing', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.openStdin();
  rig.run(
    () => {
      rig.commit('one ');
      t.equal(rig.sendDue, true);
      client.send('typed');
      rig.onCall = () => {
        rig.onCall = () => {};
        rig.sendDirect(); // the attach thread is at work
      };
    },
    () => {
      t.equal(rig.sendDue, false);
      rig.put('two');
    },
    () => rig.end(),
  );
  t.equal(client.text, '2:one two');
  t.equal(rig.stdinText, 'typed');
});

t.test('records of before the offer was seen are sent too, in their order', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => {
      rig.producer.tryClaim(4, 4);
      rig.bytes.set(Buffer.from('one '), rig.producer.tryClaim(4, 4));
      rig.producer.commit(4, 2); // as when the offer came a moment later: the attach thread is woken
      rig.put('two ');
      t.equal(client.text, '2:one two ');
    },
    () => rig.put('three'),
    () => rig.end(),
  );
  t.equal(client.text, '2:one two three');
});

t.test('a gigabyte sent by the log thread is counted before the count is full', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => {
      t.equal(rig.baton.tryTake(), true);
      rig.baton.settle(rig.baton.position, 0, BATON_BYTES_MAX);
      rig.baton.layDown();
      rig.put('one ');
      t.equal(client.text, '', 'the attach thread has its turn');
    },
    () => {
      t.equal(rig.counters.sentBytes, BATON_BYTES_MAX + 'one '.length);
      rig.put('two');
      t.equal(client.text, '2:one two');
    },
    () => rig.end(),
  );
  t.equal(rig.counters.sentBytes, BATON_BYTES_MAX + 'one two'.length);
});

t.test('what the log thread has sent is the producer’s again', async (t) => {
  const rig = new Rig({ capacityBytes: 1024 });
  const client = rig.connect();
  let polls = 0;
  rig.run(
    () => {
      polls = rig.polls;
      for (let i = 0; i < 200; i++) rig.put(`${i % 10}`.repeat(100)); // 20 times round
      t.equal(rig.polls, polls);
    },
    () => rig.end(),
  );
  t.equal(client.text, `2:${Array.from({ length: 200 }, (_, i) => `${i % 10}`.repeat(100)).join('')}`);
});

for (const delivered of [false, true]) {
  t.test(
    `a log thread that dies in a send, ${delivered ? 'after' : 'before'} the packet went: that client alone is disconnected`,
    async (t) => {
      const rig = new Rig();
      const clients = [rig.connect(), rig.connect(), rig.connect()];
      rig.run(
        () => rig.put('one '),
        () => {
          const { write } = rig.sys;
          rig.sys.write = (fd, ...rest) => {
            if (fd !== clients[1]?.fd) return write(fd, ...rest);
            rig.sys.write = write;
            if (delivered) write(fd, ...rest);
            throw new Error('a bug');
          };
          t.throws(() => rig.put('two '), { message: 'a bug' });
          t.equal(rig.baton.tryWithdraw(), false, 'main would not close their sockets now');
          logThreadDies(rig);
        },
        () => {
          t.same(
            clients.map(({ closed }) => closed),
            [false, true, false],
          );
          rig.put('three');
        },
        () => rig.end(),
      );
      t.same(
        clients.map(({ text }) => text),
        ['2:one two three', delivered ? '2:one two ' : '2:one ', '2:one two three'],
      );
      t.match(rig.complaints.lines.join('\n'), /attach client disconnected: the log worker died/);
    },
  );
}

t.test('a log thread that dies before it has sent what it committed: the attach thread sends it', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => {
      rig.commit('one ');
      logThreadDies(rig);
    },
    () => rig.put('two'),
    () => rig.end(),
  );
  t.equal(client.text, '2:one two');
});

t.test('once the container has ended the attach thread sends, which knows for how long', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => rig.tell({ kind: 'end' }),
    () => {
      t.equal(rig.baton.offered, false);
      rig.put('last words');
    },
    () => rig.producer.end(),
  );
  t.equal(client.text, '2:last words');
});

t.test('who comes with the end, when the last of the others leaves, gets nothing of before', async (t) => {
  // The ring's laps: what was there first is overwritten in the later ones.
  for (const records of [3, 40, 57, 200]) {
    const rig = new Rig({ capacityBytes: 1024 });
    const first = rig.connect();
    let last: FakeClient | undefined;
    rig.run(
      () => rig.put('one '),
      () => {
        for (let i = 0; i < records; i++) rig.put(`<${i} ${'y'.repeat(90 + (i % 7))}>`);
        t.ok(rig.baton.offered);
        first.hangUp();
        last = rig.connect();
        rig.end();
      },
    );
    t.equal(last?.text, '', `${records} records`);
    t.ok(last?.closed);
  }
});

t.test('what a client has said before it is disconnected for a log thread’s death is passed on', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const client = rig.connect();
  rig.openStdin();
  rig.run(
    () => rig.put('one '),
    () => {
      const { write } = rig.sys;
      rig.sys.write = () => {
        rig.sys.write = write;
        throw new Error('a bug');
      };
      client.send('a', 'b', 'c');
      t.throws(() => rig.put('two '));
      logThreadDies(rig);
    },
    () => {
      t.equal(rig.stdinText, 'abc');
      t.equal(rig.counters.droppedStdinBytes, 0);
      rig.end();
    },
  );
});
