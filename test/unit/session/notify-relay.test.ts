/** The sd_notify relay between real sockets: what comes through, what does not, and what it does when nobody listens. */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EAGAIN, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { NOTIFICATION_MAX } from '../../../src/proto/sd-notify.ts';
import { NotifyRelay } from '../../../src/session/notify-relay.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const NO_FDS = new Int32Array(0);
const DGRAM = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

/** Both ends of a relay: the container's socket and the host's service manager. */
class Ends {
  readonly directory = mkdtempSync(join(tmpdir(), 'conmon-notify-'));
  readonly bundle = join(this.directory, 'bundle');
  readonly path = join(this.bundle, 'notify', 'notify.sock');
  readonly hostPath = join(this.directory, 'host');
  readonly complaints = new Complaints();
  readonly heard: string[] = [];
  readonly #fd = sys.socket(DGRAM);
  readonly #bytes = new Uint8Array(65_536);
  #hostFd = -1;

  constructor(test: Test, { hostListens = true } = {}) {
    mkdirSync(join(this.bundle, 'notify'), { recursive: true });
    if (hostListens) this.hostListens();
    test.teardown(() => {
      for (const fd of [this.#fd, this.#hostFd]) if (fd >= 0) sys.close(fd);
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  relay(test: Test, { hostPath = this.hostPath, with_ = sys }: { hostPath?: string; with_?: Sys } = {}): NotifyRelay {
    const relay = new NotifyRelay(with_, this.complaints.diag, this.bundle, hostPath);
    test.teardown(() => relay.close());
    return relay;
  }

  hostListens(): void {
    rmSync(this.hostPath, { force: true });
    this.hostLeaves();
    this.#hostFd = sys.socket(DGRAM);
    if (sys.bind(this.#hostFd, this.hostPath) < 0) throw new Error('bind');
  }

  hostLeaves(): void {
    if (this.#hostFd >= 0) sys.close(this.#hostFd);
    this.#hostFd = -1;
  }

  /** What the service manager has got by now. */
  hear(): readonly string[] {
    for (;;) {
      const length = sys.read(this.#hostFd, this.#bytes, 0, this.#bytes.length);
      if (length < 0) return this.heard;
      this.heard.push(Buffer.from(this.#bytes.subarray(0, length)).toString('latin1'));
    }
  }

  /** The container says something. @returns whether there was room for it. */
  trySay(text: string, fds: Int32Array = NO_FDS): boolean {
    if (sys.connect(this.#fd, this.path) < 0) throw new Error('connect');
    const bytes = Buffer.from(text, 'latin1');
    const result = sys.sendmsg(this.#fd, bytes, 0, bytes.length, fds, 0);
    if (result < 0 && result !== EAGAIN) throw new Error(sys.strerror(result));
    return result >= 0;
  }

  async say(text: string, fds: Int32Array = NO_FDS): Promise<void> {
    await waitFor('room for a notification', () => this.trySay(text, fds), { intervalMs: 1 });
  }

  async heardAll(...texts: readonly string[]): Promise<void> {
    await waitFor('the notifications', () => this.hear().length >= texts.length);
  }
}

t.test('the socket is open to every user, whatever the umask, and stays the relay’s alone', async (t) => {
  const umask = process.umask(0o077);
  t.teardown(() => process.umask(umask));
  const ends = new Ends(t);
  ends.relay(t);
  t.ok(statSync(ends.path).isSocket());
  t.equal(statSync(ends.path).mode & 0o7777, 0o777);
  t.equal(process.umask(), 0o077, 'the umask is as it was');
});

t.test('allowed lines come through, datagram by datagram; the rest does not', async (t) => {
  const ends = new Ends(t);
  ends.relay(t);
  await ends.say('MAINPID=1\nFDSTORE=1');
  await ends.say('STATUS=half way\nMAINPID=1\nREADY=1');
  await ends.say('');
  await ends.say('STOPPING=1');
  await ends.heardAll('', '');
  t.same(ends.hear(), ['STATUS=half way\nREADY=1', 'STOPPING=1']);
});

t.test('fds that come with a message are closed, the message comes through', async (t) => {
  const ends = new Ends(t);
  ends.relay(t);
  const file = openSync('/dev/null', 'r');
  const fds = new Int32Array(16).fill(file);
  await ends.say('READY=1', fds.subarray(0, 1));
  await ends.heardAll('');
  const before = fdsOf(process.pid).size;
  for (let i = 0; i < 20; i++) await ends.say(`STATUS=${i}`, fds);
  await ends.say('FDSTORE=1', fds);
  await ends.say('STOPPING=1');
  await waitFor('the last', () => ends.hear().at(-1) === 'STOPPING=1');
  t.equal(ends.heard.length, 22);
  t.equal(fdsOf(process.pid).size, before);
  sys.close(file);
});

t.test('a message that is too long is lost and told, the next one comes through', async (t) => {
  const ends = new Ends(t);
  ends.relay(t);
  await ends.say(`STATUS=${'x'.repeat(NOTIFICATION_MAX)}`);
  await ends.say(`READY=1\nSTATUS=${'x'.repeat(NOTIFICATION_MAX - 'READY=1\nSTATUS='.length)}`);
  await ends.heardAll('');
  t.same(ends.hear(), ['READY=1']);
  t.match(ends.complaints.lines[0], /^\[conmon:w\]: sd-notify: a message of 32775 bytes is too long/);
});

t.test('complaints do not multiply, their number is told at the end', async (t) => {
  const ends = new Ends(t);
  const relay = ends.relay(t);
  for (let i = 0; i < 50; i++) await ends.say('MAINPID=1\nX=1');
  await ends.say('READY=1');
  await ends.heardAll('');
  relay.finish();
  t.match(ends.complaints.lines, [/a line was not relayed/, /100 lines in all were not relayed/]);
  t.equal(ends.complaints.lines.length, 2);
});

t.test('what was said last is handed on at the end', async (t) => {
  const ends = new Ends(t);
  const relay = ends.relay(t);
  for (let i = 0; i < 5; i++) t.equal(ends.trySay(`STATUS=${i}`), true);
  t.equal(ends.trySay('STOPPING=1'), true);
  relay.finish();
  t.same(ends.hear(), ['STATUS=0', 'STATUS=1', 'STATUS=2', 'STATUS=3', 'STATUS=4', 'STOPPING=1']);
});

t.test('a service manager that comes late, or comes back, is found', async (t) => {
  const ends = new Ends(t, { hostListens: false });
  let failures = 0;
  const counting = realSysBut({
    connect: (fd, path) => {
      const result = sys.connect(fd, path);
      if (result < 0) failures++;
      return result;
    },
  });
  const relay = ends.relay(t, { with_: counting });
  await ends.say('STATUS=nobody hears');
  await waitFor('the loss', () => failures === 1);
  t.match(ends.complaints.lines[0], /Failed to write host notify socket .*\/host: No such file or directory/);
  ends.hostListens();
  await ends.say('STATUS=one');
  await waitFor('one', () => ends.hear().length === 1);
  ends.hostLeaves();
  await ends.say('STATUS=nobody hears this either');
  await waitFor('the second loss', () => failures === 2);
  ends.hostListens();
  await ends.say('STATUS=two');
  await waitFor('two', () => ends.hear().at(-1) === 'STATUS=two');
  t.equal(ends.complaints.lines.length, 1, 'told once');
  relay.close();
  t.match(ends.complaints.lines.at(-1), /2 messages in all were lost/);
});

t.test('while the service manager’s queue is full nothing is lost, and it comes in order', async (t) => {
  const ends = new Ends(t);
  ends.relay(t);
  const sent: string[] = [];
  for (let i = 0; i < 20_000; i++) {
    if (!ends.trySay(`STATUS=${i}`)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (!ends.trySay(`STATUS=${i}`)) break; // both queues are full
    }
    sent.push(`STATUS=${i}`);
  }
  t.ok(sent.length < 20_000, `the container is held back after ${sent.length} messages`);
  await waitFor('all of them', () => ends.hear().length === sent.length);
  t.same(ends.heard, sent);
  t.same(ends.complaints.lines, []);
});

t.test('a service manager that never takes anything costs messages in the end, each after some seconds', async (t) => {
  const ends = new Ends(t);
  let tries = 0;
  const full = realSysBut({
    sendmsg: () => {
      tries++;
      return EAGAIN;
    },
  });
  const relay = ends.relay(t, { with_: full });
  await ends.say('READY=1');
  await waitFor('the message to be given up', () => ends.complaints.lines.length > 0);
  t.equal(tries, 51);
  t.match(ends.complaints.lines[0], /Failed to write host notify socket/);
  relay.close();
});

t.test('at the end nothing is tried again, and what is lost is counted', async (t) => {
  const ends = new Ends(t);
  let tries = 0;
  const full = realSysBut({
    sendmsg: () => {
      tries++;
      return EAGAIN;
    },
  });
  const relay = ends.relay(t, { with_: full });
  await ends.say('STATUS=1');
  await waitFor('a try', () => tries > 0);
  await ends.say('STATUS=2');
  relay.finish();
  t.match(ends.complaints.lines, [/host does not take messages/, /2 messages in all were lost/]);
});

t.test('a link or a file in the socket’s place is replaced, what it points to is left alone', async (t) => {
  const ends = new Ends(t);
  const victim = join(ends.directory, 'victim');
  writeFileSync(victim, 'precious', { mode: 0o600 });
  symlinkSync(victim, ends.path);
  ends.relay(t);
  t.ok(lstatSync(ends.path).isSocket());
  t.equal(readFileSync(victim, 'utf8'), 'precious');
  t.equal(statSync(victim).mode & 0o777, 0o600);
});

t.test(
  'without its directory, or with a directory in its place, there is an error that names it and nothing is left',
  async (t) => {
    const before = fdsOf(process.pid).size;
    const ends = new Ends(t);
    const own = fdsOf(process.pid).size - before;
    rmSync(join(ends.bundle, 'notify'), { recursive: true });
    t.throws(() => ends.relay(t), { code: 'NOTIFY', message: /notify directory .*bundle\/notify: No such file/ });
    symlinkSync('/tmp', join(ends.bundle, 'notify'));
    t.throws(() => ends.relay(t), { code: 'NOTIFY', message: /Not a directory/ });
    rmSync(join(ends.bundle, 'notify'));
    mkdirSync(ends.path, { recursive: true });
    t.throws(() => ends.relay(t), { code: 'NOTIFY', message: /notify\.sock: Address already in use/ });
    t.equal(fdsOf(process.pid).size, before + own);
  },
);

t.test('an abstract socket of the host’s is refused with a warning', async (t) => {
  const ends = new Ends(t);
  ends.relay(t, { hostPath: '@/org/freedesktop/notify' });
  t.match(ends.complaints.lines, [/abstract socket, which is not supported: nothing is relayed/]);
  await ends.say('READY=1');
  await waitFor('the loss', () => ends.complaints.lines.length === 2);
});

t.test('when there is no container nothing is left', async (t) => {
  const ends = new Ends(t);
  const relay = ends.relay(t);
  relay.remove();
  t.throws(() => lstatSync(ends.path), { code: 'ENOENT' });
  t.throws(() => ends.trySay('READY=1'));
});
