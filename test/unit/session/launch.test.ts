/** What the launcher hands over, and the pipes that the caller names. */
import { constants } from 'node:os';
import t from 'tap';
import { F_GETFD } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { parseLaunch, pipeFd } from '../../../src/session/launch.ts';
import { fakeSys } from '../native/fake-sys.ts';

const { EBADF } = constants.errno;
const good = 'v1 status=5 environ=6 nofile=1024:4096 ppid=77 fds=3-4,9';

t.test('a hand-over is read whole', async (t) => {
  t.same(parseLaunch(good, 88), {
    statusFd: 5,
    environFd: 6,
    nofileSoft: 1024,
    nofileHard: 4096,
    entryFds: [3, 4, 9],
    launcherPid: 88,
  });
});

t.test('no fds, one, and ranges', async (t) => {
  const fds = (text: string) => parseLaunch(good.replace('3-4,9', text), 1).entryFds;
  t.same(fds(''), []);
  t.same(fds('7'), [7]);
  t.same(fds('3-3'), [3]);
  t.same(fds('3-6,8,100-102'), [3, 4, 5, 6, 8, 100, 101, 102]);
});

t.test('an unlimited number of fds is -1', async (t) => {
  const { nofileSoft, nofileHard } = parseLaunch(good.replace('4096', '18446744073709551615'), 1);
  t.match({ nofileSoft, nofileHard }, { nofileSoft: 1024, nofileHard: -1 });
});

t.test('a hand-over that is missing or damaged is an error that says how conmon is started', async (t) => {
  const bad: readonly (string | undefined)[] = [
    undefined,
    '',
    'v2 status=5 environ=6 nofile=1024:4096 ppid=77 fds=',
    good.replace('status=5', 'status=-5'),
    good.replace('status=5', 'status='),
    good.replace('environ=6 ', ''),
    good.replace('1024:4096', '1024'),
    good.replace('ppid=77 ', ''),
    good.replace(' fds=3-4,9', ''),
    good.replace('3-4,9', '3;4'),
    `${good} more`,
    `${good}\n`,
    ` ${good}`,
    good.toUpperCase(),
  ];
  for (const text of bad) {
    const message = 'conmon must be started by its launcher, bin/conmon';
    t.throws(() => parseLaunch(text, 1), { code: 'LAUNCHER', message }, JSON.stringify(text));
  }
});

t.test('a range of fds that cannot be is an error that names it', async (t) => {
  for (const range of ['0', '2', '2-4', '5-4', '3-', '-3', '-', '3--4', '1073741824', '3-1073741824', '3-1048580'])
    t.throws(() => parseLaunch(good.replace('3-4,9', `9,${range}`), 1), {
      code: 'LAUNCHER',
      message: `launcher: bad range of fds '${range}'`,
    });
});

t.test('a pipe that is not named is -1, one that is open is its number', async (t) => {
  t.equal(pipeFd(fakeSys({}), '_OCI_SYNCPIPE', undefined), -1);
  for (const text of ['0', ' 0', '+0', '000']) t.equal(pipeFd(sys, '_OCI_SYNCPIPE', text), 0, JSON.stringify(text));
  const asked: number[][] = [];
  const open = fakeSys({ fcntl: (...call) => asked.push(call) });
  t.equal(pipeFd(open, '_OCI_STARTPIPE', '42'), 42);
  t.same(asked, [[42, F_GETFD, 0]]);
});

t.test('a pipe that is no number is an error that names the variable', async (t) => {
  t.equal(pipeFd(fakeSys({}), '_OCI_SYNCPIPE', ''), -1, 'an empty one is none, as in C');
  for (const text of [' ', 'x', '3x', '-1', '0x3', '1e3', '3.0', '3 ', '1073741824', '9'.repeat(400)])
    t.throws(() => pipeFd(fakeSys({}), '_OCI_SYNCPIPE', text), { message: 'unable to parse _OCI_SYNCPIPE' }, text);
});

t.test('a pipe that is not open is an error with the reason', async (t) => {
  const closed = fakeSys({ fcntl: () => -EBADF });
  const message = 'unable to make _OCI_ATTACHPIPE CLOEXEC Bad file descriptor';
  t.throws(() => pipeFd(closed, '_OCI_ATTACHPIPE', '3'), { code: 'PIPE', message });
});
