/** Keys that detach: how they are written, and how they are found in what is typed. */
import t from 'tap';
import { DEFAULT_DETACH_KEYS, DetachKeys, parseDetachKeys } from '../../../src/client/detach-keys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';

/** What comes through, read by read, and whether it detached. */
function typed(keys: string, ...reads: string[]): [string, boolean] {
  const detach = new DetachKeys(parseDetachKeys(keys));
  const results: string[] = [];
  for (const read of reads) {
    const { input, isDetach } = detach.push(Buffer.from(read, 'latin1'));
    results.push(input.toString('latin1'));
    if (isDetach) return [results.join('|'), true];
  }
  return [results.join('|'), false];
}

t.test('Ctrl-P Ctrl-Q detaches, together or apart; everything else passes', async (t) => {
  const keys = (...reads: string[]) => typed(DEFAULT_DETACH_KEYS, ...reads);
  t.same(keys('abc'), ['abc', false]);
  t.same(keys('ab\x10\x11cd'), ['ab', true]);
  t.same(keys('ab\x10', '\x11'), ['ab|', true]);
  t.same(keys('\x10', 'a'), ['|\x10a', false], 'held back, then passed on');
  t.same(keys('\x10\x10\x11'), ['\x10', true]);
  t.same(keys('\x11\x10a\x11'), ['\x11\x10a\x11', false]);
});

t.test('keys that were begun when the input ends are input', async (t) => {
  const detach = new DetachKeys(parseDetachKeys('a,b,c'));
  t.equal(detach.push(Buffer.from('xab')).input.toString(), 'x');
  t.equal(detach.end().toString(), 'ab');
  t.equal(detach.end().toString(), '');
});

t.test('other keys, of any number, and none', async (t) => {
  t.same(typed('ctrl-]', 'ab\x1dc'), ['ab', true]);
  t.same(typed('a,a,b', 'aaab'), ['a', true], 'what was held may be another beginning');
  t.same(typed('a,b,a,c', 'ababac'), ['ab', true]);
  t.same(typed('a,b,a,c', 'aba', 'bx'), ['|ababx', false]);
  t.same(typed('x', 'abcx'), ['abc', true]);
  t.same(typed('', 'a\x10\x11'), ['a\x10\x11', false]);
});

t.test('keys are written as docker and podman write them', async (t) => {
  t.same([...parseDetachKeys('ctrl-p,ctrl-q')], [16, 17]);
  t.same(
    [...parseDetachKeys('ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,CTRL-A,a,Z,~')],
    [0, 27, 28, 29, 30, 31, 1, 97, 90, 126],
  );
  t.same([...parseDetachKeys('')], []);
  for (const wrong of ['ctrl-', 'ctrl-1', 'ab', 'a,', ',', 'ctrl-pp', 'ä', ' ', 'a, b', '\x10'])
    t.throws(() => parseDetachKeys(wrong), { name: 'ClientError', message: /--detach-keys: ".*" is no key/ }, wrong);
});

t.test(`however it is cut, what comes through is the same, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let i = 0; i < 3000; i++) {
    const keys = Array.from({ length: 1 + random.below(5) }, () => random.pick(['a', 'b', 'c']));
    const text = Array.from({ length: random.below(30) }, () => random.pick(['a', 'b', 'c', 'd'])).join('');
    const at = text.indexOf(keys.join(''));
    const reads: string[] = [];
    for (let rest = text; rest !== ''; ) {
      const length = 1 + random.below(4);
      reads.push(rest.slice(0, length));
      rest = rest.slice(length);
    }
    const [through, isDetach] = typed(keys.join(','), ...reads);
    const got = through.replaceAll('|', '');
    const right = isDetach
      ? at !== -1 && got === text.slice(0, at)
      : at === -1 && text.startsWith(got) && keys.join('').startsWith(text.slice(got.length));
    if (!right) t.fail(`${keys} in ${reads}: ${through} ${isDetach}`);
  }
  t.pass('3000 texts');
});
