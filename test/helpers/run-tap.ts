/**
 * Runs test files under tap and prints what a person wants to read: a line a file as it ends, the failures in full, and
 * a closing count. The whole TAP stream stays in build/test/NAME.tap. A skipped test is a failure: CI runs everything.
 * Usage: run-tap.ts NAME JOBS TIMEOUT_SECONDS FILE...
 */

import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';

const [name = '', jobs = '1', timeout = '120', ...files] = process.argv.slice(2);
if (files.length === 0) throw new Error(`${name}: no test files`);

mkdirSync('build/test', { recursive: true });
const path = `build/test/${name}.tap`;
const log = createWriteStream(path);
const args = ['run', '--disable-coverage', '--reporter=tap', `--jobs=${jobs}`, `--timeout=${timeout}`, ...files];
const tap = spawn(process.execPath, ['node_modules/.bin/tap', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });

/** Lines of the failure that is being printed follow until one that is not deeper than its diagnostics. */
let failureIndent = -1;
let passed = 0;
let failed = 0;
let skipped = 0;

for await (const line of createInterface({ input: tap.stdout })) {
  log.write(`${line}\n`);
  const match = /^( *)(not ok|ok) \d+(.*)$/.exec(line);
  if (match === null) {
    const indent = line.length - line.trimStart().length;
    if (failureIndent >= 0 && (indent > failureIndent || line.trim() === '')) console.log(line);
    continue;
  }
  const [, indent = '', verdict, title = ''] = match;
  failureIndent = verdict === 'not ok' ? indent.length : -1;
  if (verdict === 'not ok') console.log(line);
  // One level below the file are its tests.
  if (indent.length === 4) {
    if (/# (SKIP|TODO)\b/i.test(title)) {
      skipped++;
      console.log(line);
    } else if (verdict === 'ok') passed++;
    else failed++;
  } else if (indent.length === 0 && verdict === 'ok') console.log(`ok${title.replace(/ # time=/, '  ')}`);
}
const status = await new Promise<number>((resolve) => tap.once('close', (code) => resolve(code ?? 1)));
log.end();
console.log(`${name}: ${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
if (status !== 0 || failed > 0) console.log(`${name}: see ${path}`);
process.exitCode = status !== 0 || failed > 0 || passed === 0 || (skipped > 0 && process.env['CI'] === 'true') ? 1 : 0;
