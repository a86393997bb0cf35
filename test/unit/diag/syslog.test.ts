/** The system's log: one datagram a message, and nothing that goes wrong there is the container's concern. */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Diag } from '../../../src/diag/diag.ts';
import { LOG_ERR, LOG_INFO, Syslog } from '../../../src/diag/syslog.ts';
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';

const { EAGAIN, ECONNREFUSED, EMFILE, ENOENT } = constants.errno;
const dir = mkdtempSync(join(tmpdir(), 'conmon-syslog-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

/** A log daemon at `path`. */
class Daemon {
  readonly #fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC);

  constructor(test: Test, path: string) {
    rmSync(path, { force: true });
    if (sys.bind(this.#fd, path) < 0) throw new Error(`bind ${path}`);
    test.teardown(() => this.close());
  }

  /** The next message; undefined when there is none. */
  next(): string | undefined {
    const bytes = Buffer.alloc(65536);
    const length = sys.recvmsg(this.#fd, bytes, 0, bytes.length, new Int32Array(1), MSG_DONTWAIT);
    return length < 0 ? undefined : bytes.toString('utf8', 0, length);
  }

  close(): void {
    sys.close(this.#fd);
  }
}

t.test('a message has a priority, a local time, the tag and the text', async (t) => {
  const path = join(dir, 'log');
  const daemon = new Daemon(t, path);
  const log = new Syslog(sys, path);
  log.send(LOG_INFO, 'hello');
  log.send(LOG_ERR, 'world');
  t.match(daemon.next(), /^<14>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d conmon: hello$/);
  t.match(daemon.next(), /^<11>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d conmon: world$/);
  t.equal(daemon.next(), undefined);
});

t.test('a daemon that was restarted gets the next message', async (t) => {
  const path = join(dir, 'restarted');
  const first = new Daemon(t, path);
  const log = new Syslog(sys, path);
  log.send(LOG_INFO, 'one');
  t.match(first.next(), /one$/);
  first.close();
  const second = new Daemon(t, path);
  log.send(LOG_INFO, 'two');
  t.match(second.next(), /two$/);
});

t.test('without a daemon messages are lost, nothing else', async (t) => {
  const log = new Syslog(sys, join(dir, 'missing'));
  log.send(LOG_ERR, 'nobody');
  t.pass();
});

t.test('each failure is bounded to two attempts and leaves no fd open', async (t) => {
  const failures: readonly (readonly [string, Parameters<typeof fakeSys>[0]])[] = [
    ['no fds left', { socket: () => -EMFILE }],
    ['no daemon', { connect: () => -ENOENT }],
    ['a daemon that is gone', { sendmsg: () => -ECONNREFUSED }],
    ['a daemon that is busy', { sendmsg: () => -EAGAIN }],
  ];
  for (const [name, failure] of failures) {
    let opened = 0;
    let calls = 0;
    const counted = fakeSys({
      socket: () => {
        opened++;
        return 50 + calls++;
      },
      connect: () => 0,
      sendmsg: () => 0,
      close: () => {
        opened--;
        return 0;
      },
      ...failure,
    });
    new Syslog(counted, '/dev/log').send(LOG_ERR, 'x');
    t.equal(opened, 0, name);
    t.ok(calls <= 2, name);
  }
});

t.test('with --syslog every diagnostic goes there too, with the name and the level', async (t) => {
  const sent: string[] = [];
  const fake = fakeSys({
    write: (_fd, _bytes, _offset, length) => length,
    socket: () => 9,
    connect: () => 0,
    sendmsg: (_fd, bytes, offset, length) => {
      sent.push(textOf(bytes, offset, length));
      return length;
    },
  });
  const diag = new Diag(fake, { level: 'info', syslogName: 'a-container-with-a-long-name' });
  diag.error('bad');
  diag.warn('odd');
  diag.debug('not said');
  t.equal(sent.length, 2);
  t.match(sent[0], /^<11>.* conmon: conmon a-container-with-a-l <error>: bad$/);
  t.match(sent[1], /^<14>.* conmon: conmon a-container-with-a-l <nwarn>: odd$/);
});
