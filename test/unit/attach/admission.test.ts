/** How attach clients get in: with the ring's leave, and never at the price of a busy loop. */
import t from 'tap';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { Rig } from './rig.ts';

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
