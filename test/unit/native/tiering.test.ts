/** When V8 optimises: late while main has asked for it, and what others have compiled is taken whenever something is loaded. */
import t from 'tap';
import { inChild } from './in-child.ts';

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
const OURS = `const { optimiseLate, optimiseAsV8Does } = await import(${url('../../../src/native/tiering.ts')});`;

t.test('a function is optimised after some thousand calls, and not after some hundred as by V8 itself', async (t) => {
  const code = `
    ${OURS}
    const caller = new Function('callee', 'calls', 'for (let i = 0; i < calls; i++) callee(i, 3)');
    %NeverOptimizeFunction(caller); // or it would no longer call
    let made = 0;
    const optimised = async (calls) => {
      const callee = new Function('a', 'b', 'return (a + b) * (a - b) + ' + ++made); // its own text: V8 remembers it
      caller(callee, calls);
      // Another thread compiles it; it is put in place when it is called next.
      for (let turn = 0; turn < 100 && !%ActiveTierIsMaglev(callee); turn++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        caller(callee, 1);
      }
      return %ActiveTierIsMaglev(callee);
    };
    const told = [await optimised(1500)];
    optimiseLate();
    told.push(await optimised(1500), await optimised(6000));
    optimiseAsV8Does();
    told.push(await optimised(1500));
    console.log(told.join());`;
  t.match(await inChild(code, ['--allow-natives-syntax', '--no-turbofan', '--no-maglev-osr']), {
    status: 0,
    stdout: 'true,false,true,true\n',
  });
});

t.test('V8 takes what was compiled before, but while it optimises late', async (t) => {
  const code = `
    ${OURS}
    const { Script } = await import('node:vm');
    const text = 'function f() { return 1 } f()';
    const cachedData = new Script(text).createCachedData();
    let asked = 0; // V8 remembers what it has compiled, by its name too
    const refused = () => new Script(text, { filename: String(asked++), cachedData }).cachedDataRejected;
    const told = [refused()];
    optimiseLate();
    told.push(refused());
    optimiseAsV8Does();
    told.push(refused());
    console.log(told.join());`;
  t.match(await inChild(code), { status: 0, stdout: 'false,true,false\n' });
});

t.test("a thread that is started meanwhile compiles none of Node's own modules", async (t) => {
  // It is given what it may load beyond a start; a start itself is a snapshot of V8's.
  const code = (threads: string): string => `
    ${OURS}
    const { workerThreads } = await import(${url('../../../src/threads/pool.ts')});
    optimiseLate();
    const { Worker } = ${threads};
    const told = "for (const name of ['perf_hooks', 'assert', 'os', 'stream']) require(name);" +
      "const { compiledWithoutCache } = require('internal/test/binding').internalBinding('builtins').getCacheUsage();" +
      "require('node:worker_threads').parentPort.postMessage([...compiledWithoutCache].length > 0)";
    const worker = new Worker(told, { eval: true, execArgv: ['--expose-internals'] });
    worker.on('message', (compiled) => console.log(compiled ? 'some' : 'none'));`;
  const flags = ['--expose-internals', '--no-warnings'];
  t.match(await inChild(code('workerThreads()'), flags), { status: 0, stdout: 'none\n' });
  const unasked = code("process.getBuiltinModule('node:worker_threads')");
  t.match(await inChild(unasked, flags), { status: 0, stdout: 'some\n' }, 'and the probe can tell');
});
