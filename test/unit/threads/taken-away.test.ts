/** conmon was removed while it ran: a thread that cannot start is a death like any other, not a task that waits for ever. */
import { execFileSync } from 'node:child_process';
import { cpSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { libexecDir } from '../../../src/native/libexec.ts';

/** A session's output in a process of its own, from a tree that loses a file before the first thread is started. */
const SCRIPT = `
  const { rmSync, writeSync } = require('node:fs');
  const [libexec, gone] = process.argv.slice(2);
  const { Output } = require(libexec + '/threads.cjs');
  const addon = { exports: {} };
  process.dlopen(addon, libexec + '/sys.node');
  const sys = { ...addon.exports, strerror: String };
  for (const name of gone.split(',')) rmSync(libexec + '/' + name, { recursive: true });
  const say = (text) => writeSync(1, text + '\\n');
  process.on('uncaughtException', (error) => say('uncaught: ' + error.message));
  const diag = { debug() {}, warn() {}, error: (text) => say(text.split(':')[0]) };
  const targets = [{ driver: 'k8s-file', path: '/nowhere', fd: -1 }];
  const limits = { fileMaxBytes: Infinity, globalMaxBytes: Infinity };
  const plan = { targets, limits, rotation: { keepFiles: 0 }, syncLog: false, diag: { level: 'error', syslogName: undefined } };
  const output = new Output(sys, diag, plan, () => {
    say('ended');
    process.exit(0);
  });
  output.begin([], -1);
  output.end(true);
  setTimeout(() => {}, 1e9);
`;

function run(t: Test, gone: string): string[] {
  const dir = t.testdir({ 'main.cjs': SCRIPT });
  const libexec = join(dir, 'libexec');
  cpSync(libexecDir, libexec, { recursive: true, filter: (path) => !path.endsWith('/node') });
  symlinkSync(realpathSync(join(libexecDir, 'node')), join(libexec, 'node'));
  t.teardown(() => rmSync(libexec, { recursive: true, force: true }));
  const args = ['-i', process.execPath, join(dir, 'main.cjs'), libexec, gone];
  return execFileSync('/usr/bin/env', args, { encoding: 'utf8', timeout: 60_000 }).trimEnd().split('\n');
}

for (const gone of ['worker.js', 'log.js', 'piscina.cjs', 'kernel.wasm', 'worker.js,log.cjs,log.js'])
  t.test(`without ${gone} the log worker dies three times, and the end is told`, (t) => {
    const said = run(t, gone);
    t.same(
      said.slice(0, 3),
      [1, 2, 3].map((death) => `log worker died (${death} of 3)`),
    );
    t.equal(said.at(-1), 'ended');
    t.notOk(said.some((line) => line.startsWith('uncaught')));
    t.end();
  });
