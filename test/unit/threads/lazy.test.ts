/** What a session that starts no thread does without: Piscina, worker_threads and Node's streams (src/threads/pool.ts). */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { libexecDir } from '../../../src/native/libexec.ts';

/** A session's output in a fresh process, as main makes it; prints what of Node and of ours is loaded afterwards. */
const SCRIPT = `
  const libexec = process.argv[2];
  const { MainLogs, Output } = require(libexec + '/threads.cjs');
  const diag = { debug() {}, warn() {}, error() {} };
  const addon = { exports: {} };
  process.dlopen(addon, libexec + '/sys.node');
  const kind = process.argv[3];
  const path = __dirname + '/log';
  const fd = kind === 'none' ? -1 : require('node:fs').openSync(path, 'a');
  const targets = kind === 'none' ? [] : [{ driver: 'k8s-file', path, fd }];
  const mainLogs = kind === 'quiet log' ? () => new MainLogs(addon.exports, diag) : undefined;
  const limits = { fileMaxBytes: Infinity, globalMaxBytes: Infinity };
  const plan = { targets, limits, rotation: { keepFiles: 0 }, syncLog: false, diag: { level: 'error', syslogName: undefined }, mainLogs };
  const output = new Output(addon.exports, diag, plan, () => {});
  output.begin([], -1);
  const ours = Object.keys(require.cache).filter((path) => path.endsWith('piscina.cjs')).map(() => 'piscina');
  const nodes = process.moduleLoadList.filter((name) => /^NativeModule (worker_threads|stream|net|perf_hooks)$/.test(name));
  // Not process.stdout, which would load the streams that are looked for.
  require('node:fs').writeSync(1, JSON.stringify([...ours, ...nodes.map((name) => name.slice(13))]));
  process.exit(0);
`;

function loaded(t: Test, kind: 'log' | 'quiet log' | 'none'): unknown {
  // A file: what Node loads for -e is what is looked for here.
  const script = join(t.testdir({ 'main.cjs': SCRIPT }), 'main.cjs');
  // `env -i`: tap puts its own loader into the environment of every child.
  const args = ['-i', process.execPath, script, libexecDir, kind];
  return JSON.parse(execFileSync('/usr/bin/env', args, { encoding: 'utf8', timeout: 60_000 }));
}

t.test('without a log and without a client neither Piscina nor worker_threads is loaded', (t) => {
  t.same(loaded(t, 'none'), []);
  t.end();
});

t.test('nor with a log that main writes', (t) => {
  t.same(loaded(t, 'quiet log'), []);
  t.end();
});

t.test('with a log of a thread’s both are', (t) => {
  t.match(loaded(t, 'log'), ['piscina', 'stream', 'worker_threads', 'perf_hooks']);
  t.end();
});
