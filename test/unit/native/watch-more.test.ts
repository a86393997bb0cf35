/** For test/unit/native/watch.test.ts. */
import { join } from 'node:path';
import t from 'tap';
import { libexecDir } from '../../../src/native/libexec.ts';
import { inChild } from './in-child.ts';

t.test('an error in the callback is an uncaught one, not one that a later call throws', async (t) => {
  const code = `
    process.on('uncaughtException', (error) => { console.log('uncaught ' + error.message); sys.exitNow(0); });
    const fds = new Int32Array(2);
    sys.pipe2(fds, 0);
    sys.write(fds[1], Buffer.from('x'), 0, 1);
    let calls = 0;
    const handle = sys.watch(fds[0], () => { calls++; throw new Error('in the callback'); });
    setTimeout(() => {
      try { sys.getpgid(0); console.log('swallowed, ' + calls + ' calls'); } catch (error) { console.log('thrown by getpgid: ' + error.message); }
      sys.exitNow(0);
    }, 200);`;
  const { stdout, stderr } = await inChild(code);
  t.match(stdout, /^uncaught in the callback/);
  t.equal(stderr, '');
});

/** What it has opened, in a thread that ends at once. */
const ENDS: Readonly<Record<string, string>> = {
  'with watches open, of an fd and of waits': 'sys.watch(fds[0], () => {}); sys.arm(sys.watchWaits(() => {}));',
  'when it has just let go of them': `const [fd, waits] = [sys.watch(fds[0], () => {}), sys.watchWaits(() => {})];
    sys.arm(waits); sys.unwatch(fd); sys.unwatch(waits);`,
  'when it was refused them': 'if (sys.watch(fds[0]) !== -22 || sys.watchWaits(1) !== -22) throw new Error();',
};

for (const [when, what] of Object.entries(ENDS))
  t.test(`a thread may end ${when}`, async (t) => {
    const worker = `process.dlopen(module, ${JSON.stringify(join(libexecDir, 'sys.node'))});
      const sys = module.exports;
      const fds = new Int32Array(2);
      sys.pipe2(fds, 0);
      ${what}
      process.exit(5);`;
    const code = `import { Worker } from 'node:worker_threads';
      new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: [] }).on('exit', (status) => sys.exitNow(status));`;
    const { status, stderr } = await inChild(code);
    t.equal(status, 5, stderr.slice(0, 300));
  });

t.test('a watch that has ended leaves no memory behind, nor one whose handle is dropped', async (t) => {
  if (process.env['ASAN_OPTIONS'] !== undefined) return t.comment('a sanitizer keeps what is freed');
  const code = `
    const fds = new Int32Array(2);
    sys.pipe2(fds, 0);
    const round = async (times) => {
      for (let i = 0; i < times; i++) {
        sys.unwatch(sys.watchWaits(() => {}));
        sys.unwatch(sys.watch(fds[0], () => {}));
        if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      for (let i = 0; i < 3; i++) {
        globalThis.gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      sys.mallocTrim();
      return process.memoryUsage.rss();
    };
    await round(10_000);
    const before = await round(10_000);
    console.log((await round(50_000)) - before);`;
  const { stdout, stderr } = await inChild(code, ['--expose-gc']);
  t.match(stdout, /^-?\d+$/m, stderr);
  t.ok(Number(stdout) < 4 << 20, `${stdout.trim()} bytes after 100,000 watches`);
});
