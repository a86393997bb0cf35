/** The demo runtime's terminals: what arrives at the console socket, and what the process sees. */

import { closeSync, existsSync, readFileSync, readlinkSync, readSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { SOCK_CLOEXEC, SOCK_STREAM } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { processSpec, Scratch } from './support.ts';

const scratch = new Scratch(t);

/** A listening console socket. `accept` takes what the runtime has sent by now. */
function consoleSocket() {
  const path = scratch.fresh('console');
  const listenFd = sys.socket(SOCK_STREAM | SOCK_CLOEXEC);
  if (listenFd < 0 || sys.bind(listenFd, path) < 0 || sys.listen(listenFd, 1) < 0) throw new Error('no console socket');
  return {
    path,
    accept(): { readonly masterFd: number; readonly payload: string } {
      const fd = sys.accept4(listenFd, SOCK_CLOEXEC);
      const [bytes, fds] = [Buffer.alloc(100), new Int32Array(4)];
      const length = sys.recvmsg(fd, bytes, 0, bytes.length, fds, 0);
      sys.close(fd);
      sys.close(listenFd);
      if (fds[0] !== 1) throw new Error(`${fds[0]} fds arrived`);
      return { masterFd: fds[1] ?? -1, payload: bytes.toString('utf8', 0, length) };
    },
  };
}

/** Everything until the last process has closed the terminal. */
function readAll(masterFd: number): string {
  const chunk = Buffer.alloc(4096);
  let text = '';
  try {
    for (let length = 1; length > 0; ) {
      length = readSync(masterFd, chunk);
      text += chunk.toString('utf8', 0, length);
    }
  } catch {
    // EIO: nobody has the terminal open any more.
  }
  closeSync(masterFd);
  return text;
}

t.test('the container gets a terminal of the size in config.json, as its controlling one', async (t) => {
  const console = consoleSocket();
  const script = 'stty size; tty; ps -o tty= -p $$; test -t 0 -a -t 1 -a -t 2 && echo all; read line; echo "got $line"';
  const size = { height: 33, width: 91 };
  const bundle = scratch.bundle(processSpec(['sh', '-c', script], { terminal: true, consoleSize: size }));
  scratch.must(['create', '--bundle', bundle, '--console-socket', console.path, 'size']);
  const { masterFd, payload } = console.accept();
  t.match(payload, /^\/dev\/pts\/\d+$/);
  t.equal(readlinkSync(`/proc/${scratch.state('size').pid}/fd/2`), payload, 'the process has it before create returns');
  scratch.must(['start', 'size']);
  writeSync(masterFd, 'typed\n');
  const lines = readAll(masterFd).replaceAll('\r', '').trim().split('\n');
  t.same(
    lines.filter((line) => line !== 'typed'),
    ['33 91', payload, payload.slice('/dev/'.length), 'all', 'got typed'],
  );
});

t.test('no fd of the terminal reaches the process besides its three streams', async (t) => {
  const console = consoleSocket();
  const out = scratch.path('fds');
  const script = `for fd in /proc/$$/fd/*; do readlink $fd; done > ${out}`;
  const bundle = scratch.bundle(processSpec(['sh', '-c', script], { terminal: true }));
  scratch.must(['create', '--bundle', bundle, '--console-socket', console.path, 'fds']);
  const { masterFd, payload } = console.accept();
  scratch.must(['start', 'fds']);
  readAll(masterFd);
  const targets = readFileSync(out, 'utf8').trim().split('\n');
  t.notOk(targets.includes('/dev/ptmx') || targets.includes('/dev/pts/ptmx'), 'the master');
  t.same(
    targets.filter((target) => target.includes('gate') || target.includes('start')),
    [],
  );
  t.ok(targets.includes(payload));
});

t.test(
  'a user who is not root owns his terminal',
  { skip: process.geteuid?.() === 0 ? false : 'needs root' },
  async (t) => {
    const console = consoleSocket();
    const spec = processSpec(['sh', '-c', 'stat -c %u $(tty); id -u'], {
      terminal: true,
      user: { uid: 12345, gid: 12345 },
    });
    scratch.must(['create', '--bundle', scratch.bundle(spec), '--console-socket', console.path, 'owner']);
    const { masterFd } = console.accept();
    scratch.must(['start', 'owner']);
    t.equal(readAll(masterFd), '12345\r\n12345\r\n');
  },
);

t.test('exec has terminals too, and a quick command still sees its own', async (t) => {
  scratch.must(['create', '--bundle', scratch.bundle(processSpec(['sleep', '300'])), 'exec']);
  scratch.must(['start', 'exec']);
  const processFile = scratch.fresh('process');
  writeFileSync(processFile, JSON.stringify(processSpec(['tty'], { terminal: true })));
  for (let round = 0; round < 3; round++) {
    const console = consoleSocket();
    const pidFile = scratch.fresh('pidfile');
    const options = ['--detach', '--pid-file', pidFile, '--console-socket', console.path, '--process', processFile];
    scratch.must(['exec', ...options, 'exec']);
    const { masterFd, payload } = console.accept();
    t.equal(readAll(masterFd), `${payload}\r\n`);
    t.ok(existsSync(pidFile));
  }
});

t.test('a console socket that nobody listens on is told, and nothing stays', async (t) => {
  const bundle = scratch.bundle(processSpec(['true'], { terminal: true }));
  const result = scratch.command(['create', '--bundle', bundle, '--console-socket', '/nonexistent/socket', 'nobody']);
  t.match(result, { status: 1, stderr: /console socket \/nonexistent\/socket: connect: No such file or directory/ });
  t.notOk(scratch.containers().includes('nobody'));
});

t.test('a console socket without a terminal is refused', async (t) => {
  const options = ['--bundle', scratch.bundle(processSpec(['true'])), '--console-socket', '/nonexistent/socket'];
  t.match(scratch.command(['create', ...options, 'plain']), { status: 1, stderr: /process\.terminal is not true/ });
});
