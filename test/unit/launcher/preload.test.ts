/** What is loaded in front of Node (native/preload.c): what it changes in Node, and when the launcher asks for it. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compile, Installation, promise } from './harness.ts';

const PRELOAD = join(import.meta.dirname, '../../../libexec/conmon/preload.so');
/** The table of the deadlock detector has 1 MiB; the rest is what varies from start to start. */
const SAVED_KIB = 800;

interface Started {
  readonly rings: number;
  readonly loops: number;
  readonly anonymousKiB: number;
}

/** What Node holds with one worker that waits. */
function startNode(env: Record<string, string>): Started {
  const program = `
    const { readdirSync, readFileSync, readlinkSync } = require('node:fs');
    const { Worker } = require('node:worker_threads');
    const targets = () => readdirSync('/proc/self/fd').map((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; }
    });
    const count = (pattern) => targets().filter((target) => pattern.test(target)).length;
    const worker = new Worker('require("node:worker_threads").parentPort.once("message", () => {})', { eval: true });
    worker.once('online', () => {
      const anonymousKiB = Number(/RssAnon:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]);
      console.log(JSON.stringify({ rings: count(/io_uring/), loops: count(/eventpoll/), anonymousKiB }));
      worker.postMessage('end');
    });`;
  const file = join(t.testdir({ 'probe.cjs': program }), 'probe.cjs');
  return JSON.parse(execFileSync(process.execPath, [file], { encoding: 'utf8', env, timeout: 60_000 }));
}

t.test('Node has no ring of io_uring, and no table for a deadlock detector', async (t) => {
  const [plain, ours] = [startNode({}), startNode({ LD_PRELOAD: PRELOAD })];
  t.equal(ours.rings, 0);
  t.equal(ours.loops, plain.loops, 'the loops are as many');
  const savedKiB = plain.anonymousKiB - ours.anonymousKiB;
  t.ok(savedKiB > SAVED_KIB, `${savedKiB} KiB less`);
});

t.test('every other system call goes to the kernel, with all its arguments, and its errors come back', async (t) => {
  const second = Buffer.alloc(2 * 65536);
  for (let at = 4096; at < second.length; at += 4096) second.write('second', at);
  const file = join(t.testdir({}), 'pages');
  writeFileSync(file, second);
  const probe = compile(['test/unit/launcher/preload-probe.c'], ['-O2']);
  const answers = execFileSync(probe, [file], { encoding: 'utf8', env: { LD_PRELOAD: PRELOAD }, timeout: 60_000 });
  t.strictSame(answers.split('\n'), ['io_uring_setup -1 ENOSYS', 'getpid same 0', 'close -1 EBADF', 'mmap second', '']);
});

promise('it is loaded by its path in the installation, whatever the caller loads', async (t, it) => {
  const path = join(it.root, 'libexec/conmon/preload.so');
  copyFileSync(PRELOAD, path);
  const env = ['LD_PRELOAD=/evil.so', 'TZ=UTC'];
  const dump = await it.observe({ env });
  t.strictSame(
    dump.all('env').filter((entry) => entry.startsWith('LD_')),
    [`LD_PRELOAD=${path}`],
  );
  t.equal(dump.one('environ'), env.map((entry) => `${entry}\0`).join(''), 'the runtime’s environment is the caller’s');
  rmSync(path);
  t.strictSame(
    (await it.observe({ env })).all('env').filter((entry) => entry.startsWith('LD_')),
    [],
    'not when it is not there: ld.so would complain',
  );
});

for (const name of ['with blanks', 'a:b', '$ORIGIN']) {
  promise(
    `from a directory named ${JSON.stringify(name)} nothing is loaded: ld.so would look elsewhere`,
    async (t) => {
      const it = new Installation(t, 'static', name);
      copyFileSync(PRELOAD, join(it.root, 'libexec/conmon/preload.so'));
      const dump = await it.observe();
      t.strictSame(
        dump.all('env').filter((entry) => entry.startsWith('LD_')),
        [],
      );
    },
    ['static'],
  );
}
