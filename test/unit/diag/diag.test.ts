/** Diagnostics and errors: the texts that callers grep for, and that saying them never hurts. */
import { constants } from 'node:os';
import t from 'tap';
import { Diag, type DiagLevel } from '../../../src/diag/diag.ts';
import { ConmonError, errorText } from '../../../src/diag/error.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';

const LEVELS: readonly DiagLevel[] = ['error', 'warn', 'info', 'debug', 'trace'];

/** A diag whose lines are kept. */
function diagAt(level: DiagLevel, fd?: number): { diag: Diag; lines: string[]; fds: number[] } {
  const lines: string[] = [];
  const fds: number[] = [];
  const sys = fakeSys({
    write: (to, bytes, offset, length) => {
      fds.push(to);
      lines.push(textOf(bytes, offset, length));
      return length;
    },
  });
  return { diag: new Diag(sys, { level, syslogName: undefined }, fd), lines, fds };
}

t.test("each level has its prefix; trace shares debug's", async (t) => {
  const { diag, lines } = diagAt('trace');
  for (const level of LEVELS) diag[level](`at ${level}`);
  t.same(lines, [
    '[conmon:e]: at error\n',
    '[conmon:w]: at warn\n',
    '[conmon:i]: at info\n',
    '[conmon:d]: at debug\n',
    '[conmon:d]: at trace\n',
  ]);
});

t.test('what is more talkative than the level is not said', async (t) => {
  for (const [rank, level] of LEVELS.entries()) {
    const { diag, lines } = diagAt(level);
    for (const each of LEVELS) diag[each]('x');
    t.equal(lines.length, rank + 1, level);
  }
});

t.test('one diagnostic is one write to stderr', async (t) => {
  const { diag, lines, fds } = diagAt('info');
  diag.info('ünï');
  t.same(fds, [2]);
  t.same(lines, [Buffer.from('[conmon:i]: ünï\n').toString('latin1')]);
  const other = diagAt('info', 7);
  other.diag.warn('x');
  t.same(other.fds, [7]);
});

t.test('a text of any length is bounded', async (t) => {
  const { diag, lines } = diagAt('info');
  diag.error('x'.repeat(1 << 20));
  t.ok((lines[0]?.length ?? 0) < 20_000);
  t.match(lines[0], /x\n$/, 'and still a line');
});

t.test('a stderr that is closed, full or gone is no error', async (t) => {
  for (const errno of [constants.errno.EBADF, constants.errno.EAGAIN, constants.errno.EPIPE, constants.errno.EIO]) {
    const diag = new Diag(fakeSys({ write: () => -errno }), { level: 'info', syslogName: undefined });
    diag.error('nobody hears it');
  }
  t.pass();
});

t.test('an error names the thing and the reason', async (t) => {
  const cause = new Error('cause');
  const error = new ConmonError('LOG_OPEN_FAILED', 'Failed to open log file /x:', {
    reason: 'No such file',
    path: '/x',
    cause,
  });
  t.equal(error.message, 'Failed to open log file /x: No such file');
  t.match(error, { name: 'ConmonError', code: 'LOG_OPEN_FAILED', cause, detail: { path: '/x' } });
  t.equal(new ConmonError('X', 'alone').message, 'alone');
  t.ok(error instanceof Error);
});

t.test('anything that is thrown has a text', async (t) => {
  t.equal(errorText(new ConmonError('X', 'a', { reason: 'b' })), 'a b');
  t.equal(errorText('text'), 'text');
  t.equal(errorText(undefined), 'undefined');
});
