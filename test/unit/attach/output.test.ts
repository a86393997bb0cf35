/** What attach clients get of the container's output: all of it, in order, in packets they can take. */
import t from 'tap';
import type { RecordSource } from '../../../src/attach/server.ts';
import { Rig } from './rig.ts';

t.test('each client gets every record in order, stdout as type 2 and stderr as type 3', async (t) => {
  const rig = new Rig();
  const [one, two] = [rig.connect(), rig.connect()];
  rig.run(
    () => rig.put('out', 2),
    () => {
      rig.put('err', 3);
      rig.put('put', 2);
    },
    () => rig.end(),
  );
  for (const client of [one, two]) {
    t.equal(client.text, '2:out 3:err 2:put');
    t.equal(client.closed, true);
  }
  t.equal(rig.counters.clients, 2);
  t.equal(rig.counters.sentBytes, 18);
});

t.test('a packet holds a type byte and at most 7712 bytes', async (t) => {
  for (const [length, packets] of [
    [7712, [7713]],
    [7713, [7713, 2]],
    [30_000, [7713, 7713, 7713, 6865]],
    [300_000, [...Array<number>(38).fill(7713), 6945]],
  ] as const) {
    const rig = new Rig({ capacityBytes: 1 << 19 });
    const client = rig.connect();
    const payload = Buffer.alloc(length, 'abcdefg');
    rig.run(
      () => rig.put(payload),
      () => rig.end(),
    );
    t.same(
      client.packets.map((packet) => packet.length),
      packets,
    );
    t.equal(Buffer.concat(client.packets.map((packet) => packet.subarray(1))).equals(payload), true);
  }
});

t.test('those who come first get what has come since, a later one what comes from its accept on', async (t) => {
  const rig = new Rig();
  const [first, alike] = [rig.connect(), rig.connect()];
  let second = first;
  rig.source.request();
  rig.admit();
  rig.put('early ');
  rig.run(
    () => rig.put('one '),
    () => {
      second = rig.connect();
    },
    () => rig.put('two'),
    () => rig.end(),
  );
  t.equal(first.text, '2:early one two');
  t.equal(alike.text, '2:early one two');
  t.equal(second.text, '2:two');
});

t.test('a client that takes no more goes on where it stopped, within a record too', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  const payload = Buffer.alloc(20_000, 'abcdefghijk');
  client.room = 1;
  rig.run(
    () => rig.put(payload),
    () => {
      t.equal(client.packets.length, 1);
      rig.put('after', 3);
    },
    () => {
      t.equal(client.packets.length, 1, 'a record that comes meanwhile changes nothing');
      client.room = 1;
    },
    () => {
      t.equal(client.packets.length, 2);
      client.room = Number.POSITIVE_INFINITY;
    },
    () => rig.end(),
  );
  t.equal(client.text, `2:${payload.toString('latin1')} 3:after`);
});

t.test('a client that takes nothing holds the ring, and no other client', async (t) => {
  const rig = new Rig({ capacityBytes: 1024 });
  const [slow, fast] = [rig.connect(), rig.connect()];
  let text = '';
  slow.room = 0;
  rig.run(
    () => {
      for (let i = 0; rig.tryPut(String(i % 10).repeat(56)); i++) text += String(i % 10).repeat(56);
      t.equal(text.length, 16 * 56, 'the whole ring');
    },
    () => {
      t.equal(fast.text, `2:${text}`);
      t.equal(rig.tryPut('x'), false);
      slow.room = 1;
    },
    () => {
      t.equal(rig.tryPut('y'.repeat(56)), true, 'as much room as it took');
      t.equal(rig.tryPut('x'), false);
      slow.room = 100;
    },
    () => rig.end(),
  );
  t.equal(slow.text, `2:${text}${'y'.repeat(56)}`);
  t.equal(fast.text, slow.text);
});

t.test('a client that leaves gives back what was kept for it', async (t) => {
  const rig = new Rig({ capacityBytes: 1024 });
  const [slow, fast] = [rig.connect(), rig.connect()];
  slow.room = 0;
  rig.run(
    () => {
      while (rig.tryPut('x'.repeat(56)));
    },
    () => slow.hangUp(),
    () => {
      t.equal(slow.closed, true);
      t.equal(rig.tryPut('y'), true);
    },
    () => rig.end(),
  );
  t.equal(fast.packets.length, 17);
});

t.test('a client that has shut down its output side gets the rest of the output', async (t) => {
  const rig = new Rig();
  const client = rig.connect();
  rig.run(
    () => {
      client.send('input');
      client.endInput();
    },
    () => rig.put('one'),
    () => rig.put('two'),
    () => rig.end(),
  );
  t.equal(client.text, '2:onetwo');
});

t.test('a client that refuses output is sent none, holds nothing, and its input is taken', async (t) => {
  const rig = new Rig({ capacityBytes: 1024 });
  const client = rig.connect();
  client.refuseOutput();
  rig.openStdin();
  rig.run(
    () => rig.put('one'),
    () => {
      for (let i = 0; i < 16; i++) rig.tryPut('x'.repeat(56));
    },
    () => {
      t.equal(rig.tryPut('x'), true);
      client.send('still here');
    },
    () => t.equal(rig.stdinText, 'still here'),
    () => rig.end(),
  );
  t.equal(client.packets.length, 0);
});

t.test('clients in a flood do not keep stdin, other clients and messages waiting', async (t) => {
  const rig = new Rig({ capacityBytes: 1024, direct: false });
  const client = rig.connect();
  let later = client;
  let rounds = 0;
  // Whenever something was given back there is more: as a container that never pauses.
  const release = rig.source.releaseTo.bind(rig.source);
  rig.source.releaseTo = (position) => {
    release(position);
    const heard = rig.stdinText !== '' && later !== client && later.packets.length > 0;
    if (rounds === 0 || heard || rounds++ > 1000) return;
    rig.put('more');
    if (rounds !== 100) return;
    client.send('stop it');
    rig.openStdin();
    later = rig.connect();
  };
  rig.run(
    () => {
      rounds = 1;
      rig.put('first');
    },
    () => rig.end(),
  );
  t.equal(rig.stdinText, 'stop it');
  t.ok(rounds < 200, `heard in round ${rounds}`);
});

t.test('what a client has not got is not given back, however fast the producer is', async (t) => {
  // A ring that has grown by one record each time somebody looks how far it is.
  let [tail, released, tooFar] = [0, 0, 0];
  const source = {
    offset: 0,
    length: 8,
    after: 0,
    active: true,
    head: 0,
    ended: false as boolean,
    request: () => {},
    leave: () => {},
    find(position: number) {
      source.after = position < tail ? position + 16 : position;
      return position < tail;
    },
    releaseTo(position: number) {
      released = position;
      if (position > 16 * client.packets.length) tooFar++;
    },
    get tail() {
      if (tail < 16_000) tail += 16;
      return tail;
    },
  } satisfies RecordSource;
  const rig = new Rig({ source });
  const client = rig.connect();
  rig.run(() => {
    client.hangUp();
    rig.end();
    source.ended = true;
  });
  t.equal(client.packets.length, 1000);
  t.equal(released, 16_000);
  t.equal(tooFar, 0);
});

t.test(
  'each client’s socket is asked to take a whole read, and one that does not is served all the same',
  async (t) => {
    const rig = new Rig();
    const clients = [rig.connect(), rig.connect()];
    const { setSendBuffer } = rig.sys;
    rig.sys.setSendBuffer = (fd, bytes) => {
      setSendBuffer(fd, bytes);
      return fd === clients[1]?.fd ? -1 : 0;
    };
    rig.run(
      () => rig.put('one'),
      () => rig.end(),
    );
    for (const client of clients) {
      t.ok(2 * client.sendBuffer >= 34 * 8192, `${client.sendBuffer} bytes`);
      t.equal(client.text, '2:one');
    }
  },
);
