/** The measures beside the flood, with Debian's C conmon: what they time did happen, and what did not gives no figure. */
import { constants } from 'node:fs';
import { access, chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { numberIn } from '../../../bench/harness/container.ts';
import type { Environment } from '../../../bench/harness/environment.ts';
import { execSession } from '../../../bench/harness/exec-session.ts';
import { exitNoticeMs } from '../../../bench/harness/exit-notice.ts';
import { startMonitor } from '../../../bench/harness/monitor.ts';
import { buildPrograms } from '../../../bench/harness/native.ts';

const conmon = '/usr/bin/conmon';
const present = await access(conmon, constants.X_OK).then(
  () => true,
  () => false,
);
const skip = present ? false : `no ${conmon}: apt-get install conmon`;
if (present) await buildPrograms();

async function environmentFor(test: Test, ours = conmon): Promise<Environment> {
  const workDir = await mkdtemp(join(tmpdir(), 'cb-'));
  test.teardown(() => rm(workDir, { recursive: true, force: true }));
  const monitors = { rival: conmon, ours };
  return { monitors, workDir, quick: true, pairs: 1, signal: new AbortController().signal };
}

t.test('an exec session takes some time and leaves no file', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const ms = await execSession(environment, 'rival');
  t.ok(ms > 0 && ms < 30_000, `${ms} ms`);
  t.same(await readdir(environment.workDir), []);
});

t.test('an exec session without its output or status gives no figure', { skip }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cb-spoilt-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const spoilt = join(dir, 'conmon');
  for (const [script, problem] of [
    [`${conmon} "$@"; for a; do [ "$p" = -l ] && : > "$a"; p=$a; done`, /log holds/],
    ['exit 0', /JSON|status/],
  ] as const) {
    await writeFile(spoilt, `#!/bin/sh\n${script}\n`);
    await chmod(spoilt, 0o755);
    await t.rejects(execSession(await environmentFor(t, spoilt), 'ours'), problem);
  }
});

t.test("a container's exit is timed to its exit file", { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const ms = await exitNoticeMs(monitor, environment.signal);
  t.ok(ms > 0 && ms < 30_000, `${ms} ms`);
  t.equal(await readFile(join(monitor.paths.exitDir, monitor.paths.id), 'utf8'), '0');
  await monitor.ended(0);
});

t.test('latency is told in ascending quantiles, and every line was logged', { skip }, async (t) => {
  const environment = await environmentFor(t);
  const monitor = await startMonitor(environment, 'rival');
  t.teardown(() => monitor.dispose());
  const reply = await monitor.container.request(`latency count=50 gap=100 path=${monitor.logPath}`, 30_000);
  const values = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'].map((name) => numberIn(reply, name));
  t.ok((values[0] ?? 0) > 0);
  t.same(
    values,
    values.toSorted((a, b) => a - b),
  );
  const log = await readFile(monitor.logPath, 'utf8');
  t.equal(log.length, numberIn(reply, 'size'));
  t.equal(log.match(/ F a line of about/g)?.length, 50);
  await monitor.finish(0);
});
