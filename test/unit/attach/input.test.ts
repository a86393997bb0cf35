/** What becomes of attach clients' input: all of it reaches the container's stdin, whatever else a client does. */
import t from 'tap';
import { type FakeClient, Rig } from './rig.ts';

t.test('what a client sends reaches stdin, packet by packet, in order', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.openStdin();
  rig.run(
    () => client.send('one ', 'two ', 'three'),
    () => t.equal(rig.stdinText, 'one two three'),
    () => rig.end(),
  );
  t.equal(rig.counters.stdinBytes, 13);
  t.equal(rig.counters.droppedStdinBytes, 0);
  t.equal(rig.stdinClosed, true, 'closed with the container');
});

t.test('input of several clients is passed on, packets whole', async (t) => {
  const rig = new Rig();
  const clients = [rig.connect(), rig.connect(), rig.connect()];
  rig.openStdin();
  rig.stdinRoom = 5;
  rig.run(
    () => clients.map((client, i) => client.send(`(${i}first)`, `(${i}second)`)),
    () => {
      rig.stdinRoom = 1;
    },
    () => {
      rig.stdinRoom = 1000;
    },
    () => rig.end(),
  );
  const packets = rig.stdinText.match(/\([^()]*\)/g) ?? [];
  t.equal(packets.join(''), rig.stdinText, 'nothing between the packets');
  t.same(packets.toSorted(), ['(0first)', '(0second)', '(1first)', '(1second)', '(2first)', '(2second)']);
});

t.test('a packet of 32768 bytes is taken whole', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.openStdin();
  const text = 'abcdefghijk'.repeat(4000).slice(0, 32_768);
  rig.run(
    () => client.send(text, text),
    () => t.equal(rig.stdinText, text + text),
    () => rig.end(),
  );
});

t.test('input that comes before stdin is known waits for it', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const client = rig.connect();
  rig.run(
    () => {
      client.send('one ', 'two');
      client.endInput();
    },
    () => {
      t.equal(client.input.length, 1, 'one packet is held, the rest is left with the client');
      rig.openStdin();
    },
    () => {
      t.equal(rig.stdinText, 'one two');
      t.equal(rig.stdinClosed, true);
      rig.end();
    },
  );
});

t.test('a client that ends its input before stdin is known ends stdin all the same', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const client = rig.connect();
  rig.run(
    () => client.endInput(),
    () => rig.openStdin(),
    () => {
      t.equal(rig.stdinClosed, true);
      rig.end();
    },
  );
});

t.test('a container without stdin drops the input and counts it', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.tell({ kind: 'stdin', fd: -1 });
  rig.run(
    () => client.send('one', 'two'),
    () => t.equal(client.input.length, 0),
    () => rig.end(),
  );
  t.equal(rig.counters.droppedStdinBytes, 6);
});

t.test('stdin is closed when a client ends its input, if so asked; else it is kept', async (t) => {
  for (const closeStdin of [true, false]) {
    for (const leave of [(client: FakeClient) => client.endInput(), (client: FakeClient) => client.hangUp()]) {
      const rig = new Rig({ closeStdin });
      const [client, other] = [rig.connect(), rig.connect()];
      rig.openStdin();
      rig.run(
        () => {
          client.send('last words');
          leave(client);
        },
        () => {
          t.equal(rig.stdinText, 'last words');
          t.equal(rig.stdinClosed, closeStdin);
          other.send(' and more');
        },
        () => {
          t.equal(rig.stdinText, closeStdin ? 'last words' : 'last words and more');
          rig.end();
        },
      );
    }
  }
});

t.test('a slow container gets everything of a client that sends and leaves', async (t) => {
  for (const unread of [false, true]) {
    const rig = new Rig({ closeStdin: true });
    const client = rig.connect();
    rig.openStdin();
    rig.stdinRoom = 3;
    const trickle = () => {
      t.equal(rig.stdinClosed, false);
      rig.stdinRoom = 4;
    };
    rig.run(
      () => {
        if (unread) rig.put('it takes none of this');
        client.send('one ', 'two ', 'three');
        client.hangUp(unread);
      },
      trickle,
      trickle,
      trickle,
      () => {
        t.equal(rig.stdinText, 'one two three', unread ? 'that had not read' : 'that had read');
        t.equal(rig.stdinClosed, true);
        t.equal(client.closed, true);
        rig.end();
      },
    );
  }
});

t.test('a client whose output fails loses none of its input', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.openStdin();
  // It sends and leaves while the container writes: the write fails before the input is read.
  rig.run(
    () => {
      client.send('one ', 'two ', 'three');
      client.hangUp();
      rig.put('output');
    },
    () => {
      t.equal(rig.stdinText, 'one two three');
      t.equal(client.closed, true);
      rig.end();
    },
  );
});

t.test('one client’s end does not cut off what another has sent', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const [sender, leaver] = [rig.connect(), rig.connect()];
  rig.openStdin();
  rig.stdinRoom = 2;
  rig.run(
    () => sender.send('pending'),
    () => {
      t.equal(rig.stdinText, 'pe');
      leaver.hangUp(true);
      rig.put('x'); // to a client that is gone
    },
    () => {
      rig.stdinRoom = 100;
    },
    () => {
      t.equal(rig.stdinText, 'pending');
      t.equal(rig.stdinClosed, true, 'but then it is closed');
      rig.end();
    },
  );
});

t.test('while input waits for the container a client that hangs up wakes nobody', async (t) => {
  const rig = new Rig();
  const [one, two] = [rig.connect(), rig.connect()];
  rig.openStdin();
  rig.stdinRoom = 0;
  rig.run(
    () => one.send('pending ', 'more'),
    () => {
      one.hangUp(true);
      two.hangUp();
    },
    () => rig.put('output'),
    () => {
      rig.stdinRoom = 1000;
    },
    () => {
      t.equal(rig.stdinText, 'pending more');
      t.equal(one.closed && two.closed, true);
      rig.end();
    },
  );
});

t.test('a container that has closed its stdin harms nobody: input is dropped and counted', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.openStdin();
  rig.run(
    () => {
      rig.stdinRoom = 1;
      client.send('one', 'two');
    },
    () => {
      rig.stdinReaderGone = true;
    },
    () => {
      client.send('three');
      rig.put('output');
    },
    () => {
      t.equal(client.input.length, 0);
      t.equal(client.text, '2:output');
      rig.end();
    },
  );
  t.equal(rig.counters.stdinBytes, 1);
  t.equal(rig.counters.droppedStdinBytes, 10);
});

t.test('input that waits does not hold up the end', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const client = rig.connect();
  rig.openStdin();
  rig.stdinRoom = 0;
  rig.run(
    () => {
      client.send('pending', 'more');
      client.endInput();
    },
    () => rig.put('bye'),
    () => rig.end(),
  );
  t.equal(client.text, '2:bye');
  t.equal(client.closed, true);
  t.equal(client.input.length, 0, 'nothing unread: a close would then reset what the client has not read yet');
});

t.test('an empty packet counts as the end of the input and does not spin', async (t) => {
  const rig = new Rig({ closeStdin: true });
  const client = rig.connect();
  rig.openStdin();
  rig.run(
    () => client.send(''),
    () => {
      t.equal(rig.stdinClosed, true);
      rig.put('output goes on');
    },
    () => rig.end(),
  );
  t.equal(client.text, '2:output goes on');
});

t.test('a client that sends without end does not keep another’s input waiting', async (t) => {
  const rig = new Rig();
  const [flood, other] = [rig.connect(), rig.connect()];
  let polls = 0;
  rig.openStdin();
  rig.onPoll = () => {
    if (polls++ === 100) other.send('(me too)');
    if (polls >= 200) return;
    rig.stdinRoom = 10;
    while (flood.input.length < 10) flood.send('x'.repeat(20));
  };
  rig.run(() => rig.end());
  t.match(rig.stdinText, /me too/);
});
