/** Integers as strtol with base 0 reads them. */
import t from 'tap';
import { parseInteger } from '../../../src/cli/integer.ts';

const INT_MAX = 2_147_483_647;

t.test('decimal, hex and octal, with a sign and blanks in front', async (t) => {
  const cases: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['5', 5],
    ['+5', 5],
    ['-5', -5],
    ['010', 8],
    ['-010', -8],
    ['0x10', 16],
    ['0XaF', 175],
    ['-0x10', -16],
    ['00000000000000000000000005', 5],
    [' 5', 5],
    ['\t\n\v\f\r 5', 5],
    [`${INT_MAX}`, INT_MAX],
    [`-${INT_MAX + 1}`, -INT_MAX - 1],
    ['0x7fffffff', INT_MAX],
    ['017777777777', INT_MAX],
  ];
  for (const [text, value] of cases) t.same(parseInteger(text, 32), { kind: 'integer', value }, JSON.stringify(text));
});

t.test('anything else is malformed, even when it is out of range too', async (t) => {
  const cases = [
    '',
    ' ',
    '5 ',
    '5\n',
    'abc',
    '1e3',
    '1.0',
    '0x',
    '0xg',
    '08',
    '09',
    '0b1',
    '0o7',
    '- 5',
    '+-5',
    '-',
    '+',
  ];
  for (const text of [
    ...cases,
    '1_000',
    '1,000',
    '\u0663',
    '\uff15',
    '5\0',
    '99999999999999999999x',
    'Infinity',
    '\u00a05',
  ]) {
    t.same(parseInteger(text, 32), { kind: 'malformed' }, JSON.stringify(text));
  }
});

t.test('the 32-bit range is exact', async (t) => {
  for (const text of ['2147483648', '-2147483649', '0x80000000', '020000000000', '9'.repeat(4000)]) {
    t.same(parseInteger(text, 32), { kind: 'out-of-range' }, text.slice(0, 20));
  }
});

t.test('the 64-bit range is exact, though numbers above 2^53 are rounded', async (t) => {
  t.same(parseInteger('9223372036854775807', 64), { kind: 'integer', value: 2 ** 63 });
  t.same(parseInteger('-9223372036854775808', 64), { kind: 'integer', value: -(2 ** 63) });
  t.same(parseInteger('0x7fffffffffffffff', 64), { kind: 'integer', value: 2 ** 63 });
  t.same(parseInteger('9007199254740991', 64), { kind: 'integer', value: Number.MAX_SAFE_INTEGER });
  t.same(parseInteger('9223372036854775808', 64), { kind: 'out-of-range' });
  t.same(parseInteger('-9223372036854775809', 64), { kind: 'out-of-range' });
  t.same(parseInteger('0x8000000000000000', 64), { kind: 'out-of-range' });
});
