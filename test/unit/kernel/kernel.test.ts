/** Single promises of the kernel, by name. */
import t from 'tap';
import { CONTENT_MAX_BYTES, FORMAT_STATES_MAX, formatStateOffset } from '../../../src/kernel/layout.ts';
import { KernelRig, leadOf } from './rig.ts';

const rig = new KernelRig();
const [A, B] = [leadOf(1), leadOf(2)];
const start = () => rig.place({ outputBytes: 1 << 16 });

t.test('a line is F, a part of a line is P, and the parts follow each other', async (t) => {
  start().feed(Buffer.from('one\ntwo\nthr'), A);
  t.equal(rig.output.toString(), `${A}F one\n${A}F two\n`, 'the part is held');
  t.equal(rig.open, true);
  rig.settle();
  rig.feed(Buffer.from('ee\n'), B);
  t.equal(rig.output.toString(), `${A}F one\n${A}F two\n${A}P thr\n${B}F ee\n`);
});

t.test('an empty line is an F record without content', async (t) => {
  start().feed(Buffer.from('\n\n'), A);
  t.equal(rig.output.toString(), `${A}F \n${A}F \n`);
});

t.test('nothing in, nothing out', async (t) => {
  start().feed(Buffer.alloc(0), A);
  t.equal(rig.settle(), 0);
  t.equal(rig.output.length, 0);
});

t.test('settling twice closes once', async (t) => {
  start().feed(Buffer.from('x'), A);
  t.equal(rig.settle(), 1);
  t.equal(rig.settle(), 0);
  t.equal(rig.output.toString(), `${A}P x\n`);
});

t.test('a record carries the time at which it began', async (t) => {
  start().feed(Buffer.from('be'), A);
  rig.feed(Buffer.from('gun\nnew\n'), B);
  t.equal(rig.output.toString(), `${A}F begun\n${B}F new\n`);
});

t.test('content of exactly 8192 bytes and a newline is one F record', async (t) => {
  const content = 'x'.repeat(CONTENT_MAX_BYTES);
  start().feed(Buffer.from(`${content}\n`), A);
  t.equal(rig.output.toString(), `${A}F ${content}\n`);
  t.equal(rig.settle(), 0, 'and no empty record after it');
});

t.test('the newline after 8192 bytes may come later', async (t) => {
  const content = 'x'.repeat(CONTENT_MAX_BYTES);
  start().feed(Buffer.from(content), A);
  t.equal(rig.output.length, 0, 'held: the next byte tells');
  rig.feed(Buffer.from('\n'), B);
  t.equal(rig.output.toString(), `${A}F ${content}\n`);
});

t.test('one byte more than 8192 begins a second record', async (t) => {
  const content = 'x'.repeat(CONTENT_MAX_BYTES);
  start().feed(Buffer.from(`${content}y\n`), A);
  t.equal(rig.output.toString(), `${A}P ${content}\n${A}F y\n`);
});

t.test('8192 bytes that are settled and then ended are P and an empty F', async (t) => {
  const content = 'x'.repeat(CONTENT_MAX_BYTES);
  start().feed(Buffer.from(content), A);
  rig.settle();
  rig.feed(Buffer.from('\n'), B);
  t.equal(rig.output.toString(), `${A}P ${content}\n${B}F \n`);
});

t.test('a long line is P records of 8192 bytes and one F', async (t) => {
  const content = 'x'.repeat(CONTENT_MAX_BYTES);
  start().feed(Buffer.from(`${content.repeat(3)}\n`), A);
  t.equal(rig.output.toString(), `${A}P ${content}\n${A}P ${content}\n${A}F ${content}\n`);
});

t.test('how long a record may be does not depend on the one before it', async (t) => {
  const [long, next] = ['x'.repeat(CONTENT_MAX_BYTES - 64), 'y'.repeat(700)];
  start().feed(Buffer.from(long), A);
  rig.settle();
  rig.feed(Buffer.from(`${next}\n`), B);
  t.equal(rig.output.toString(), `${A}P ${long}\n${B}F ${next}\n`, 'a part');
  for (let length = CONTENT_MAX_BYTES - 130; length <= CONTENT_MAX_BYTES; length++) {
    const line = 'x'.repeat(length);
    start().feed(Buffer.from(`ab\n${line}\n${next}\n`), A);
    if (rig.output.toString() !== `${A}F ab\n${A}F ${line}\n${A}F ${next}\n`) t.fail(`a line of ${length} bytes`);
  }
});

t.test('a stream that ends without a newline gets no empty F', async (t) => {
  start().feed(Buffer.from('last words'), A);
  rig.settle();
  t.equal(rig.output.toString(), `${A}P last words\n`);
});

t.test('NUL, carriage return and bytes that are no UTF-8 pass as they are', async (t) => {
  const content = Buffer.from([0x00, 0x0d, 0xff, 0xfe, 0x80, 0xc3, 0x28, 0x00]);
  start().feed(Buffer.concat([content, Buffer.of(0x0a)]), A);
  t.same(rig.output, Buffer.concat([Buffer.from(`${A}F `), content, Buffer.of(0x0a)]));
});

t.test('records are counted when they are closed', async (t) => {
  start().feed(Buffer.from('a\nb\nc'), A);
  t.equal(rig.records, 2);
  rig.settle();
  t.equal(rig.records, 3);
});

t.test('there is no formatter beyond the last', async (t) => {
  t.type(formatStateOffset(FORMAT_STATES_MAX - 1), 'number');
  t.throws(() => formatStateOffset(FORMAT_STATES_MAX), RangeError);
});
