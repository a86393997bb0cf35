/** For test/unit/log/pump.test.ts. */
import { constants } from 'node:os';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { STDOUT } from '../../../src/proto/stream.ts';
import { PumpRig } from './pump-rig.ts';

const { EIO } = constants.errno;

t.test('a prompt on a terminal that everybody has closed is written, and the pump does not spin', async (t) => {
  let given = false;
  const rig: PumpRig = new PumpRig(t, {
    terminal: true,
    calls: {
      read: (fd, bytes, offset, length) => {
        if (fd !== rig.out.readFd) return sys.read(fd, bytes, offset, length);
        if (given) return -EIO;
        given = true;
        return sys.read(fd, bytes, offset, length);
      },
    },
  });
  rig.begin();
  rig.steps.push(() => {
    rig.print('prompt$ ');
    sys.close(rig.out.writeFd); // the pipe stands for the master: hung up from now on
  });
  let ended = false;
  const started = performance.now();
  rig.afterPolls = () => {
    if (!ended && performance.now() - started > 350) {
      ended = true;
      rig.end(true);
    }
  };
  rig.run();
  t.same(rig.journal.entries, ['out:prompt$ ', 'out:settle']);
  t.ok(rig.polls < 30, `${rig.polls} polls`);
});

t.test('a read that finds nothing settles the part that is held: poll(2) is not asked for the same', async (t) => {
  let filled = false;
  let pollsBefore = 0;
  const rig: PumpRig = new PumpRig(t, {
    calls: {
      // All that was asked for, so that it is read again at once.
      read: (fd, bytes, offset, length) => {
        const result = sys.read(fd, bytes, offset, length);
        if (filled || fd !== rig.out.readFd) return result;
        filled = true;
        pollsBefore = rig.polls;
        bytes.fill(0x78, offset, offset + length);
        return length;
      },
    },
  });
  rig.begin();
  rig.steps.push(
    () => rig.print('x'),
    () => {
      t.match(rig.journal.entries, [/^out:x+$/, 'out:settle']);
      t.equal(rig.polls - pollsBefore, 1, 'the next wait is the long one');
      rig.doorbell.ring();
    },
  );
  rig.run();
});

t.test('records that a worker had read and not yet passed on when it died are passed on by the next', async (t) => {
  const rig = new PumpRig(t);
  // What the worker before left: a committed record that its drivers never saw.
  const text = Buffer.from('read before the death\n');
  const offset = rig.producer.tryClaim(text.length, text.length);
  new Uint8Array(rig.words.buffer).set(text, offset);
  rig.producer.commit(text.length, STDOUT);
  rig.begin();
  rig.end(true);
  t.same(rig.run(), ['out:read before the death\n']);
});

t.test('clients get what was read before the log has it, which gets it in the same turn', async (t) => {
  const acts: string[] = [];
  let takes = true;
  const rig: PumpRig = new PumpRig(t, {
    client: true,
    clients: {
      send: () => {
        acts.push(`sent after: ${rig.journal.entries.join()}`);
        return takes;
      },
    },
  });
  rig.producer.wake = () => acts.push('woken');
  const logged = (): void => void acts.push(`logged: ${rig.journal.entries.at(-1)}`);
  rig.begin();
  rig.steps.push(
    () => rig.print('short\n'),
    () => {
      logged();
      takes = false;
      rig.print('client full\n');
    },
    () => {
      logged();
      rig.print(`${'x'.repeat(PACKET_PAYLOAD_MAX)}\n`);
    },
  );
  rig.run();
  t.same(acts, [
    'sent after: ',
    'logged: out:short\n',
    'sent after: out:short\n',
    'woken',
    'logged: out:client full\n',
    'woken', // more than a packet is not for this thread
  ]);
});

t.test('with nobody attached nobody is asked, and nobody woken', async (t) => {
  const rig = new PumpRig(t, {
    clients: {
      send: () => {
        throw new Error('asked');
      },
    },
  });
  rig.producer.wake = () => {
    throw new Error('woken');
  };
  rig.begin();
  rig.steps.push(
    () => rig.print('one\n'),
    () => rig.print('two\n'),
  );
  t.same(rig.run(), ['out:one\n', 'out:two\n']);
});

t.test('asked to leave it goes when little was read since it was last asked, and nothing is half', async (t) => {
  const rig = new PumpRig(t);
  const asked: string[] = [];
  const ask = (what: string) => () => {
    asked.push(what);
    rig.tell({ kind: 'leave', belowBytes: 4 });
  };
  rig.begin();
  rig.steps.push(
    () => rig.print('abc\n'),
    ask('four bytes were read'),
    () => {
      rig.journal.stalled = true;
      ask('a sink is stalled')();
    },
    () => {
      rig.journal.stalled = false;
      rig.print('de\n');
    },
    ask('three bytes were read'),
    ask('too late'),
  );
  rig.run();
  t.same(asked, ['four bytes were read', 'a sink is stalled', 'three bytes were read']);
  t.equal(rig.text(STDOUT), 'abc\nde\n');
  t.equal(rig.journal.sheds, 0, 'what drivers hold is the next one’s');
});

t.test('at the end drivers give up what they still hold, so that it is counted', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.print('abc\n');
  rig.run();
  t.equal(rig.journal.sheds, 1);
});
