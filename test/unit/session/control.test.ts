/** A control fifo from the writer's end to the command, and corners of its lines. */
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { type ControlCommand, type ControlFifo, ControlParser, LINE_MAX } from '../../../src/proto/control-line.ts';
import { ControlReader } from '../../../src/session/control.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const ENOMEM = -12;
const REOPEN: ControlCommand = { kind: 'reopen' };
const resize = (rows: number, columns: number): ControlCommand => ({ kind: 'resize', rows, columns });

/** A fifo with a reader on it; a blocking writer as engines have it. */
function fifo(t: Test, name: ControlFifo) {
  const directory = mkdtempSync(join(tmpdir(), 'conmon-fifo-'));
  const path = join(directory, name);
  sys.mkfifo(path, 0o600);
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeFd = openSync(path, constants.O_WRONLY);
  const complaints = new Complaints();
  const commands: ControlCommand[] = [];
  const reader = new ControlReader(sys, complaints.diag, name, readFd, (command) => commands.push(command));
  t.teardown(() => {
    reader.close();
    closeSync(readFd);
    closeSync(writeFd);
    rmSync(directory, { recursive: true, force: true });
  });
  return { path, writeFd, commands, reader, lines: complaints.lines, say: (text: string) => writeSync(writeFd, text) };
}

t.test('commands come through in order, from writers that come and go', async (t) => {
  const { path, commands, lines } = fifo(t, 'ctl');
  for (const text of ['1 24 80\n', '2 0 0\n1 1 2\n', '1 3', ' 4\n']) {
    const fd = openSync(path, constants.O_WRONLY);
    writeSync(fd, text);
    closeSync(fd);
  }
  await waitFor('all commands', () => commands.length === 4);
  t.same(commands, [resize(24, 80), REOPEN, resize(1, 2), resize(3, 4)]);
  t.same(lines, []);
});

t.test('garbage costs one warning a read, whatever follows in a later read is heard', async (t) => {
  const { say, commands, lines } = fifo(t, 'winsz');
  say('nonsense\n1 2\n');
  await waitFor('the warning', () => lines.length > 0);
  t.same(lines, ['[conmon:w]: Failed to parse window size']);
  t.same(commands, []);
  say('3 4\n');
  await waitFor('the command', () => commands.length > 0);
  t.same(commands, [resize(3, 4)]);
});

t.test('more than one read holds comes through all the same', async (t) => {
  const { say, commands, lines } = fifo(t, 'ctl');
  const text = Array.from({ length: 1000 }, (_, i) => `1 ${i} ${1000 - i}\n`).join('');
  say(text);
  await waitFor('all commands', () => commands.length === 1000);
  t.same(
    commands,
    Array.from({ length: 1000 }, (_, i) => resize(i, 1000 - i)),
  );
  t.same(lines, []);
});

t.test('once closed nothing is heard', async (t) => {
  const { say, commands, reader } = fifo(t, 'ctl');
  say('1 1 1\n');
  await waitFor('the command', () => commands.length === 1);
  reader.close();
  reader.close();
  say('1 2 2\n');
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(commands.length, 1);
});

t.test('a fifo that cannot be watched is told, and the container goes on without', async (t) => {
  const { diag, lines } = new Complaints();
  const failing = { watch: () => ENOMEM } as Partial<Sys>;
  const reader = new ControlReader(realSysBut(failing), diag, 'ctl', 0, () => {});
  t.same(lines, ['[conmon:e]: Failed to watch ctl fifo: Cannot allocate memory']);
  reader.close();
});

/** What a parser makes of one read. */
function parse(name: ControlFifo, text: string) {
  return new ControlParser(name).push(Buffer.from(text, 'latin1'));
}

t.test('numbers are read as scanf reads them: signs, leading zeros, blanks of every kind', async (t) => {
  for (const line of [
    '1 +24 80',
    '1 024 0000000000000080',
    ' \t\v\f\r1 \t 24 \r80',
    '1 24 80 99',
    '1 24 80x',
    '1 24 80\0x',
  ])
    t.same(parse('ctl', `${line}\n`).commands, [resize(24, 80)], JSON.stringify(line));
  for (const line of [
    '1\xa024\xa080',
    '1,24,80',
    '1 24\0 80',
    '0x1 24 80',
    '1 2 4e1'.slice(0, 3),
    '--1 24 80',
    '1 - 80',
  ])
    t.same(parse('ctl', `${line}\n`).commands, [], JSON.stringify(line));
});

t.test('numbers of any length are compared, not cut', async (t) => {
  for (const number of ['1001', '99999999999', `1${'0'.repeat(150)}`, '-1', '-99999999999999999999']) {
    const { commands, warning } = parse('ctl', `1 ${number} 80\n`);
    t.same(commands, [], number);
    t.match(warning, /^Invalid window size/, number);
  }
  t.match(parse('ctl', `${'9'.repeat(100)} 1 1\n`).warning, /^Invalid control message type/);
});

t.test('a reopen asks for sizes that are none, and is refused with sizes that are wrong', async (t) => {
  t.same(parse('ctl', '2 0 0\n').commands, [REOPEN]);
  t.same(parse('ctl', '2 1000 7\n').commands, [REOPEN]);
  t.same(parse('ctl', '2 1001 0\n').commands, []);
  t.same(parse('ctl', '2\n').commands, []);
  t.same(parse('winsz', '2 0 0\n').commands, [resize(2, 0)], 'on winsz it is a size');
});

t.test('nothing of a bad read is left for the next one', async (t) => {
  const parser = new ControlParser('ctl');
  t.ok(parser.push(Buffer.from('bad\n1 2')).warning);
  t.same(parser.push(Buffer.from('1 24 80\n')), { commands: [resize(24, 80)], warning: undefined });
  t.ok(parser.push(Buffer.from('x'.repeat(LINE_MAX + 1))).warning);
  t.same(parser.push(Buffer.from('1 24 80\n')), { commands: [resize(24, 80)], warning: undefined });
  t.same(parser.push(Buffer.alloc(0)), { commands: [], warning: undefined }, 'an empty read is nothing');
});

t.test('the bytes of a read may lie anywhere in their buffer, and may be overwritten afterwards', async (t) => {
  const parser = new ControlParser('ctl');
  const buffer = new Uint8Array(64);
  buffer.set(Buffer.from('1 24 '), 10);
  parser.push(buffer.subarray(10, 15));
  buffer.fill(0x39);
  t.same(parser.push(Buffer.from('80\n')).commands, [resize(24, 80)]);
});
