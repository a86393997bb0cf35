/** For src/log/file-sink.ts: a log file whose thread died goes on where it was, by what the shared memory says of it. */
import { appendFileSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { DriverField } from '../../../src/log/driver-state.ts';
import { Disk } from './sink-rig.ts';

const { ENOSPC } = constants.errno;
const REST_OWED = -1;
const line = (letter: string): string => `${letter.repeat(9)}\n`;

/** The sink's thread dies, and another one goes on. */
function die(disk: Disk): void {
  const before = disk.sink;
  disk.sink = disk.takeOver();
  before.close();
}

t.test('what was logged before a death, also into files that are gone, counts for the global maximum', (t) => {
  const disk = new Disk(t, { fileMaxBytes: 20, globalMaxBytes: 50 });
  disk.write(line('a'), line('b'), line('c'));
  t.equal(disk.content, line('c'));
  die(disk);
  disk.write(line('d'), line('e'));
  disk.write(line('f'));
  t.equal(disk.content, line('e'));
  t.match(disk.counters, { writtenBytes: 50, beyondLimitBytes: 10 });
  t.end();
});

t.test('what a file held before it was opened counts for both maxima', (t) => {
  const disk = new Disk(t, { globalMaxBytes: 50 });
  appendFileSync(disk.path, line('o').repeat(4));
  disk.state[DriverField.opened] = 0;
  die(disk);
  disk.write(line('a'), line('b'));
  t.equal(disk.content, line('o').repeat(4) + line('a'));
  t.end();
});

t.test('a record that a death has left half in the file is ended in that file, which is not full for it', (t) => {
  const disk = new Disk(t, { fileMaxBytes: 20 });
  disk.write(line('a'));
  appendFileSync(disk.path, 'bbbb');
  disk.state[DriverField.fragmentBytes] = 4;
  die(disk);
  disk.write(line('b'));
  t.equal(disk.content, line('a') + line('b'));
  t.equal(disk.state[DriverField.sizeBytes], 20);
  t.end();
});

t.test('the line of a dropped record, whose end died with its thread, is ended before anything else', (t) => {
  const disk = new Disk(t);
  disk.write(line('a'));
  appendFileSync(disk.path, 'bbbb');
  disk.state[DriverField.fragmentBytes] = REST_OWED;
  die(disk);
  t.ok(disk.sink.stalled);
  t.match(disk.complaints.lines, [/the end of a record is lost/]);
  disk.retry();
  disk.write(line('c'));
  t.equal(disk.content, `${line('a')}bbbb\n${line('c')}`);
  t.end();
});

t.test('who dies while a loss is told has it told again, on a line of its own', (t) => {
  const disk = new Disk(t);
  disk.answers.push(-ENOSPC);
  disk.write(line('a'));
  disk.drop();
  appendFileSync(disk.path, 'noti');
  disk.state[DriverField.fragmentBytes] = 4;
  die(disk);
  t.ok(disk.sink.stalled);
  disk.retry();
  disk.write(line('b'));
  t.match(disk.content, /^noti\nnotice: .*dropped 10 bytes in 1 records.*\nbbbbbbbbb\n$/);
  t.end();
});
