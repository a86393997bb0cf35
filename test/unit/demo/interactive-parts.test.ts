/** Parts of the interactive run: detach keys, the attach socket's client. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { AttachClient } from '../../../src/demo/attach-client.ts';
import { DetachKeys } from '../../../src/demo/detach-keys.ts';
import { SOCK_CLOEXEC, SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Scratch } from './support.ts';

const scratch = new Scratch(t);

t.test('Ctrl-P Ctrl-Q detaches, together or apart; everything else passes', async (t) => {
  const typed = (...reads: string[]) => {
    const keys = new DetachKeys();
    const results = reads.map((read) => keys.push(Buffer.from(read)));
    return [results.map(({ input }) => input.toString()).join('|'), results.some(({ isDetach }) => isDetach)];
  };
  t.same(typed('abc'), ['abc', false]);
  t.same(typed('ab\x10\x11cd'), ['ab', true]);
  t.same(typed('ab\x10', '\x11'), ['ab|', true]);
  t.same(typed('\x10', 'a'), ['|\x10a', false], 'held back, then passed on');
  t.same(typed('\x10\x10\x11'), ['\x10', true]);
  t.same(typed('\x11\x10a\x11'), ['\x11\x10a\x11', false]);
});

t.test('the client takes typed packets and sends input, through a path of any length', async (t) => {
  const directory = join(scratch.directory, 'long'.repeat(40));
  mkdirSync(directory);
  const listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
  process.chdir(directory);
  t.equal(sys.bind(listenFd, 'attach'), 0);
  process.chdir('/');
  sys.listen(listenFd, 1);
  const client = AttachClient.connect(sys, join(directory, 'attach'));
  const serverFd = sys.accept4(listenFd, SOCK_CLOEXEC);
  t.same(client.receive(), { kind: 'nothing' });

  const packet = Buffer.concat([Buffer.of(2), Buffer.alloc(8192, 'x')]);
  sys.write(serverFd, packet, 0, packet.length);
  sys.write(serverFd, Buffer.from('\x03err'), 0, 4);
  t.match(client.receive(), { kind: 'data', isStderr: false, bytes: packet.subarray(1) });
  t.match(client.receive(), { kind: 'data', isStderr: true, bytes: Buffer.from('err') });

  const input = Buffer.alloc(40_000, 'i');
  t.ok(client.send(input));
  const received = Buffer.alloc(50_000);
  t.equal(sys.read(serverFd, received, 0, received.length), 32_768, 'no packet is longer than conmon reads');
  t.equal(sys.read(serverFd, received, 0, received.length), 40_000 - 32_768);

  client.endInput();
  t.equal(sys.read(serverFd, received, 0, received.length), 0);
  sys.close(serverFd);
  sys.close(listenFd);
  t.same(client.receive(), { kind: 'end' });
  t.notOk(client.send(input), 'input is refused once the other side is gone');
  client.close();
});

t.test('a socket that is not there is told by its path', async (t) => {
  t.throws(() => AttachClient.connect(sys, `${scratch.directory}/nothing`), /nothing: No such file or directory/);
});
