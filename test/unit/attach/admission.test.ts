/** How attach clients get in: with the ring's leave, and never at the price of a busy loop. */
import t from 'tap';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { FakeClient, Rig } from './rig.ts';

const EMFILE = -24;

t.test('without clients the ring keeps nothing', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => {
      t.equal(rig.kept, true);
      client.hangUp();
    },
    () => {
      t.equal(client.closed, true);
      t.equal(rig.kept, false);
      for (let i = 0; i < 100; i++) rig.put('x'.repeat(1000));
    },
    () => rig.end(),
  );
  t.equal(rig.polls < 20, true, 'nobody is woken for what is not kept');
});

t.test('one client after the other is served, each from its knock on', async (t) => {
  const rig = new Rig();
  const texts: string[] = [];
  const visits = Array.from({ length: 50 }, (_, i) => {
    let client = rig.connect();
    if (i > 0) rig.backlog.pop();
    return [
      () => {
        if (i > 0) client = rig.connect();
      },
      () => rig.put(`visit ${i}`),
      () => {
        texts.push(client.text);
        client.hangUp();
      },
      () => rig.put('nobody sees this'),
    ];
  });
  rig.run(...visits.flat(), () => rig.end());
  t.same(
    texts,
    Array.from({ length: 50 }, (_, i) => `2:visit ${i}`),
  );
  t.equal(rig.counters.clients, 50);
});

t.test('a client waits in the backlog until the ring keeps records for it', async (t) => {
  const rig = new Rig({ slowAdmission: true });
  const client = rig.connect();
  rig.run(
    () => {
      t.equal(client.fd, -1);
      rig.admit();
    },
    () => {
      t.not(client.fd, -1);
      rig.put('after');
    },
    () => rig.end(),
  );
  t.equal(client.text, '2:after');
});

t.test('a client that has gone before it is accepted harms nobody', async (t) => {
  const rig = new Rig({ slowAdmission: true });
  const client = rig.connect();
  client.send('last words');
  client.hangUp();
  rig.openStdin();
  rig.run(
    () => rig.admit(),
    () => {
      t.equal(rig.stdinText, 'last words');
      t.equal(client.closed, true);
      t.equal(rig.kept, false);
      rig.end();
    },
  );
});

t.test('when there are no fds left clients wait, and so does the server', async (t) => {
  for (const others of [0, 1]) {
    const rig = new Rig();
    const first = others === 0 ? undefined : rig.connect();
    let waiting = first;
    rig.run(
      ...(others === 0 ? [] : [() => {}]),
      () => {
        rig.acceptError = EMFILE;
        waiting = rig.connect();
      },
      ...new Array<'time passes'>(20).fill('time passes'),
      () => {
        rig.acceptError = 0;
      },
      'time passes',
      () => rig.put('at last'),
      () => rig.end(),
    );
    t.equal(waiting?.text, '2:at last', `beside ${others} others`);
    const warnings = rig.complaints.lines.filter((line) => line.startsWith('[conmon:w]'));
    t.equal(warnings.length, 1, 'one warning, not one each time');
    t.match(warnings[0], /Failed to accept client connection on attach socket: Too many open files/);
  }
});

t.test('a server that starts just as the ring lets it in does not ask again and forget what has come', async (t) => {
  const rig = new Rig({ slowAdmission: true });
  const client = rig.connect();
  rig.source.request(); // by main
  let looked = false;
  const isActive = Object.getOwnPropertyDescriptor(RingConsumer.prototype, 'active')?.get;
  Object.defineProperty(rig.source, 'active', {
    get: () => {
      if (looked) return isActive?.call(rig.source);
      looked = true;
      rig.admit();
      rig.put('first words');
      return false;
    },
  });
  rig.run(() => rig.end());
  t.equal(client.text, '2:first words');
});

t.test('a server that nobody uses leaves after its time, and gives its place in the ring back', async (t) => {
  const rig = new Rig({ unusedMs: 5000 });
  const client = rig.connect();
  rig.openStdin();
  let leftMs = 0;
  const why = rig.run(
    () => rig.put('x'),
    () => {
      rig.nowMs += 60_000; // a client that is there counts, however quiet
      client.send('y');
    },
    () => {
      client.hangUp();
      leftMs = rig.nowMs;
    },
    'time passes',
  );
  t.equal(why, 'unused');
  t.equal(rig.nowMs - leftMs, 5000);
  t.equal(rig.kept, false);
  t.equal(rig.stdinClosed, false, 'stdin is kept for the next');
  t.equal(client.closed, true);
  t.ok([...rig.clientFds].every((fd) => fd === 0));
});

t.test('who comes within that time is served, and its time begins anew', async (t) => {
  const rig = new Rig({ unusedMs: 5000 });
  const [first, second] = [rig.connect(), new FakeClient()];
  const why = rig.run(
    () => first.hangUp(),
    () => {
      rig.nowMs += 4999;
      rig.connect(second);
    },
    () => rig.put('hello'),
    () => {
      t.equal(second.text, '2:hello');
      second.hangUp();
    },
    () => {
      rig.nowMs += 4999;
      rig.openStdin(); // anything that wakes it
    },
    'time passes',
  );
  t.equal(why, 'unused');
  t.equal(rig.timeouts.at(-1), 1);
});

t.test('a server that still has input for the container stays', async (t) => {
  const rig = new Rig({ unusedMs: 5000 });
  const client = rig.connect();
  rig.stdinRoom = 2;
  rig.openStdin();
  const why = rig.run(
    () => client.send('abcdef'),
    () => client.hangUp(),
    () => {
      rig.nowMs += 60_000;
      rig.stdinRoom = 2;
    },
    () => {
      rig.nowMs += 60_000;
      rig.stdinRoom = 2;
    },
    'time passes',
  );
  t.equal(why, 'unused');
  t.equal(rig.stdinText, 'abcdef');
});

t.test('a server that waits for the ring, or at the container’s end, does not leave as unused', async (t) => {
  const waiting = new Rig({ unusedMs: 5000, slowAdmission: true });
  const client = waiting.connect();
  const why = waiting.run(
    () => {
      waiting.nowMs += 60_000;
      waiting.tell({ kind: 'stdin', fd: -1 });
    },
    () => waiting.admit(),
    () => waiting.put('x'),
    () => waiting.end(),
  );
  t.equal(why, 'ended');
  t.equal(client.text, '2:x');
});

t.test('more clients than there is room for wait in the backlog', async (t) => {
  const rig = new Rig();
  const clients = Array.from({ length: 10 }, () => rig.connect());
  rig.run(
    () => {
      t.equal(rig.counters.clients, 8);
      clients[3]?.hangUp();
      clients[4]?.hangUp();
    },
    () => rig.put('x'),
    () => rig.end(),
  );
  t.equal(rig.counters.clients, 10);
  t.equal(clients[9]?.text, '2:x');
  t.ok(clients.every(({ closed }) => closed));
});
