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

t.test('a thread may end with watches open, of an fd and of waits', async (t) => {
  const worker = `process.dlopen(module, ${JSON.stringify(join(libexecDir, 'sys.node'))});
    const fds = new Int32Array(2);
    module.exports.pipe2(fds, 0);
    module.exports.watch(fds[0], () => {});
    module.exports.arm(module.exports.watchWaits(() => {}));
    process.exit(0);`;
  const code = `import { Worker } from 'node:worker_threads';
    new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: [] }).on('exit', () => sys.exitNow(0));`;
  const { status, stderr } = await inChild(code);
  t.equal(status, 0, stderr.slice(0, 300));
});
