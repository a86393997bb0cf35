/**
 * The checkers checked: a reader that forgave, or a search that found nothing, would make every other test worthless.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { K8sLogReader, RepeatedContent, readLog, verifyLog } from '../helpers/k8s-log.ts';
import { isRunning } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';
import { Workspace } from '../helpers/workspace.ts';

const STAMP = '2026-11-23T18:00:00.123456789+00:00';

function problem(log: string): string {
  const reader = new K8sLogReader(() => {});
  try {
    reader.write(Buffer.from(log, 'latin1'));
    reader.end();
    return 'none';
  } catch (error) {
    return (error as Error).message;
  }
}

t.test('the log reader takes every well-formed record', async (t) => {
  for (const record of [
    'stdout F ',
    'stdout F hello',
    'stderr P x',
    `stdout P ${'y'.repeat(8192)}`,
    'stdout F \xff\0',
  ]) {
    t.equal(problem(`${STAMP} ${record}\n`), 'none');
  }
  t.equal(problem('1970-01-01T00:00:00.000000000-03:30 stdout F x\n'), 'none');
});

t.test('the log reader refuses every malformed record and says where it is', async (t) => {
  const bad: readonly (readonly [string, string])[] = [
    [`${STAMP} stdout F hello`, 'without a newline'],
    [`${STAMP} stdout P \n`, 'empty part'],
    [`${STAMP} stdout F ${'y'.repeat(8193)}\n`, '8193 bytes'],
    [`${STAMP} stdout X hello\n`, 'stream or tag'],
    [`${STAMP} stdwar F hello\n`, 'stream or tag'],
    [`${STAMP}  stdout F hello\n`, 'stream or tag'],
    [`${STAMP.replace('.123456789', '.12345678')} stdout F hello\n`, 'timestamp'],
    [`${STAMP.replace('+00:00', 'Z')} stdout F hello there\n`, 'timestamp'],
    [`${STAMP.replace('18:', '25:')} stdout F hello\n`, 'timestamp'],
    ['\n', 'too short'],
    ['hello\n', 'too short'],
  ];
  for (const [log, what] of bad) {
    t.match(problem(log), what, JSON.stringify(log.slice(0, 60)));
    t.match(problem(`${STAMP} stdout F fine\n${log}`), `log record 1 at byte ${STAMP.length + 15}`, 'second record');
  }
});

t.test('parts are joined, and a final F means a newline', async (t) => {
  const workspace = new Workspace();
  t.teardown(() => workspace.destroy());
  const path = workspace.path('log');
  const records = ['stdout P a', 'stderr F e', 'stdout P b', 'stdout F c', 'stdout P d'];
  writeFileSync(path, records.map((record) => `${STAMP} ${record}\n`).join(''));
  const log = readLog(path);
  t.equal(log.stdout.toString(), 'abc\nd');
  t.equal(log.stderr.toString(), 'e\n');
  t.equal(log.records.length, 5);
});

t.test('the flood check finds a changed, a missing and a surplus byte', async (t) => {
  const workspace = new Workspace();
  t.teardown(() => workspace.destroy());
  const block = Buffer.from('one\ntwo\nthree\n');
  const check = async (lines: readonly string[]) => {
    const path = workspace.path('log');
    writeFileSync(path, lines.map((line) => `${STAMP} stdout F ${line}\n`).join(''));
    const none = new RepeatedContent(block, 0);
    return await verifyLog(path, { stdout: new RepeatedContent(block, 2), stderr: none }).then(String, String);
  };
  t.equal(await check(['one', 'two', 'three', 'one', 'two', 'three']), '6');
  t.match(await check(['one', 'two', 'three', 'one', 'twO', 'three']), /content differs/);
  t.match(await check(['one', 'two', 'three', 'one', 'two']), /22 bytes of content where 28/);
  t.match(await check(['one', 'two', 'three', 'one', 'two', 'three', 'one']), /32 bytes of content where 28/);
});

t.test('a process that carries the mark is found and ended', async (t) => {
  const workspace = new Workspace();
  t.teardown(() => workspace.destroy());
  const child = spawn('sleep', ['1000'], { env: { PLACE: workspace.dir }, stdio: 'ignore' });
  const pid = child.pid ?? 0;
  await waitFor('the process to be found', () => workspace.leftovers().length === 1);
  t.match(workspace.leftovers()[0], `process ${pid}`);
  await t.rejects(workspace.expectNothingLeft(50), /left behind:\n {2}process/);
  workspace.destroy();
  await waitFor('the process to end', () => !isRunning(pid));
});
