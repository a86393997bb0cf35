/** What the launcher's flags are for: Node's own compiled code is used, and V8 starts from a seed that costs it little. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compile, NODE_FLAGS, promise, SEED_FLAG } from './harness.ts';

const SEEDS = join(import.meta.dirname, '../../../native/seeds.h');

/** The seeds that the launcher chooses from. */
function seeds(): readonly number[] {
  return [...readFileSync(SEEDS, 'utf8').matchAll(/(\d+),/g)].map(([, seed]) => Number(seed));
}

/** How many of Node's own modules a start compiles again, in main and in a thread: what a session loads of them. */
function compiledAgain(flags: readonly string[]): readonly string[] {
  const program = `
    const { internalBinding } = require('internal/test/binding');
    const { Worker, isMainThread, parentPort } = require('node:worker_threads');
    for (const name of ['fs', 'path', 'vm', 'perf_hooks', 'assert', 'os', 'url', 'async_hooks']) require(name);
    const again = [...internalBinding('builtins').getCacheUsage().compiledWithoutCache];
    if (isMainThread) new Worker(__filename).on('message', (others) => console.log(JSON.stringify([...again, ...others])));
    else parentPort.postMessage(again);`;
  const args = ['--expose-internals', '--no-warnings', ...flags];
  const file = join(t.testdir({ 'probe.cjs': program }), 'probe.cjs');
  return JSON.parse(execFileSync(process.execPath, [...args, file], { encoding: 'utf8', env: {}, timeout: 60_000 }));
}

t.test("no thread of conmon compiles Node's own modules: V8 takes them as Node has compiled them", async (t) => {
  t.strictSame(compiledAgain([...NODE_FLAGS, `--random-seed=${seeds()[0]}`]), []);
  t.not(compiledAgain([...NODE_FLAGS, '--expose-gc']).length, 0, 'and the probe can tell: one more flag, all of them');
});

promise(
  'the seed is one of those that native/seeds.c finds, and not always the same',
  async (t, it) => {
    rmSync(it.node);
    symlinkSync(process.execPath, it.node);
    const report = it.file('report');
    const program = `require('node:fs').writeFileSync(${JSON.stringify(report)}, process.execArgv.at(-1))`;
    writeFileSync(join(it.root, 'libexec/conmon/main.cjs'), program);
    const known = seeds();
    const seen = new Set<number>();
    // Four of 512: that all are the same happens in a hundred million runs once.
    for (let run = 0; run < 4; run++) {
      t.match(await it.run({}), { status: 0 });
      const seed = Number(SEED_FLAG.exec(readFileSync(report, 'utf8'))?.[1]);
      t.ok(known.includes(seed), `${seed} is one of them`);
      seen.add(seed);
    }
    t.not(seen.size, 1);
  },
  ['static'],
);

t.test('native/seeds.h is what native/seeds.c prints', async (t) => {
  const printed = execFileSync(compile(['native/seeds.c'], ['-O2']), { encoding: 'utf8', timeout: 120_000 });
  t.equal(printed, readFileSync(SEEDS, 'utf8'));
  t.equal(seeds().length, 512);
});
