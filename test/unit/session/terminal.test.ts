/** The container's terminal: one master, three fds, and its size. */
import { closeSync, openSync, readdirSync } from 'node:fs';
import t from 'tap';
import { F_GETFD, FD_CLOEXEC } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Terminal } from '../../../src/session/terminal.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { report } from '../native/report.ts';
import { Complaints } from './complaints.ts';

const EMFILE = -24;
const openFds = () => readdirSync('/proc/self/fd').length;

t.test('output and input are fds of their own, close-on-exec, of the same terminal', async (t) => {
  const master = openSync('/dev/ptmx', 'r+');
  const { diag, lines } = new Complaints();
  const terminal = new Terminal(sys, diag, master);
  t.equal(new Set([master, terminal.outputFd, terminal.inputFd]).size, 3);
  for (const fd of [terminal.outputFd, terminal.inputFd]) t.equal(sys.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
  sys.close(terminal.inputFd);
  terminal.resize(43, 117);
  t.equal((await report([], { stdin: terminal.outputFd })).report.one('winsize'), '43 117');
  sys.close(terminal.outputFd);
  terminal.resize(0, 0);
  t.equal(
    (await report([], { stdin: master })).report.one('winsize'),
    '0 0',
    'also when both owners have closed theirs',
  );
  terminal.resize(1000, 1000);
  t.equal((await report([], { stdin: master })).report.one('winsize'), '1000 1000');
  t.same(lines, []);
  closeSync(master);
});

t.test('a terminal that is gone costs a warning', async (t) => {
  const { diag, lines } = new Complaints();
  const fd = openSync('/dev/null', 'r');
  const terminal = new Terminal(sys, diag, fd);
  terminal.resize(24, 80);
  t.same(lines, ['[conmon:w]: Failed to set process pty terminal size: Inappropriate ioctl for device']);
  for (const each of [fd, terminal.outputFd, terminal.inputFd]) sys.close(each);
});

t.test('without fds left there is an error, and nothing stays open', async (t) => {
  const { diag } = new Complaints();
  for (const failing of [1, 2]) {
    const before = openFds();
    let calls = 0;
    const short = realSysBut({
      fcntl: (fd, command, argument) => (++calls === failing ? EMFILE : sys.fcntl(fd, command, argument)),
    });
    t.throws(() => new Terminal(short, diag, openSync('/dev/ptmx', 'r+')), {
      code: 'CONSOLE',
      message: 'Failed to dup console file descriptor: Too many open files',
    });
    t.equal(openFds(), before);
  }
});
