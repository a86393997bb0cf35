/** What `make run` executes, without a terminal, over the demo runtime. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { waitFor } from '../../helpers/wait.ts';
import { MONITORS, REPOSITORY, Scratch } from './support.ts';

const scratch = new Scratch(t);
const TIMEOUT_MS = 60_000;

/** Starts the program with these settings and a temporary directory of its own. */
function start(settings: NodeJS.ProcessEnv) {
  const temporary = scratch.fresh('tmp');
  mkdirSync(temporary);
  const env: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    TMPDIR: temporary,
    RUNTIME: scratch.runtime,
    ...settings,
  };
  const child = spawn(process.execPath, [join(REPOSITORY, 'src/demo/run.ts')], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
  });
  return { child, temporary };
}

async function finish(child: ChildProcess) {
  if (child.stdout === null || child.stderr === null) throw new Error('no streams');
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { status, stdout, stderr };
}

async function run(settings: NodeJS.ProcessEnv) {
  const { child, temporary } = start(settings);
  return { ...(await finish(child)), temporary };
}

/** Files and processes that a run with this temporary directory has left. */
function leftovers(temporary: string): readonly string[] {
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(temporary);
    } catch {
      return false;
    }
  });
  return [...readdirSync(temporary), ...processes];
}

/** A runtime that runs `script` before it does its work. */
function runtimeWith(script: string): string {
  const path = scratch.fresh('runtime');
  writeFileSync(path, `#!/bin/sh\n${script}\nexec ${scratch.runtime} "$@"\n`, { mode: 0o755 });
  return path;
}

for (const conmon of MONITORS) {
  const label = conmon.replace(`${REPOSITORY}/`, '');

  t.test(`${label}: without CMD the sample's log is shown, counted and verified`, async (t) => {
    const { status, stdout, stderr, temporary } = await run({ CONMON: conmon, SIZE_MB: '3' });
    t.equal(status, 0, stderr);
    t.match(stdout, /first lines of the log\n( {2}\S+ stdout F 00000000000\d .*\n){5}/);
    t.match(stdout, /totals\n {2}[\d,]+ bytes in [\d,]+ lines, [\d,]+ records\n/);
    t.match(stdout, /[\d.]+ s, \d+ MB\/s, [\d.]+ million lines\/s\n {2}CPU of the monitor: [\d.]+ s/);
    t.match(stdout, /exit file\n {2}\/\S+: 0\n/);
    t.match(stdout, /\nverified: /);
    t.match(stderr, /conmon: .*\nruntime: .*\nsample: /);
    t.same(leftovers(temporary), []);
  });

  t.test(`${label}: CMD's output and status are passed on`, async (t) => {
    const command = 'echo out; echo err >&2; printf "no newline"; exit 7';
    const { status, stdout, stderr, temporary } = await run({ CONMON: conmon, CMD: command });
    t.equal(status, 7);
    t.equal(stdout, 'out\nno newline');
    t.match(stderr, /\nerr\n$/);
    t.same(leftovers(temporary), []);
  });

  t.test(`${label}: lines longer than a record are joined again, bytes stay as they are`, async (t) => {
    const command = 'head -c 100000 /dev/zero | tr "\\0" x; echo; printf "\\377\\000\\n"';
    const { child } = start({ CONMON: conmon, CMD: command });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(child, 'close');
    const expected = Buffer.concat([Buffer.alloc(100_000, 'x'), Buffer.from('\n\xff\0\n', 'latin1')]);
    t.ok(Buffer.concat(chunks).equals(expected));
  });

  t.test(`${label}: output appears while the container runs`, async (t) => {
    const go = scratch.fresh('go');
    const { child } = start({
      CONMON: conmon,
      CMD: `echo first; until [ -e ${go} ]; do sleep 0.02; done; echo second`,
    });
    let seen = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
    });
    await waitFor('the first line', () => seen === 'first\n');
    writeFileSync(go, '');
    await once(child, 'close');
    t.equal(seen, 'first\nsecond\n');
  });

  t.test(`${label}: SIGINT and SIGTERM end the container and leave nothing`, async (t) => {
    for (const [signal, expected] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const { child, temporary } = start({ CONMON: conmon, CMD: 'echo started; sleep 300 & sleep 300' });
      await once(child.stdout, 'data');
      child.kill(signal);
      t.same(await once(child, 'exit'), [expected, null]);
      await waitFor('everything to go', () => leftovers(temporary).length === 0);
    }
  });

  t.test(`${label}: a reader that goes away ends the run`, async (t) => {
    const { child, temporary } = start({ CONMON: conmon, CMD: 'while :; do echo y; done' });
    await once(child.stdout, 'data');
    child.stdout.destroy();
    t.same(await once(child, 'exit'), [141, null]);
    await waitFor('everything to go', () => leftovers(temporary).length === 0);
  });

  t.test(`${label}: a container that cannot be created is told in the runtime's words`, async (t) => {
    const broken = runtimeWith('case "$*" in *create*) echo "no container today" >&2; exit 1;; esac');
    const { status, stdout, stderr, temporary } = await run({ CONMON: conmon, RUNTIME: broken, CMD: 'true' });
    t.match([status, stdout, stderr], [1, '', /error: the container was not created: .*no container today/]);
    t.same(leftovers(temporary), []);
  });

  t.test(`${label}: a container that cannot be started is told, too`, async (t) => {
    const broken = runtimeWith('case "$*" in *start*) echo "will not start" >&2; exit 1;; esac');
    const { status, stderr, temporary } = await run({ CONMON: conmon, RUNTIME: broken, CMD: 'true' });
    t.match([status, stderr], [1, /error: .* start failed: will not start/]);
    t.same(leftovers(temporary), []);
  });

  t.test(`${label}: a log that lacks something fails the run`, async (t) => {
    // One block less than the sample has.
    const cheat = runtimeWith(`
for config in "$PWD/config.json"; do
  sed -i '/"sample-writer"/{n;s/"\\([0-9]*\\)"/"1"/}' "$config"
done`);
    const { status, stdout } = await run({ CONMON: conmon, RUNTIME: cheat, SIZE_MB: '1' });
    t.equal(status, 1);
    t.match(stdout, /NOT VERIFIED: the log ends early: payload offset \d+ \(line 1001\) should be "000000001000 /);
  });
}

t.test('settings that make no sense are told by name', async (t) => {
  const conmon = MONITORS[0];
  for (const [settings, message] of [
    [{ CONMON: '/nonexistent/conmon' }, /error: \/nonexistent\/conmon is missing/],
    [{ CONMON: conmon, RUNTIME: '/nonexistent/runtime' }, /error: RUNTIME=\/nonexistent\/runtime: no such program/],
    [{ CONMON: conmon, RUNTIME: 'no-such-runtime' }, /error: RUNTIME=no-such-runtime: no such program/],
    [{ CONMON: conmon, SIZE_MB: 'lots' }, /error: SIZE_MB=lots: not a number/],
    [{ CONMON: conmon, SIZE_MB: '-1' }, /error: SIZE_MB=-1/],
    [{ CONMON: conmon, SIZE_MB: '99999999' }, /error: SIZE_MB=99999999/],
    [{ CONMON: '/bin/true', SIZE_MB: '1' }, /error: \/bin\/true said nothing on the sync pipe; its status was 0/],
  ] as const) {
    const { status, stdout, stderr, temporary } = await run(settings);
    t.match([status, stdout, stderr], [1, '', message]);
    t.notOk(stderr.includes('    at '), 'no stack');
    t.ok(!existsSync(temporary) || leftovers(temporary).length === 0);
  }
});
