/** The sd_notify relay when calls fail, and how much it does in one go: the calls are the test's own. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EAGAIN, EIO, ENOMEM } from '../../../src/native/constants.ts';
import { type Sys, sys, type Watch } from '../../../src/native/sys.ts';
import { NOTIFICATION_MAX } from '../../../src/proto/sd-notify.ts';
import { NotifyRelay } from '../../../src/session/notify-relay.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const EMFILE = -24;

function aBundle(test: Test): string {
  const bundle = mkdtempSync(join(tmpdir(), 'conmon-notify-'));
  mkdirSync(join(bundle, 'notify'));
  test.teardown(() => rmSync(bundle, { recursive: true, force: true }));
  return bundle;
}

/** A relay whose container says what `datagram` answers, of which the manager takes what `send` answers. */
function aRelay(
  test: Test,
  datagram: (bytes: Uint8Array) => number,
  send: () => number = () => 1,
  more?: Partial<Sys>,
) {
  const complaints = new Complaints();
  const seen = { received: 0, sent: 0, watches: [] as (() => void)[], watched: 0 };
  const calls = realSysBut({
    watch: (_fd, act) => {
      seen.watches.push(() => act(0));
      seen.watched++;
      return {} as Watch;
    },
    unwatch: () => {
      seen.watched--;
      return 0;
    },
    recvmsg: (_fd, bytes) => {
      seen.received++;
      return datagram(bytes);
    },
    connect: () => 0,
    sendmsg: () => {
      seen.sent++;
      return send();
    },
    ...more,
  });
  const relay = new NotifyRelay(calls, complaints.diag, aBundle(test), '/host');
  test.teardown(() => relay.close());
  return { relay, seen, lines: complaints.lines };
}

const ready = (bytes: Uint8Array): number => {
  bytes.set(Buffer.from('READY=1'));
  return 7;
};

t.test('without fds, or a watch, there is an error and no fd is left', (t) => {
  const bundle = aBundle(t);
  const { diag } = new Complaints();
  const before = fdsOf(process.pid).size;
  for (const allowed of [0, 1]) {
    let made = 0;
    const few = realSysBut({ socket: (type) => (made++ < allowed ? sys.socket(type) : EMFILE) });
    t.throws(() => new NotifyRelay(few, diag, bundle, '/host'), { code: 'NOTIFY', message: /Too many open files/ });
  }
  const blind = realSysBut({ watch: () => ENOMEM });
  t.throws(() => new NotifyRelay(blind, diag, bundle, '/host'), { code: 'NOTIFY', message: /Cannot allocate memory/ });
  t.equal(fdsOf(process.pid).size, before);
  t.end();
});

t.test('a container that floods has 16 datagrams a turn, and 1024 at its end', (t) => {
  const { relay, seen } = aRelay(t, ready);
  seen.watches[0]?.();
  t.match(seen, { received: 16, sent: 16 });
  relay.finish();
  t.equal(seen.received, 16 + 1024);
  relay.finish();
  t.equal(seen.received, 16 + 1024, 'it has ended');
  t.end();
});

t.test('a datagram of exactly what there is room for is taken, one byte more is not', (t) => {
  let length = NOTIFICATION_MAX;
  const { seen, lines } = aRelay(t, (bytes) => {
    if (length === 0) return EAGAIN;
    bytes.fill(0x0a).set(Buffer.from('READY=1\n'));
    const each = length;
    length = 0;
    return each;
  });
  seen.watches[0]?.();
  t.equal(seen.sent, 1);
  length = NOTIFICATION_MAX + 1;
  seen.watches[0]?.();
  t.equal(seen.sent, 1);
  t.match(lines, [/a message of 32769 bytes is too long/]);
  t.end();
});

t.test('a socket that cannot be read is told, and not looked at again and again', (t) => {
  const { seen, lines } = aRelay(t, () => EIO);
  seen.watches[0]?.();
  t.match(lines, ['[conmon:w]: sd-notify: read failed Input/output error: nothing more is relayed']);
  t.match(seen, { received: 1, watched: 0 });
  t.end();
});

t.test(
  'while the manager’s queue is full nothing is taken; afterwards it goes on, or says that it cannot',
  async (t) => {
    for (const watchFails of [false, true]) {
      let full = true;
      let watches = 0;
      const act: (() => void)[] = [];
      const { relay, seen, lines } = aRelay(t, ready, () => (full ? EAGAIN : 1), {
        watch: (_fd, each) => {
          if (watches++ > 0 && watchFails) return ENOMEM;
          act.push(() => each(0));
          return {} as Watch;
        },
        unwatch: () => 0,
      });
      act[0]?.();
      t.match(seen, { received: 1, sent: 1 }, 'the one that has no room');
      full = false;
      while (watches < 2) await new Promise((resolve) => setTimeout(resolve, 10));
      t.match(seen, { received: 1, sent: 2 }, 'it is sent once more');
      if (watchFails)
        t.match(lines, [/Failed to watch notify socket.*Cannot allocate memory: nothing more is relayed/]);
      else {
        act[1]?.();
        t.match(seen, { received: 17, sent: 18 });
        t.same(lines, []);
      }
      relay.close();
    }
  },
);

t.test('what waits for room when all ends is lost, and told', (t) => {
  const { relay, seen, lines } = aRelay(t, ready, () => EAGAIN);
  seen.watches[0]?.();
  relay.close();
  t.match(lines, [/\/host does not take messages/]);
  t.end();
});
