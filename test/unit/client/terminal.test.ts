/** What the attach client does to its terminal and tells of it: raw mode, to the bit, and the window's size. */
import { closeSync, constants, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeRaw } from '../../../src/client/raw-terminal.ts';
import { WindowSize } from '../../../src/client/window-size.ts';
import { sys } from '../../../src/native/sys.ts';

const EIO = -5;

/** struct termios of Linux: four words of flags, the line discipline, 19 control characters. */
function termios(flags: readonly [number, number, number, number], character: number): Buffer {
  const bytes = Buffer.alloc(64, character);
  for (const [i, word] of flags.entries()) bytes.writeUInt32LE(word, 4 * i);
  return bytes;
}

t.test('raw mode is what cfmakeraw(3) makes of any terminal, and is taken back', async (t) => {
  const ones = 0xffff_ffff;
  for (const [before, after] of [
    [termios([ones, ones, ones, ones], 7), termios([0xffff_fa14, 0xffff_fffe, 0xffff_feff, 0xffff_7fb4], 7)],
    [termios([0, 0, 0, 0], 0), termios([0, 0, 0x30, 0], 0)],
    [termios([0x4500, 5, 0xbf, 0x8a3b], 1), termios([0x4000, 4, 0xbf, 0xa30], 1)], // as a shell has it
  ] as const) {
    after[17 + 5] = 0; // VTIME, VMIN
    after[17 + 6] = 1;
    const set: Buffer[] = [];
    const restore = makeRaw(
      {
        strerror: sys.strerror,
        tcgetattr: (fd, bytes) => {
          t.equal(fd, 5);
          bytes.set(before);
          return 0;
        },
        tcsetattr: (_fd, bytes) => {
          set.push(Buffer.from(bytes));
          return 0;
        },
      },
      5,
    );
    t.same(set, [after]);
    restore();
    t.same(set, [after, before]);
  }
});

t.test('what is no terminal, or cannot be changed, is said; one that is gone in the end is not', async (t) => {
  let setting = EIO;
  const calls = { strerror: sys.strerror, tcgetattr: () => 0, tcsetattr: () => setting };
  t.throws(() => makeRaw({ ...calls, tcgetattr: () => -25 }, 0), {
    name: 'ClientError',
    message: 'terminal: tcgetattr: Inappropriate ioctl for device',
  });
  t.throws(() => makeRaw(calls, 0), { name: 'ClientError', message: 'terminal: tcsetattr: Input/output error' });
  setting = 0;
  const restore = makeRaw(calls, 0);
  setting = EIO;
  restore();
});

t.test('a size is told once, within what conmon takes; one that finds no room is not counted as told', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'conmon-size-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'ctl');
  sys.mkfifo(path, 0o600);
  t.throws(() => new WindowSize(path), { code: 'ENXIO' }, 'nobody reads it');
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const bytes = Buffer.alloc(100_000);
  const heard = () => bytes.toString('latin1', 0, Math.max(sys.read(reader, bytes, 0, bytes.length), 0));
  const size = new WindowSize(path);
  for (const [columns, rows] of [
    [80, 24],
    [80, 24],
    [24, 80],
    [1000, 1000],
    [1001, 2000],
    [1, 1001],
  ] as const)
    size.send(columns, rows);
  t.equal(heard(), '1 24 80\n1 80 24\n1 1000 1000\n1 1000 1\n');
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  t.throws(
    () => {
      for (;;) writeFileSync(writer, 'x');
    },
    { code: 'EAGAIN' },
  );
  closeSync(writer);
  size.send(5, 5);
  heard();
  size.send(5, 5);
  t.equal(heard(), '1 5 5\n');
  size.close();
  t.equal(sys.read(reader, bytes, 0, 1), 0, 'nobody has it open any longer');
  closeSync(reader);
  symlinkSync(path, `${path}.link`);
  t.throws(() => new WindowSize(`${path}.link`), { code: 'ELOOP' });
});
