/** The pid file that a runtime leaves, or does not. */
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { readPidFile } from '../../../src/session/pid-file.ts';

const dir = mkdtempSync(join(tmpdir(), 'conmon-pid-file-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const path = join(dir, 'pidfile');

function read(content: string): number | string {
  writeFileSync(path, content, 'latin1');
  return readPidFile(sys, path);
}

t.test('a pid, with blanks around it or without', async (t) => {
  for (const text of ['1234', '1234\n', ' 1234 ', '\t1234\r\n', '001234'])
    t.equal(read(text), 1234, JSON.stringify(text));
  t.equal(read('1'), 1);
  t.equal(read('4194304'), 4194304);
});

t.test('an empty file means that nothing was started', async (t) => {
  for (const text of ['', '\n', '   ']) t.equal(read(text), `${path} is empty`);
});

t.test('anything else is no pid, and the text says what it was', async (t) => {
  for (const text of [
    '0',
    '-1',
    '4194305',
    '1e3',
    '0x10',
    '12 34',
    '12a',
    'abc',
    '1\0',
    '\0',
    '\xff',
    '1.0',
    '9'.repeat(400),
  ])
    t.match(read(text), new RegExp(`^${path} holds no pid: "`), JSON.stringify(text));
});

t.test('a missing file, a directory and a dangling link say why', async (t) => {
  t.equal(readPidFile(sys, join(dir, 'missing')), `${join(dir, 'missing')}: No such file or directory`);
  mkdirSync(join(dir, 'directory'));
  t.equal(readPidFile(sys, join(dir, 'directory')), `${join(dir, 'directory')}: Is a directory`);
  symlinkSync('nowhere', join(dir, 'link'));
  t.equal(readPidFile(sys, join(dir, 'link')), `${join(dir, 'link')}: No such file or directory`);
});

t.test('a FIFO does not hang, with a writer or without', async (t) => {
  const fifo = join(dir, 'fifo');
  sys.mkfifo(fifo, 0o600);
  t.equal(readPidFile(sys, fifo), `${fifo} is empty`);
  const writer = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  t.match(readPidFile(sys, fifo), /Resource temporarily unavailable/);
  closeSync(writer);
});

t.test('a huge file is not read whole', async (t) => {
  writeFileSync(path, '1234\n');
  truncateSync(path, 2 ** 40);
  t.match(readPidFile(sys, path), /holds no pid/);
});
