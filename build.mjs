/**
 * Bundles each thread's entry into one CommonJS file in libexec/conmon (make bundles). A bundle is read and compiled in
 * one go, which is most of what a start costs; ES modules would bring their loader with them.
 */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const { values } = parseArgs({ options: { version: { type: 'string' }, commit: { type: 'string' } } });
const out = 'libexec/conmon';

const common = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node26',
  // require() at run time: import() would start the ES module loader.
  supported: { 'dynamic-import': false },
  define: {
    CONMON_BUNDLE_DIR: '__dirname',
    CONMON_VERSION: JSON.stringify(values.version ?? '0.0.0'),
    CONMON_COMMIT: JSON.stringify(values.commit ?? 'unknown'),
    'import.meta.dirname': '__dirname',
    'import.meta.url': 'CONMON_BUNDLE_URL',
  },
  legalComments: 'none',
  // Names stay, for stack traces; a shorter text is read and scanned sooner.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
};

mkdirSync(out, { recursive: true });
/** yargs asks where it lies; a CommonJS bundle must be told in its first line. Not on the path of a session. */
const YARGS_ENTRIES = ['help.cjs', 'demo-runtime.cjs', 'run.cjs'];
const BUNDLE_URL = "const CONMON_BUNDLE_URL = require('node:url').pathToFileURL(__filename).href;";

/** What main loads later, or rarely, and optional parts of packages that this build does not carry. */
// node-pty looks for its addon beside its own files; only the demo runtime, which lives in the source tree, uses it.
const external = ['./threads.cjs', './help.cjs', '@napi-rs/nice', 'node-pty'];
const entries = [
  ['src/main.ts', 'main.cjs'],
  ['src/threads/index.ts', 'threads.cjs'],
  ['src/cli/help.ts', 'help.cjs'],
  ['workers/log.ts', 'log.cjs'],
  ['workers/attach.ts', 'attach.cjs'],
  // Piscina starts its threads with this file, by this name.
  ['node_modules/piscina/dist/worker.js', 'worker.js'],
  ['src/demo/runtime.ts', 'demo-runtime.cjs'],
  ['src/demo/run.ts', 'run.cjs'],
];
await Promise.all(
  entries
    .filter(([entry]) => existsSync(entry))
    .map(([entry, name]) =>
      build({
        ...common,
        entryPoints: [entry],
        outfile: `${out}/${name}`,
        external,
        ...(YARGS_ENTRIES.includes(name) ? { banner: { js: BUNDLE_URL } } : {}),
        // A worker's default export is what Piscina calls.
        ...(entry.startsWith('workers/') ? { footer: { js: 'module.exports = module.exports.default;' } } : {}),
      }),
    ),
);
// The tree's own package.json says "module"; these files are not.
writeFileSync(`${out}/package.json`, '{"type":"commonjs"}\n');
