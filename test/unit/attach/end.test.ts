/** The container's end: clients get the rest, none holds conmon up for long. */
import t from 'tap';
import { Rig } from './rig.ts';

t.test('at the end clients get what is left, then the socket is closed', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  client.room = 0;
  rig.run(
    () => {
      rig.put('first ');
      rig.tell({ kind: 'end' });
    },
    () => rig.put('drained'),
    () => rig.producer.end(),
    () => {
      t.equal(client.closed, false);
      client.room = 100;
    },
  );
  t.equal(client.text, '2:first drained');
  t.equal(client.closed, true);
  t.equal(rig.kept, false);
});

t.test('the end comes at once when nobody is there', async (t) => {
  const rig = new Rig();
  rig.run(() => rig.tell({ kind: 'end' }));
  t.equal(rig.kept, false);
});

t.test('a client that knocked before the end gets everything, also when the worker starts after it', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.source.request(); // main does, when the client knocks
  rig.admit();
  rig.put('short ');
  rig.put('life', 3);
  rig.end();
  rig.run();
  t.equal(client.text, '2:short  3:life');
  t.equal(client.closed, true);
});

t.test('a client that knocked gets what is drained after the end was told', async (t) => {
  const rig = new Rig({ slowAdmission: true });
  const client = rig.connect();
  rig.source.request();
  rig.tell({ kind: 'end' });
  rig.run(
    () => rig.admit(),
    () => rig.put('drained'),
    () => rig.producer.end(),
  );
  t.equal(client.text, '2:drained');
});

t.test('a ring that has ended without letting us in is not waited for', async (t) => {
  const rig = new Rig({ slowAdmission: true });
  const client = rig.connect();
  rig.run(() => rig.end());
  t.equal(client.text, '');
});

t.test('after the end a client that takes nothing is given up 10 s later', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  client.room = 0;
  let endedMs = 0;
  rig.run(
    () => rig.put('unread'),
    () => {
      rig.nowMs += 60_000; // it has taken nothing for long before
      endedMs = rig.nowMs;
      rig.end();
    },
    'time passes',
  );
  t.equal(rig.nowMs - endedMs, 10_000);
  t.equal(rig.counters.stalledClients, 1);
  t.equal(client.closed, true);
});

t.test('after the end a client that takes something now and then gets everything', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  client.room = 0;
  const takesOne = () => {
    rig.nowMs += 9000;
    client.room = 1;
  };
  rig.run(
    () => ['a', 'b', 'c', 'd'].map((text) => rig.put(text)),
    () => rig.end(),
    takesOne,
    takesOne,
    takesOne,
    takesOne,
  );
  t.equal(client.text, '2:abcd');
  t.equal(rig.counters.stalledClients, 0);
});

t.test('an output worker that was lost and never ends the ring does not keep the clients for ever', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => rig.put('all there is'),
    () => rig.tell({ kind: 'end' }),
    'time passes',
  );
  t.equal(client.text, '2:all there is');
  t.equal(rig.nowMs, 11_000);
});

t.test('with a stall timeout a client that takes nothing for so long is disconnected, the others stay', async (t) => {
  const rig = new Rig({ stallTimeoutMs: 3000 });
  const [slow, fast] = [rig.connect(), rig.connect()];
  slow.room = 1;
  rig.run(
    () => {
      rig.put('one ');
      rig.put('two ');
    },
    'time passes',
    () => {
      t.equal(rig.nowMs, 4000);
      t.equal(slow.closed, true);
      t.equal(fast.closed, false);
      rig.put('three');
    },
    () => rig.end(),
  );
  t.equal(fast.text, '2:one two three');
  t.equal(rig.counters.stalledClients, 1);
  const warnings = rig.complaints.lines.filter((line) => line.startsWith('[conmon:w]'));
  t.same(warnings, ['[conmon:w]: attach client took nothing for 3000 ms: disconnected']);
});

t.test('a client that is slow but takes something, or has nothing to take, is not disconnected', async (t) => {
  const rig = new Rig({ stallTimeoutMs: 3000 });
  const [slow, idle] = [rig.connect(), rig.connect()];
  slow.room = 0;
  idle.refuseOutput();
  const takesOne = () => {
    rig.nowMs += 2500;
    slow.room = 1;
  };
  rig.run(
    () => 'abcdef'.split('').map((text) => rig.put(text)),
    ...new Array<() => void>(6).fill(takesOne),
    () => {
      rig.nowMs += 60_000;
      rig.end();
    },
  );
  t.equal(slow.text, '2:abcdef');
  t.equal(rig.counters.stalledClients, 0);
});

t.test(
  'without a stall timeout nobody is disconnected, however long it takes, and nobody wakes up for it',
  async (t) => {
    const rig = new Rig();
    const client = rig.connect();
    client.room = 0;
    rig.run(
      () => rig.put('x'),
      () => {
        rig.nowMs += 1e9;
        client.room = 1;
      },
      () => rig.end(),
    );
    t.equal(client.text, '2:x');
    t.same(new Set(rig.timeouts), new Set([-1]));
  },
);

t.test('a bug that ends the server leaves its clients’ sockets noted, for main to close', async (t) => {
  const rig = new Rig();
  const clients = [rig.connect(), rig.connect()];
  t.throws(
    () =>
      rig.run(() => {
        rig.sys.recvmsg = () => {
          throw new Error('a bug');
        };
        clients[0]?.send('x');
      }),
    { message: 'a bug' },
  );
  t.same(
    [...rig.clientFds].filter((fd) => fd !== 0),
    clients.map(({ fd }) => fd),
  );
});
