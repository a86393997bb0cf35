/** Collecting garbage on request, in a process that was started without --expose-gc, as conmon is. */
import t from 'tap';
import { inChild } from './in-child.ts';

t.test('garbage is collected when asked for, and gc() is nowhere to be found', async (t) => {
  const code = `
    const { collectGarbage } = await import(${JSON.stringify(new URL('../../../src/native/garbage.ts', import.meta.url).href)});
    const reference = new WeakRef({ garbage: true });
    await new Promise((resolve) => setImmediate(resolve)); // a WeakRef keeps what it names until the turn is over
    collectGarbage();
    const gone = reference.deref() === undefined;
    collectGarbage(); // and again, with what it has made for itself
    process.exitCode = gone && globalThis.gc === undefined ? 7 : 1;`;
  t.equal((await inChild(code)).status, 7);
});
