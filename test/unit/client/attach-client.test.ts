/** The attach socket's client, against a socket of the test's own. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AttachClient } from '../../../src/client/attach-client.ts';
import { EAGAIN, EIO, EPIPE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { realSysBut } from '../native/fake-sys.ts';

const EMFILE = -24;
const ECONNRESET = -104;

const scratch = { directory: mkdtempSync(join(tmpdir(), 'conmon-client-')) };
t.teardown(() => rmSync(scratch.directory, { recursive: true, force: true }));

t.test('the client takes typed packets and sends input, through a path of any length', async (t) => {
  const directory = join(scratch.directory, 'long'.repeat(40));
  mkdirSync(directory);
  const listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
  process.chdir(directory);
  t.equal(sys.bind(listenFd, 'attach'), 0);
  process.chdir('/');
  sys.listen(listenFd, 1);
  const client = AttachClient.connect(sys, join(directory, 'attach'));
  const serverFd = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
  t.same(client.receive(), { kind: 'nothing' });

  const packet = Buffer.concat([Buffer.of(2), Buffer.alloc(8192, 'x')]);
  sys.write(serverFd, packet, 0, packet.length);
  sys.write(serverFd, Buffer.from('\x03err'), 0, 4);
  t.match(client.receive(), { kind: 'data', isStderr: false, bytes: packet.subarray(1) });
  t.match(client.receive(), { kind: 'data', isStderr: true, bytes: Buffer.from('err') });

  const input = Buffer.alloc(40_000, 'i');
  t.equal(client.send(input), input.length);
  const received = Buffer.alloc(50_000);
  t.equal(sys.read(serverFd, received, 0, received.length), 32_768, 'no packet is longer than conmon reads');
  t.equal(sys.read(serverFd, received, 0, received.length), 40_000 - 32_768);
  t.equal(sys.read(serverFd, received, 0, received.length), EAGAIN, 'and none is empty, which would be an end');

  client.endInput();
  t.equal(sys.read(serverFd, received, 0, received.length), 0);
  sys.close(serverFd);
  sys.close(listenFd);
  t.same(client.receive(), { kind: 'end' });
  t.equal(client.send(input), -1, 'input is refused once the other side is gone');
  client.close();
});

t.test('what cannot be connected to is told by its path, with the reason, and no fd is left', async (t) => {
  writeFileSync(join(scratch.directory, 'file'), '');
  const before = fdsOf(process.pid).size;
  for (const [path, reason] of [
    ['nothing', 'No such file or directory'],
    ['missing/attach', 'No such file or directory'],
    ['file/attach', 'Not a directory'],
    ['file', 'Connection refused'],
  ]) {
    const whole = `${scratch.directory}/${path}`;
    t.throws(() => AttachClient.connect(sys, whole), {
      name: 'ClientError',
      message: `cannot connect to the attach socket ${whole}: ${reason}`,
    });
  }
  t.throws(() => AttachClient.connect(realSysBut({ socket: () => EMFILE }), scratch.directory), {
    name: 'ClientError',
    message: 'attach socket: Too many open files',
  });
  t.equal(fdsOf(process.pid).size, before);
});

t.test('a connection that is reset has ended; any other failure is told', async (t) => {
  let answer = 0;
  const closed: number[] = [];
  const calls = realSysBut({
    socket: () => 77,
    connect: () => 0,
    read: () => answer,
    write: () => answer,
    close: (fd) => closed.push(fd),
  });
  const client = AttachClient.connect(calls, join(scratch.directory, 'any'));
  for (const errno of [EPIPE, ECONNRESET]) {
    answer = errno;
    t.equal(client.send(Buffer.from('x')), -1);
  }
  t.same(client.receive(), { kind: 'end' });
  answer = 1;
  t.match(client.receive(), { kind: 'data', bytes: Buffer.alloc(0) }, 'a packet without content');
  answer = EIO;
  t.throws(() => client.receive(), { name: 'ClientError', message: 'attach socket: Input/output error' });
  t.throws(() => client.send(Buffer.from('x')), { name: 'ClientError', message: 'attach socket: Input/output error' });
  client.close();
  t.same(closed, [77]);
});

t.test('a container that takes no input: what it does not take is left, and goes later', async (t) => {
  const path = join(scratch.directory, 'attach');
  const listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
  t.equal(sys.bind(listenFd, path), 0);
  sys.listen(listenFd, 1);
  const client = AttachClient.connect(sys, path);
  const serverFd = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const input = Buffer.alloc(4_000_000, 'i');
  let sent = client.send(input);
  t.ok(sent > 0 && sent < input.length, `${sent} bytes at first`);
  t.equal(client.send(input.subarray(sent)), 0);
  const received = Buffer.alloc(50_000);
  let total = 0;
  for (let length = sys.read(serverFd, received, 0, received.length); length > 0; ) {
    total += length;
    sent += client.send(input.subarray(sent));
    length = sys.read(serverFd, received, 0, received.length);
  }
  t.equal(total, input.length);
  for (const fd of [serverFd, listenFd]) sys.close(fd);
  client.close();
});
