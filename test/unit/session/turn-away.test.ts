/** Attach clients that nobody serves: they hear why, are disconnected, and are counted. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MSG_DONTWAIT, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { type Sys, sys, type Watch } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { SessionRig } from './rig.ts';

const EMFILE = -24;
const WORDS = '[conmon] nobody can attach any longer: conmon was replaced while the container ran, or has failed';

/** A session whose output serves nobody, its attach socket, and how often that was watched. */
function place(t: Test, terminal = false, calls: Partial<Sys> = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'conmon-turn-away-'));
  const path = join(dir, 'attach');
  const listenFd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK);
  if (sys.bind(listenFd, path) < 0 || sys.listen(listenFd, 64) < 0) throw new Error('listen');
  const { accept4, close, sendmsg, poll } = realSysBut({});
  const watches: (() => void)[] = [];
  const watch: Sys['watch'] = (fd, onReady) => {
    if (fd === listenFd) watches.push(() => onReady(0));
    return { watch: 1 } as unknown as Watch;
  };
  const real = { accept4, close: (fd: number) => (fd < 900 ? close(fd) : 0), sendmsg, poll, watch, unwatch: () => 0 };
  const rig = new SessionRig(t, {
    attachListenFd: listenFd,
    nobodyServes: true,
    options: { terminal },
    calls: { ...real, ...calls },
  });
  t.teardown(() => {
    sys.close(listenFd);
    rmSync(dir, { recursive: true, force: true });
  });
  const connect = (): number => {
    const fd = sys.socket(SOCK_SEQPACKET);
    if (sys.connect(fd, path) < 0) throw new Error('connect');
    t.teardown(() => sys.close(fd));
    return fd;
  };
  return { rig, connect, watches };
}

/** The next packet, '' at the end of the connection. */
function packet(fd: number): string {
  const bytes = new Uint8Array(8193);
  const length = sys.recvmsg(fd, bytes, 0, bytes.length, new Int32Array(1), MSG_DONTWAIT);
  if (length < 0) throw new Error(sys.strerror(length));
  return Buffer.from(bytes.subarray(0, length)).toString('latin1');
}

t.test('each is told on its standard error and disconnected; the next is waited for', async (t) => {
  const { rig, connect, watches } = place(t);
  rig.run();
  t.equal(watches.length, 1);
  const clients = Array.from({ length: 5 }, connect);
  watches[0]?.();
  for (const client of clients) {
    t.equal(packet(client), `\x03${WORDS}\n`);
    t.equal(packet(client), '', 'the end');
  }
  t.equal(watches.length, 2);
  const more = Array.from({ length: 20 }, connect);
  for (let i = 1; i < 4; i++) watches[i]?.(); // as long as the kernel says that somebody is there
  for (const client of more) t.equal(packet(client), `\x03${WORDS}\n`);
  t.equal(rig.complaints.lines.filter((line) => line.includes('turned away from now on')).length, 1, 'told once');
  rig.session.post({ type: 'containerExited', waitStatus: 0 });
  rig.outputEnds();
  t.ok(rig.complaints.lines.some((line) => line.includes('25 attach clients were turned away')));
});

t.test('on a terminal they are told in its one stream', async (t) => {
  const { rig, connect } = place(t, true);
  const client = connect();
  rig.session.state = 'running';
  rig.session.output = { startAttach: () => false } as never;
  rig.session.post({ type: 'clientWaiting' });
  t.equal(packet(client), `\x02${WORDS}\r\n`);
});

t.test('without fds it is tried again a second later, not in a busy loop', async (t) => {
  const { rig, connect, watches } = place(t, false, { accept4: () => EMFILE });
  rig.run();
  connect();
  const timers = rig.session.timers.size;
  watches[0]?.();
  t.equal(watches.length, 1, 'not watched');
  t.equal(rig.session.timers.size, timers + 1);
  rig.session.post({ type: 'clientsGone' });
  t.equal(watches.length, 2);
});

t.test('who cannot be served for want of fds is turned away, and the container goes on', async (t) => {
  const { rig, connect, watches } = place(t);
  rig.run();
  const output = rig.session.output;
  const startAttach = (): boolean => {
    throw new Error('no eventfd left');
  };
  rig.session.output = { ...output, startAttach } as never;
  const client = connect();
  watches[0]?.();
  t.match(packet(client).slice(1), /^\[conmon\] nobody can attach now: .*; try again later\n$/);
  t.equal(watches.length, 2, 'the next is waited for');
  t.equal(rig.state, 'running');
  t.ok(rig.complaints.lines.some((line) => line.includes('attach: no eventfd left')));
  t.notOk(rig.complaints.lines.some((line) => line.includes('turned away from now on')));
  rig.session.output = { ...output, startAttach: () => false } as never;
  const later = connect();
  watches[1]?.();
  t.equal(packet(later), `\x03${WORDS}\n`);
  t.equal(rig.complaints.lines.filter((line) => line.includes('turned away from now on')).length, 1);
});
