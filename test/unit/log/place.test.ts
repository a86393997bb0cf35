/** What is written lies in memory as it will lie in the file, to the byte of a CPU's cache line; nothing else depends on it. */
import { writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { DriverField, driverState } from '../../../src/log/driver-state.ts';
import { AT_EMPTY_PATH } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';

const LINE_BYTES = 64;

/** A driver on a file that has `before` already, and how far each write was from its place. */
function rigOn(test: Test, before: string): { rig: DriverRig; off: number[] } {
  const rig = new DriverRig(test);
  rig.driver.close();
  writeFileSync(rig.path, before);
  driverState(rig.memory, 0).fill(0);
  const off: number[] = [];
  const stat = new BigInt64Array(5);
  rig.calls = {
    sys: realSysBut({
      write(fd, bytes, offset, length) {
        sys.fstatat(fd, '', AT_EMPTY_PATH, stat);
        off.push((bytes.byteOffset + offset - Number(stat[4])) & (LINE_BYTES - 1));
        return sys.write(fd, bytes, offset, length);
      },
    }),
  };
  rig.driver = rig.takeOver();
  return { rig, off };
}

t.test('a file of any length goes on with the same bytes, from their place', (t) => {
  for (let length = 0; length < LINE_BYTES; length++) {
    const before = 'b'.repeat(length);
    const { rig, off } = rigOn(t, before);
    const [out, err] = [rig.lead(STDOUT), rig.lead(STDERR)];
    rig.consume(STDOUT, Buffer.from('one\ntwo\nthr'));
    rig.consume(STDERR, Buffer.from('e'));
    rig.consume(STDOUT, Buffer.from('ee\nfour\n\nfi'));
    rig.driver.settle(STDOUT, true);
    rig.driver.settle(STDERR, true);
    rig.consume(STDOUT, Buffer.from('six\n'));
    const expected = [`${out}F one`, `${out}F two`, `${out}F three`, `${out}F four`, `${out}F `, `${out}P fi`];
    t.equal(rig.content.toString(), `${before}${[...expected, `${err}P e`, `${out}F six`, ''].join('\n')}`);
    t.ok(off.length >= 5);
    t.notOk(
      off.slice(0, 3).some((bytes) => bytes !== 0),
      `length ${length}: ${off}`,
    );
    t.equal(off.at(-1), 0);
  }
  t.end();
});

t.test('also a record that no read has ended yet', (t) => {
  const { rig, off } = rigOn(t, '');
  for (let i = 1; i < 100; i++) rig.consume(STDOUT, Buffer.from(`${'x'.repeat(i)}\n${'y'.repeat(i)}`));
  t.ok(off.length >= 99);
  t.same([...new Set(off)], [0]);
  t.end();
});

t.test('a thread that died while it chose the place has left an empty area', (t) => {
  const { rig } = rigOn(t, '');
  rig.consume(STDOUT, Buffer.from('one\n'));
  driverState(rig.memory, 0)[DriverField.stdoutDoneBytes] = 50;
  rig.driver = rig.takeOver();
  t.equal(rig.driver.stalled, false);
  rig.driver.shed();
  rig.consume(STDOUT, Buffer.from('two\n'));
  t.equal(rig.content.toString(), `${rig.lead(STDOUT)}F one\n${rig.lead(STDOUT)}F two\n`);
  t.equal(rig.counters.droppedRecords, 0);
  t.end();
});

t.test('pages of an area that holds nothing are given back, wherever the next record will go', (t) => {
  const { rig } = rigOn(t, 'x'.repeat(33));
  rig.consume(STDOUT, Buffer.from('one\n'));
  rig.driver.rest();
  t.equal(rig.forgotten.length, 2);
  rig.consume(STDOUT, Buffer.from('two'));
  rig.driver.rest();
  t.equal(rig.forgotten.length, 3, 'of stderr alone: stdout has an open record');
  rig.driver.settle(STDOUT, true);
  t.match(rig.content.toString(), /^x{33}\S+ stdout F one\n\S+ stdout P two\n$/);
  t.end();
});
