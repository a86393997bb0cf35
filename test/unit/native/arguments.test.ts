/**
 * Arguments of the wrong type or out of range: each is refused with -EINVAL, nothing is thrown, nothing outside of the
 * buffers is touched. Calls that could hit the test itself get numbers that hit nobody.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_SEQPACKET, WNOHANG } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from './fake-sys.ts';

const { EINVAL } = constants.errno;
const NO_FD = 700;
const O_NONBLOCK = 0o4000;

const dir = mkdtempSync(join(tmpdir(), 'conmon-arguments-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

/** The typed face lets nothing wrong through: the tests go below it. */
const raw = sys as unknown as Readonly<Record<string, (...values: readonly unknown[]) => unknown>>;
const call = (name: string, values: readonly unknown[]): unknown => raw[name]?.(...values);

const bytes = () => new Uint8Array(16);
const ints = () => new Int32Array(8);
/** Arguments that are of the right types and do no harm. */
const harmless: Readonly<Record<string, readonly unknown[]>> = {
  read: [NO_FD, bytes(), 0, 16],
  write: [NO_FD, bytes(), 0, 16],
  close: [NO_FD],
  closeLater: [-1],
  awaitClose: [0],
  dup3: [NO_FD, NO_FD + 1, 0],
  pipe2: [ints(), -1],
  fcntl: [NO_FD, 1, 0],
  closeRange: [NO_FD, NO_FD + 1, 0],
  fionread: [NO_FD],
  mkfifo: [join(dir, 'no/fifo'), 0o600],
  memfdCreate: ['test', -1],
  madvise: [bytes(), -1],
  openat: [NO_FD, 'file', 0, 0],
  openat2: [NO_FD, 'file', 0, 0, 0],
  renameat2: [NO_FD, 'file', NO_FD, 'other', 0],
  unlinkat: [NO_FD, 'file', 0],
  fstatat: [NO_FD, 'file', 0, new BigInt64Array(5)],
  fstatfs: [NO_FD],
  fallocate: [NO_FD, 1, 0, 1],
  readlinkat: [NO_FD, 'file', bytes()],
  mountId: [NO_FD],
  poll: [ints(), 0, 0],
  eventfd: [0, -1],
  clockGettime: [0, new Float64Array(2)],
  mallocTrim: [],
  memoryPressure: [0],
  setV8Flags: [''],
  prctl: [-1, 0],
  prctlSetName: ['node'],
  waitpid: [0x400001, WNOHANG, ints()],
  kill: [0x400001, 0],
  getpgid: [0x400001],
  schedSetscheduler: [0x400001, 3],
  schedGetscheduler: [0x400001],
  schedGetaffinity: [0x400001, bytes()],
  getpriority: [0x400001],
  memsAllowed: [bytes()],
  socket: [-1],
  socketpair: [-1, ints()],
  bind: [NO_FD, join(dir, 'socket')],
  connect: [NO_FD, join(dir, 'socket')],
  listen: [NO_FD, 1],
  accept4: [NO_FD, 0],
  getsockopt: [NO_FD, 17, ints()],
  setSendTimeout: [NO_FD, 10],
  setSendBuffer: [NO_FD, 10],
  shutdown: [NO_FD, 0],
  inotifyInit: [1 << 30],
  inotifyAddWatch: [NO_FD, '/', 2],
  sendmsg: [NO_FD, bytes(), 0, 16, new Int32Array(0), 0],
  sendmmsg: [NO_FD, bytes(), new Uint32Array(4), 1, 2, 0],
  sendPackets: [NO_FD, bytes(), 0, 1, 10, 4, 0],
  ioSetup: [0, new Uint8Array(8)],
  ioDestroy: [new Uint8Array(8)],
  ioSubmitPackets: [new Uint8Array(8), 700, bytes(), 0, 1, 10, 4],
  ioGetevents: [new Uint8Array(8), ints()],
  siocoutq: [NO_FD],
  recvmsg: [NO_FD, bytes(), 0, 16, ints(), 0],
  tcgetattr: [NO_FD, new Uint8Array(64)],
  tcsetattr: [NO_FD, new Uint8Array(64)],
  setWindowSize: [NO_FD, 24, 80],
};

const notNumbers: readonly unknown[] = [
  undefined,
  null,
  true,
  '1',
  {},
  [],
  1n,
  Symbol('x'),
  () => 1,
  new Uint8Array(4),
];
const notArrays: readonly unknown[] = [
  ...[undefined, null, true, 1, 'bytes', {}, [1, 2], 1n],
  ...[new ArrayBuffer(64), new SharedArrayBuffer(64), new DataView(new ArrayBuffer(64))],
];
const notTexts: readonly unknown[] = [undefined, null, 1, {}, [], 1n, bytes(), Symbol('x'), 'a\0b', 'x'.repeat(4096)];

t.test('the table names every call but those that have tests of their own', async (t) => {
  const ofTheLoop = ['watch', 'watchWaits', 'arm', 'disarm', 'unwatch', 'loopFd', 'loopTimeout', 'fsyncLater'];
  const ofJavaScript = ['keep', 'forget'];
  const named = [...Object.keys(harmless), ...ofTheLoop, ...ofJavaScript, 'spawn', 'exitNow', 'strerror'];
  t.same(Object.keys(sys).toSorted(), named.toSorted());
});

for (const [name, values] of Object.entries(harmless))
  t.test(`${name} refuses arguments of the wrong type, and too few`, async (t) => {
    t.type(call(name, values), 'number', 'the harmless call');
    for (const [i, good] of values.entries()) {
      const bad = typeof good === 'number' ? notNumbers : typeof good === 'string' ? notTexts : notArrays;
      for (const value of bad) {
        const given = values.with(i, value);
        t.equal(call(name, given), -EINVAL, `argument ${i} is ${typeof value} ${String(value).slice(0, 20)}`);
      }
      t.equal(call(name, values.slice(0, i)), -EINVAL, `${i} arguments`);
    }
    t.type(call(name, [...values, ...new Array(20).fill('more')]), 'number', 'too many are not looked at');
  });

t.test('exitNow without a number does not end the process', async (t) => {
  for (const value of notNumbers) t.equal(call('exitNow', [value]), -EINVAL);
});

t.test('strerror of anything is a text', async (t) => {
  for (const value of [0, -1, 4095, 2 ** 31 - 1, -(2 ** 31), {}, undefined, 'x'])
    t.type(call('strerror', [value]), 'string');
});

t.test('spawn refuses what it cannot use', async (t) => {
  const good: Record<string, unknown> = {
    path: join(dir, 'missing'),
    argv: Buffer.from('x\0'),
    envp: Buffer.alloc(0),
    fdMap: new Int32Array(0),
    keepFds: new Int32Array(0),
    deathSignal: 0,
    listenPidOffset: -1,
    oomScoreAdj: '',
    nofileSoft: 0,
    nofileHard: 0,
    cwdFd: -1,
  };
  t.equal(call('spawn', [good]), -constants.errno.ENOENT);
  for (const [name, value] of Object.entries(good)) {
    const bad = typeof value === 'number' ? notNumbers : typeof value === 'string' ? notTexts : notArrays;
    // An absent working directory is ours.
    for (const wrong of bad.filter((each) => name !== 'cwdFd' || (each !== undefined && each !== null)))
      t.equal(call('spawn', [{ ...good, [name]: wrong }]), -EINVAL, `${name} is ${typeof wrong}`);
  }
  for (const offset of [0, 1, 2 ** 31 - 1])
    t.equal(call('spawn', [{ ...good, listenPidOffset: offset }]), -EINVAL, `slot at ${offset} of nothing`);
});

/** A buffer in the middle of canaries. */
function guarded(length: number): { view: Uint8Array; intact: () => boolean } {
  const whole = new Uint8Array(length + 128).fill(0xc3);
  const view = whole.subarray(64, 64 + length);
  view.fill(0);
  const guards = [whole.subarray(0, 64), whole.subarray(64 + length)];
  return { view, intact: () => guards.every((guard) => guard.every((byte) => byte === 0xc3)) };
}

t.test(`offsets and lengths outside of the buffer are refused, those within it work, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const fds = new Int32Array(2);
  sys.socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC | O_NONBLOCK, fds);
  const [a = -1, b = -1] = fds;
  const numbers = [
    -1,
    -0.5,
    0,
    1,
    7,
    15,
    16,
    17,
    1e9,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    1e300,
    Infinity,
    -Infinity,
    -(2 ** 31),
  ];
  let within = 0;
  for (let i = 0; i < 20_000; i++) {
    const { view, intact } = guarded(random.below(20));
    const [offset, length] = [random.pick(numbers), random.pick(numbers)];
    const fits = offset >= 0 && length >= 0 && offset + length <= view.length;
    const message = new Uint8Array(random.below(20) + 1).fill(0x77);
    sys.write(a, message, 0, message.length);
    const results = [
      sys.read(b, view, offset, length),
      sys.recvmsg(b, view, offset, length, new Int32Array(1), MSG_DONTWAIT),
      sys.write(b, view, offset, length),
      sys.sendmsg(b, view, offset, length, new Int32Array(0), MSG_DONTWAIT),
    ];
    if (fits) within++;
    for (const [j, result] of results.entries()) {
      const right = fits ? result >= 0 || j === 1 : result === -EINVAL;
      if (!right || !intact()) t.fail(`call ${j}: offset ${offset}, length ${length} of ${view.length}: ${result}`);
    }
    for (const fd of [a, b]) for (let more = 1; more > 0; ) more = sys.read(fd, guarded(64).view, 0, 64);
  }
  t.ok(within > 300, `${within} within the buffer`);
  sys.close(a);
  sys.close(b);
});

t.test('typed arrays of every kind are as long as they are', async (t) => {
  const fds = new Int32Array(2);
  sys.pipe2(fds, O_NONBLOCK);
  const [readFd = -1, writeFd = -1] = fds;
  const kinds = [Int8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array];
  for (const Kind of [...kinds, Float64Array, BigInt64Array, BigUint64Array]) {
    const view = new Kind(8);
    t.equal(call('write', [writeFd, view, 0, view.byteLength]), view.byteLength, Kind.name);
    t.equal(call('write', [writeFd, view, 0, view.byteLength + 1]), -EINVAL, Kind.name);
    t.equal(call('read', [readFd, view, 0, view.byteLength]), view.byteLength, Kind.name);
  }
  sys.close(readFd);
  sys.close(writeFd);
});

t.test('a buffer whose memory was given away is empty', async (t) => {
  const view = new Uint8Array(16);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  t.equal(sys.read(NO_FD, view, 0, 1), -EINVAL);
});
