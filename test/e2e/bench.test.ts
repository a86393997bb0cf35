/** The bench's containers of real runtimes: what is timed did happen, what is wrong gives no figure, nothing stays behind. */
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Environment } from '../../bench/harness/environment.ts';
import { buildPrograms } from '../../bench/harness/native.ts';
import { realLife } from '../../bench/harness/real-runtime.ts';

const conmon = '/usr/bin/conmon';
await buildPrograms();

function environmentFor(test: Test, ours: string): Environment {
  const workDir = mkdtempSync(join(tmpdir(), 'cb-'));
  test.teardown(() => rmSync(workDir, { recursive: true, force: true }));
  return { monitors: { rival: conmon, ours }, workDir, quick: true, pairs: 1, signal: new AbortController().signal };
}

function leftBundles(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => /^conmon-e2e-/.test(name));
}

for (const runtime of ['runc', 'crun'] as const)
  t.test(`${runtime}: create, exec session and exit are timed, in order`, async (t) => {
    const life = await realLife(environmentFor(t, conmon), 'rival', runtime);
    t.ok(life.toRuntimeMs > 0 && life.toRuntimeMs < life.toSyncMs, JSON.stringify(life));
    t.ok(life.sessionMs > 0 && life.sessionMs < 40_000);
    t.ok(life.exitNoticeMs > 0 && life.exitNoticeMs < 40_000);
  });

t.test('a monitor whose log, exec or exit is not what happened gives no figure and leaves nothing', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'cb-spoilt-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  // Bundles of its own alone: other tests are at work beside it.
  const shared = process.env['TMPDIR'];
  process.env['TMPDIR'] = dir;
  t.teardown(() => {
    if (shared === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = shared;
  });
  const spoilt = join(dir, 'conmon');
  // Whose log is spoilt: a container has an exit directory, an exec has none.
  const spoil = 'for a; do [ "$p" = -l ] && echo junk >"$a"; p=$a; done';
  for (const [script, problem] of [
    [`case "$*" in *--exit-dir*) ${spoil};; esac; exec ${conmon} "$@"`, /the log is not what was written: .*junk/],
    [`case "$*" in *--exit-dir*) exec ${conmon} "$@";; esac; ${spoil}; exec ${conmon} "$@"`, /log holds/],
    [`case "$*" in *--exit-dir*) exec ${conmon} "$@";; esac; exit 1`, /status is/],
  ] as const) {
    writeFileSync(spoilt, `#!/bin/sh\n${script}\n`);
    chmodSync(spoilt, 0o755);
    const signal = AbortSignal.timeout(15_000);
    await t.rejects(realLife({ ...environmentFor(t, spoilt), signal }, 'ours', 'runc'), problem);
    t.same(leftBundles(), []);
  }
});
