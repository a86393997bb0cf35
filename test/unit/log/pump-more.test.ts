/** For test/unit/log/pump.test.ts. */
import { constants } from 'node:os';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
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

t.test('clients that take what was read get it once the log has it; nobody is woken for it', async (t) => {
  const asked: number[] = [];
  const seen: string[] = [];
  const rig: PumpRig = new PumpRig(t, {
    client: true,
    clients: {
      takes: (bytes) => {
        asked.push(bytes);
        return bytes < 10;
      },
      send: () => seen.push(rig.journal.entries.join()),
    },
  });
  const quiet: (boolean | undefined)[] = [];
  const commit = rig.producer.commit.bind(rig.producer);
  rig.producer.commit = (bytes, stream, quietly) => {
    if (bytes > 0) quiet.push(quietly);
    commit(bytes, stream, quietly);
  };
  rig.begin();
  rig.steps.push(
    () => rig.print('short\n'),
    () => rig.print('something long\n'),
  );
  rig.run();
  t.same(asked, [6, 15]);
  t.same(seen, ['out:short\n']);
  t.same(quiet, [true, false]);
});
