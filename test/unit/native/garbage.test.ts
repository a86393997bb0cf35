/** Collecting garbage on request, in a process that was started without --expose-gc, as conmon is. */
import t from 'tap';
import { inChild } from './in-child.ts';

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

t.test('garbage is collected when asked for, and gc() is nowhere to be found', async (t) => {
  const code = `
    const { collectGarbage } = await import(${url('../../../src/native/garbage.ts')});
    const reference = new WeakRef({ garbage: true });
    await new Promise((resolve) => setImmediate(resolve)); // a WeakRef keeps what it names until the turn is over
    collectGarbage();
    const gone = reference.deref() === undefined;
    collectGarbage(); // and again, with what it has made for itself
    process.exitCode = gone && globalThis.gc === undefined ? 7 : 1;`;
  t.equal((await inChild(code)).status, 7);
});

t.test('memory is given back in turns, between which other work is done', async (t) => {
  const code = `
    const { giveMemoryBackInTurns } = await import(${url('../../../src/native/garbage.ts')});
    const done = [];
    for (const name of ['memoryPressure', 'mallocTrim']) {
      const call = sys[name];
      sys[name] = (...given) => (done.push(name === 'mallocTrim' ? 'trim' : given[0]), call(...given));
    }
    setTimeout(() => {
      const turn = () => {
        done.push('.');
        if (done.length < 50 && !done.includes('trim')) setImmediate(turn);
        else process.exitCode = done.join('') === '20.20.trim.' ? 7 : 1;
      };
      setImmediate(turn);
      giveMemoryBackInTurns();
    }, 1);`;
  t.equal((await inChild(code)).status, 7);
});
