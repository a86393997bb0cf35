/**
 * Whoever can reach a session socket, as a program of any user: does what a launcher does without the launcher's own
 * checks, and prints what comes of it: `taken`, `refused`, or why it could not connect.
 * Usage: hand-over-client.ts SOCKET BUILD CONMON-ARGUMENTS...
 */
import { readFileSync, writeSync } from 'node:fs';
import {
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  O_CLOEXEC,
  O_PATH,
  POLLIN,
  SOCK_SEQPACKET,
} from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';

const AT_FDCWD = -100;
const WAIT_MS = 20_000;

function memfd(strings: readonly string[]): number {
  const fd = sys.memfdCreate('hand-over', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const bytes = Buffer.from(strings.map((each) => `${each}\0`).join(''));
  if (bytes.length > 0) writeSync(fd, bytes, 0, bytes.length, 0); // as the launcher does: it is read from its beginning
  return fd;
}

/** What the daemon says next; '' when it hangs up. */
function hear(fd: number): string {
  if (sys.poll(Int32Array.of(fd, POLLIN), 1, WAIT_MS) <= 0) throw new Error('the daemon says nothing');
  const bytes = new Uint8Array(65536);
  const length = sys.recvmsg(fd, bytes, 0, bytes.length, new Int32Array(1), 0);
  return Buffer.from(bytes.subarray(0, Math.max(length, 0))).toString('latin1');
}

function outcome(socket: string, build: string, args: readonly string[]): string {
  const fd = sys.socket(SOCK_SEQPACKET);
  const connected = sys.connect(fd, socket);
  if (connected < 0) return sys.strerror(connected);
  if (hear(fd) !== 'G') return 'no go';
  const limit = /^Max open files +(\S+) +(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
  const adjustment = readFileSync('/proc/self/oom_score_adj', 'latin1').trim();
  const text = Buffer.from(`v1 build=${build} nofile=${limit?.[1]}:${limit?.[2]} oom=${adjustment} fds=`);
  const environment = Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
  const fds = Int32Array.of(
    memfd(environment),
    memfd(['conmon', ...args]),
    sys.openat(AT_FDCWD, '.', O_PATH | O_CLOEXEC, 0),
  );
  sys.sendmsg(fd, text, 0, text.length, fds, 0);
  return /^[RS]/.test(hear(fd)) ? 'taken' : 'refused';
}

const [socket = '', build = '', ...args] = process.argv.slice(2);
process.stdout.write(outcome(socket, build, args));
