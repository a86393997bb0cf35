/** Memory that is kept: reads and writes that name it by nothing but an offset, within its bounds, on one thread. */
import { constants } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CLOCK_MONOTONIC, O_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { libexecDir } from '../../../src/native/libexec.ts';
import { bytesOf } from '../../../src/native/shared-bytes.ts';
import { sys } from '../../../src/native/sys.ts';
import { aPipe, pipe } from './fake-sys.ts';

const { EAGAIN, EBADF, EINVAL } = constants.errno;
const SIZE = 4096;

interface Raw {
  keep(...values: readonly unknown[]): number;
  readKept(...values: readonly unknown[]): number;
  writeKept(...values: readonly unknown[]): number;
  poll(...values: readonly unknown[]): number;
  clockGettime(...values: readonly unknown[]): number;
  readonly answers: Float64Array;
}

/** The addon a second time, with a desk of its own: below src/native/sys.ts, which lets nothing wrong through. */
function load(): Raw {
  const module: { exports: Partial<Raw> } = { exports: {} };
  process.dlopen(module, join(libexecDir, 'sys.node'));
  return module.exports as Raw;
}

const shared = () => new Uint8Array(new SharedArrayBuffer(SIZE));

t.test('what is read and written lies at its offset', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const raw = load();
  const bytes = shared();
  t.equal(raw.keep(bytes), 0);
  bytes.set(Buffer.from('abcdef'), 10);
  t.equal(raw.writeKept(writeFd, 12, 3), 3);
  t.equal(raw.readKept(readFd, SIZE - 3, 3), 3, 'up to its end');
  t.equal(Buffer.from(bytes.subarray(SIZE - 3)).toString(), 'cde');
  t.equal(raw.readKept(readFd, 0, 8), -EAGAIN, 'an errno as ever');
  t.equal(raw.writeKept(700, 0, 1), -EBADF);
  t.equal(raw.writeKept(writeFd, SIZE, 0), 0, 'nothing, at its end');
});

t.test('nothing outside of it is touched, and nothing without it', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  sys.write(writeFd, Buffer.from('there is something'), 0, 18);
  const raw = load();
  const wrong: readonly (readonly unknown[])[] = [
    ...[
      [-1, 1],
      [0, -1],
      [0, SIZE + 1],
      [SIZE, 1],
      [1, SIZE],
      [Number.NaN, 1],
      [0, Number.NaN],
      [2 ** 53, 2 ** 53],
    ],
    ...[
      [Number.POSITIVE_INFINITY, 1],
      [0, Number.POSITIVE_INFINITY],
      [Number.NEGATIVE_INFINITY, 1],
      ['0', 1],
      [0, '1'],
      [0n, 1],
      [0],
    ],
  ];
  const all = (what: string) => {
    for (const values of wrong) {
      t.equal(raw.readKept(readFd, ...values), -EINVAL, `${what}: read at ${String(values)}`);
      t.equal(raw.writeKept(writeFd, ...values), -EINVAL, `${what}: write at ${String(values)}`);
    }
  };
  all('nothing kept');
  t.equal(raw.readKept(readFd, 0, 1), -EINVAL, 'nothing kept');
  t.equal(raw.keep(shared()), 0);
  all('kept');
  for (const fd of [1.5, Number.NaN, 2 ** 31, '1', undefined]) {
    t.equal(raw.readKept(fd, 0, 1), -EINVAL);
    t.equal(raw.writeKept(fd, 0, 1), -EINVAL);
  }
  t.equal(raw.readKept(readFd, 0, 1), 1);
  t.equal(raw.keep(), 0);
  t.equal(raw.readKept(readFd, 0, 1), -EINVAL, 'given up');
});

t.test('what may move or be of another size is not kept, and nothing is then', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  const raw = load();
  const buffer = new SharedArrayBuffer(SIZE);
  for (const wrong of [
    ...[
      new Uint8Array(SIZE),
      Buffer.alloc(8),
      new Int32Array(buffer),
      new DataView(buffer),
      buffer,
      {},
      null,
      undefined,
      1,
    ],
  ]) {
    t.equal(raw.keep(shared()), 0);
    t.equal(raw.keep(wrong), -EINVAL);
    t.equal(raw.readKept(readFd, 0, 1), -EINVAL);
  }
});

t.test('each thread that loads it keeps its own', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const [one, other] = [load(), load()];
  const bytes = shared();
  one.keep(bytes);
  sys.write(writeFd, Buffer.from('x'), 0, 1);
  t.equal(other.readKept(readFd, 0, 1), -EINVAL);
  t.equal(one.readKept(readFd, 0, 1), 1);
  t.equal(String.fromCharCode(bytes[0] ?? 0), 'x');
});

t.test('through sys it is the same read and write, whichever array is kept', async (t) => {
  const { readFd, writeFd } = pipe(O_CLOEXEC | O_NONBLOCK);
  const [first, second] = [shared(), shared()];
  const round = (what: string) => {
    for (const [from, to] of [
      [first, second],
      [second, first],
      [first, first],
      [new Uint8Array(SIZE), first],
    ] as const) {
      from.fill(0x61, 100, 103);
      to.fill(0, 200, 300);
      t.equal(sys.write(writeFd, from, 100, 3), 3, what);
      t.equal(sys.read(readFd, to, 200, 50), 3, what);
      t.same([...to.subarray(200, 204)], [0x61, 0x61, 0x61, 0], what);
      t.equal(sys.read(readFd, to, SIZE, 1), -EINVAL, what);
      t.equal(sys.write(writeFd, from, SIZE - 1, 2), -EINVAL, what);
    }
  };
  round('none');
  t.equal(sys.keep(new Uint8Array(8)), -EINVAL);
  round('none, after one that cannot be');
  t.equal(sys.keep(first), 0);
  round('the first');
  t.equal(sys.keep(second), 0);
  round('still the first');
  sys.forget(second);
  round('still the first, too');
  sys.forget(first);
  round('none again');
  t.equal(sys.keep(second), 0);
  round('the second');
  sys.forget(second);
  for (const fd of [readFd, writeFd]) sys.close(fd);
});

t.test('the first array that is kept stays so until it is forgotten', async (t) => {
  const { readFd, writeFd } = aPipe(t);
  const [first, second] = [shared(), shared()];
  sys.keep(first);
  sys.keep(second);
  sys.forget(second);
  sys.write(writeFd, Buffer.from('xy'), 0, 2);
  t.equal(sys.read(readFd, second, 0, 1), 1);
  t.equal(sys.read(readFd, first, 0, 1), 1);
  t.same([first[0], second[0]], [0x79, 0x78], 'each byte where it was wanted');
  sys.forget(first);
});

t.test('a memory has one view of its bytes', async (t) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  const bytes = bytesOf(memory);
  t.equal(bytesOf(memory), bytes);
  t.not(bytesOf(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })), bytes);
  memory.grow(1);
  t.equal(bytesOf(memory).length, 2 * 65536, 'one that has grown has another');
});

t.test('a wait tells how long it was, and a clock what it shows, beside the result', async (t) => {
  const raw = load();
  const set = new Int32Array(2);
  set[0] = -1;
  t.equal(raw.poll(set, 1, 15), 0);
  t.ok((raw.answers[2] ?? 0) >= 15, `${raw.answers[2]} ms`);
  t.equal(raw.poll(set, 1, 0), 0);
  t.equal(raw.answers[2], 0, 'no wait');
  t.equal(raw.clockGettime(CLOCK_MONOTONIC), 0);
  const ms = (raw.answers[0] ?? 0) * 1000 + (raw.answers[1] ?? 0) / 1e6;
  t.ok(Math.abs(ms - Number(process.hrtime.bigint()) / 1e6) < 10_000, `${ms} ms`);
});
