/**
 * Floods: more output than any buffer between the container and the log holds, verified byte for byte.
 */
import { randomInt } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { RepeatedContent, verifyLog } from '../helpers/k8s-log.ts';
import { seededRandom } from '../helpers/random.ts';
import { realRuntimes } from '../helpers/runtimes.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const MIB = 1 << 20;

/** 1 MiB of lines: most are short, some empty, some longer than a record holds, the last one complete. */
function block(seed: number): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(MIB, 'x');
  for (let at = 0; at < MIB; ) {
    const length = Math.min(random.pick([0, 20, 60, 100, 100, 100, 200, 1000, 10_000]), MIB - at - 1);
    for (let i = at; i < at + length; i++) {
      bytes[i] = 32 + ((i * 7 + at) % 95);
    }
    bytes[at + length] = 10;
    at += length + 1;
  }
  return bytes;
}

async function verify(c: Case, container: Container, stdout: RepeatedContent, stderr: RepeatedContent): Promise<void> {
  const seconds = async <T>(task: () => Promise<T>): Promise<[T, string]> => {
    const from = performance.now();
    return [await task(), ((performance.now() - from) / 1000).toFixed(2)];
  };
  const [status, writing] = await seconds(async () => {
    await container.start();
    return await container.exited(120_000);
  });
  c.t.equal(status, 0);
  await container.ended();
  const size = (statSync(container.logPath).size / MIB).toFixed(0);
  const [records, reading] = await seconds(() => verifyLog(container.logPath, { stdout, stderr }));
  c.t.pass(`${records} records are right`);
  c.t.comment(`${size} MiB of log in ${writing} s, read back in ${reading} s`);
}

promise(`200 MB of lines, byte for byte, seed ${SEED}`, { runtimes: ['runc'], timeoutMs: 200_000 }, async (c) => {
  const [path, bytes] = [c.workspace.path('block'), block(SEED)];
  writeFileSync(path, bytes);
  const container = c.container({ script: `i=0; while [ $i -lt 200 ]; do cat ${path} || exit 9; i=$((i+1)); done` });
  await container.created();
  await verify(c, container, new RepeatedContent(bytes, 200), new RepeatedContent(bytes, 0));
});

promise(
  `20 MB on each of stdout and stderr at once, byte for byte, seed ${SEED}`,
  {
    runtimes: realRuntimes(),
    timeoutMs: 120_000,
  },
  async (c) => {
    const [out, err] = [block(SEED), block(SEED + 1)];
    const [outPath, errPath] = [c.workspace.path('out'), c.workspace.path('err')];
    writeFileSync(outPath, out);
    writeFileSync(errPath, err);
    const loop = (path: string) => `i=0; while [ $i -lt 20 ]; do cat ${path} || exit 9; i=$((i+1)); done`;
    const container = c.container({ script: `(${loop(errPath)}) >&2 & ${loop(outPath)}; wait` });
    await container.created();
    await verify(c, container, new RepeatedContent(out, 20), new RepeatedContent(err, 20));
  },
);

promise(
  'a flood that nobody logs, in large writes and a line at a time on both streams, is read to its end',
  { runtimes: realRuntimes(), timeoutMs: 120_000 },
  async (c) => {
    const lines = (to: number) => `i=0; while [ $i -lt 30000 ]; do echo $i >&${to} || exit 8; i=$((i+1)); done`;
    const script = `(${lines(2)}) & ${lines(1)}; wait; head -c 300000000 /dev/zero || exit 9; exit 7`;
    const container = c.container({ script, logPaths: ['none'] });
    await container.run();
    c.t.equal(await container.exited(60_000), 7);
    await container.ended();
  },
);
