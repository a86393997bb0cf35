/** Lines on the control fifos: whole, in pieces, and wrong. */
import t from 'tap';
import { type ControlFifo, ControlParser, LINE_MAX } from '../../../src/proto/control-line.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';

const resize = (rows: number, columns: number) => ({ kind: 'resize', rows, columns }) as const;
const REOPEN = { kind: 'reopen' } as const;

/** What a fresh parser makes of reads, one after the other. */
function push(fifo: ControlFifo, ...reads: readonly string[]) {
  const parser = new ControlParser(fifo);
  const results = reads.map((text) => parser.push(Buffer.from(text, 'latin1')));
  return {
    commands: results.flatMap(({ commands }) => commands),
    warnings: results.map(({ warning }) => warning).filter((warning) => warning !== undefined),
  };
}

t.test('ctl: 1 HEIGHT WIDTH resizes, 2 0 0 reopens the logs', async (t) => {
  t.same(push('ctl', '1 24 80\n'), { commands: [resize(24, 80)], warnings: [] });
  t.same(push('ctl', '2 0 0\n'), { commands: [REOPEN], warnings: [] });
  t.same(push('ctl', '1 24 80\n2 0 0\n1 0 0\n').commands, [resize(24, 80), REOPEN, resize(0, 0)]);
});

t.test('winsz: HEIGHT WIDTH resizes', async (t) => {
  t.same(push('winsz', '24 80\n50 132\n'), { commands: [resize(24, 80), resize(50, 132)], warnings: [] });
});

t.test('a line may come in pieces, several in one', async (t) => {
  const line = '1 24 80\n2 0 0\n';
  for (let cut = 0; cut <= line.length; cut++)
    t.same(push('ctl', line.slice(0, cut), line.slice(cut)).commands, [resize(24, 80), REOPEN], `cut at ${cut}`);
  t.same(push('ctl', ...line).commands, [resize(24, 80), REOPEN], 'byte by byte');
});

t.test('sizes from 0 to 1000 are taken, others are not', async (t) => {
  t.same(push('ctl', '1 1000 1000\n').commands, [resize(1000, 1000)]);
  for (const line of ['1 1001 80', '1 24 1001', '1 -1 80', '1 24 -1']) {
    const { commands, warnings } = push('ctl', `${line}\n`);
    t.same(commands, [], line);
    t.match(warnings, [/^Invalid window size/], line);
  }
});

t.test('anything else is a warning, and the rest of that read is dropped', async (t) => {
  const wrong = ['', 'x', '1', '1 24', 'x 24 80', '1 a b', '3 0 0', '0 0 0', '-1 0 0', '1e1 2 3', '٣ 24 80', '\0'];
  for (const line of wrong) {
    const { commands, warnings } = push('ctl', `1 1 1\n${line}\n2 0 0\n`, '1 2 2\n');
    t.same(commands, [resize(1, 1), resize(2, 2)], JSON.stringify(line));
    t.equal(warnings.length, 1, JSON.stringify(line));
  }
});

t.test('a line that never ends is dropped and forgotten', async (t) => {
  const { commands, warnings } = push('ctl', '1'.repeat(LINE_MAX + 1), '1 24 80\n');
  t.same(commands, [resize(24, 80)]);
  t.same(warnings, ['Could not find newline in entire buffer']);
  const pieces = push('ctl', ...Array.from({ length: LINE_MAX + 1 }, () => '9'), '\n1 24 80\n');
  t.equal(pieces.warnings.length >= 1, true, 'also when it comes in pieces');
});

t.test('the longest line is taken, one byte more is not', async (t) => {
  const padded = (length: number) => `${' '.repeat(length - '1 24 80'.length)}1 24 80\n`;
  t.same(push('ctl', padded(LINE_MAX)).commands, [resize(24, 80)]);
  t.same(push('ctl', padded(LINE_MAX + 1)), { commands: [], warnings: ['line is too long'] });
});

t.test(`random bytes never throw, and memory stays bounded, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const parser = new ControlParser('ctl');
  const bytes = [0x0a, 0x20, 0x30, 0x31, 0x32, 0x38, 0x2d, 0x00, 0xff];
  let commands = 0;
  for (let i = 0; i < 20_000; i++) {
    const read = Buffer.from(Array.from({ length: random.below(20) }, () => random.pick(bytes)));
    for (const command of parser.push(read).commands) {
      commands++;
      if (command.kind !== 'resize') continue;
      for (const size of [command.rows, command.columns])
        if (!(Number.isInteger(size) && size >= 0 && size <= 1000)) t.fail(`size ${size}`);
    }
  }
  t.ok(commands > 0, `${commands} commands`);
});
