/** Terminals: attributes and window sizes of a pty master. */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { O_CLOEXEC } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { pipe } from './fake-sys.ts';
import { report } from './report.ts';

const { EBADF, EINVAL, ENOTTY } = constants.errno;
/** struct termios begins with c_iflag, c_oflag; ONLCR is 0o4 of the second (x86-64 and arm64). */
const OFLAG = 1;
const ONLCR = 0o4;

const master = openSync('/dev/ptmx', 'r+');
t.teardown(() => closeSync(master));

t.test('the attributes of a terminal are read, changed and read back', async (t) => {
  const attributes = new Uint8Array(64);
  const size = sys.tcgetattr(master, attributes);
  t.ok(size > 0 && size <= 64, `${size} bytes`);
  const words = new Uint32Array(attributes.buffer);
  words[OFLAG] = (words[OFLAG] ?? 0) ^ ONLCR;
  t.equal(sys.tcsetattr(master, attributes), 0);
  const again = new Uint8Array(64);
  t.equal(sys.tcgetattr(master, again), size);
  t.same(again, attributes);
});

t.test('the size of a terminal is set', async (t) => {
  t.equal(sys.setWindowSize(master, 37, 111), 0);
  t.equal((await report([], { stdin: master })).report.one('winsize'), '37 111');
  t.equal(sys.setWindowSize(master, 0, 0), 0);
  t.equal((await report([], { stdin: master })).report.one('winsize'), '0 0');
});

t.test('what is no terminal says so', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC);
  t.equal(sys.tcgetattr(readFd, new Uint8Array(64)), -ENOTTY);
  t.equal(sys.tcsetattr(readFd, new Uint8Array(64)), -ENOTTY);
  t.equal(sys.setWindowSize(readFd, 24, 80), -ENOTTY);
  sys.close(readFd);
  sys.close(writeFd);
  t.equal(sys.tcgetattr(700, new Uint8Array(64)), -EBADF);
});

t.test('attributes that are cut short are refused', async (t) => {
  t.equal(sys.tcgetattr(master, new Uint8Array(16)), -EINVAL);
  t.equal(sys.tcsetattr(master, new Uint8Array(16)), -EINVAL);
});
