/** The pipes of a container's standard streams: ours do not block, the container's do, and both hold a MiB. */
import { constants } from 'node:fs';
import t, { type Test } from 'tap';
import { EPERM, F_GETFL, F_GETPIPE_SZ, F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { openStdio, type Stdio, type StdioPlan } from '../../../src/session/stdio.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const MIB = 1 << 20;

function open(t: Test, plan: StdioPlan, complaints = new Complaints(), calls = sys): Stdio {
  const stdio = openStdio(calls, complaints.diag, plan);
  t.teardown(() => {
    for (const fd of Object.values(stdio)) if (fd >= 0) sys.close(fd);
  });
  return stdio;
}

const isBlocking = (fd: number): boolean => (sys.fcntl(fd, F_GETFL, 0) & constants.O_NONBLOCK) === 0;

t.test(
  'output and errors have room for a MiB, whoever reads them; ours does not block, the container’s does',
  async (t) => {
    const stdio = open(t, { stdin: true, terminal: false });
    t.equal(sys.fcntl(stdio.stdoutFd, F_GETPIPE_SZ, 0), MIB);
    t.equal(sys.fcntl(stdio.stderrFd, F_GETPIPE_SZ, 0), MIB);
    for (const fd of [stdio.stdinFd, stdio.stdoutFd, stdio.stderrFd]) t.notOk(isBlocking(fd));
    for (const fd of [stdio.childStdinFd, stdio.childStdoutFd, stdio.childStderrFd]) t.ok(isBlocking(fd));
  },
);

t.test('with a terminal only the runtime’s messages have a pipe', async (t) => {
  const stdio = open(t, { stdin: true, terminal: true });
  t.equal(stdio.stdinFd, -1);
  t.equal(stdio.stdoutFd, -1);
  t.equal(sys.fcntl(stdio.stderrFd, F_GETPIPE_SZ, 0), MIB);
});

t.test('a pipe that may not be larger stays as it is', async (t) => {
  const complaints = new Complaints('debug');
  const calls = realSysBut({
    fcntl: (fd, command, argument) => (command === F_SETPIPE_SZ ? EPERM : sys.fcntl(fd, command, argument)),
  });
  const stdio = open(t, { stdin: false, terminal: false }, complaints, calls);
  t.ok(sys.fcntl(stdio.stdoutFd, F_GETPIPE_SZ, 0) > 0);
  t.equal(complaints.lines.length, 2);
  t.match(complaints.lines[0], /^\[conmon:d\]: pipe size of 1048576 bytes refused: Operation not permitted/);
});
