/**
 * Bundles each thread's entry into one CommonJS file in libexec/conmon (make bundles). A bundle is read and compiled in
 * one go, which is most of what a start costs; ES modules would bring their loader with them. What runs in every session
 * is stored with V8's code cache beside it (docs/adr/0005-start-up.md).
 */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import fastJson from 'fast-json-stringify';
import { V8S_OWN } from './src/native/v8s-own.ts';

const { values } = parseArgs({
  options: {
    version: { type: 'string' },
    commit: { type: 'string' },
    build: { type: 'string' },
    libc: { type: 'string' },
  },
});
const out = 'libexec/conmon';

/** What a session loads: NAME.cjs is a stub that runs NAME.js, with NAME.cache where V8 accepts it. */
const SESSION_ENTRIES = {
  main: 'src/main.ts',
  threads: 'src/threads/index.ts',
  piscina: 'node_modules/piscina/dist/index.js',
  // Piscina starts its threads with this file, and looks for it as worker.js.
  thread: 'node_modules/piscina/dist/worker.js',
  log: 'workers/log.ts',
  attach: 'workers/attach.ts',
  shared: 'workers/shared.ts',
  host: 'src/daemon/joining.ts',
};
const OTHER_ENTRIES = {
  'help.cjs': 'src/cli/help.ts',
  'attach-client.cjs': 'src/client/main.ts',
  'demo-runtime.cjs': 'src/demo/runtime.ts',
  'run.cjs': 'src/demo/run.ts',
};
/** Stubs of another name than NAME.cjs. */
const STUB_FILES = { thread: 'worker.js' };
/** What the warm-up session runs, and leaves a cache of. */
const CACHED = ['main', 'threads', 'piscina', 'thread', 'log'];
/** What runs when an exec joins the warm-up session. */
const CACHED_OF_EXECS = ['host', 'shared'];
/** yargs asks where it lies; a CommonJS bundle must be told in its first line. Not on the path of a session. */
const YARGS_ENTRIES = ['help.cjs', 'demo-runtime.cjs', 'run.cjs'];
const BUNDLE_URL = "const CONMON_BUNDLE_URL = require('node:url').pathToFileURL(__filename).href;";
/** One warm-up session, from start to end; it ends by itself in a fraction of a second. */
const WARM_UP_MS = 30_000;

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
    CONMON_BUILD_ID: JSON.stringify(values.build ?? 'unknown'),
    'import.meta.dirname': '__dirname',
    'import.meta.url': 'CONMON_BUNDLE_URL',
  },
  // Loaded when asked for, or optional parts of packages. node-pty looks for its addon beside its own files.
  external: ['./threads.cjs', './log.cjs', './piscina.cjs', './host.cjs', './help.cjs', '@napi-rs/nice', 'node-pty'],
  // The notices of what is bundled are in licences.txt.
  legalComments: 'none',
  metafile: true,
  // Names stay, for stack traces; a shorter text is read and scanned sooner.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
};

/**
 * Modules of Node that Piscina names and a session does not get to use: loaded when it does. They would cost 1 ms of each
 * start on main and as much in each thread (docs/adr/0044-the-pid-first.md).
 */
const LATE_BUILTINS = {
  'node:perf_hooks': `
    exports.performance = globalThis.performance;
    exports.createHistogram = (options) => process.getBuiltinModule('node:perf_hooks').createHistogram(options);`,
  'node:assert': `
    const assert = () => process.getBuiltinModule('node:assert');
    module.exports = (value, message) => value || assert()(value, message);
    module.exports.notStrictEqual = (a, b, message) => Object.is(a, b) && assert().notStrictEqual(a, b, message);`,
  'node:timers/promises': `
    exports.setTimeout = (...args) => process.getBuiltinModule('node:timers/promises').setTimeout(...args);`,
  'node:os': `
    exports.availableParallelism = () => process.getBuiltinModule('node:os').availableParallelism();`,
  'node:url': `
    const url = () => process.getBuiltinModule('node:url');
    exports.URL = URL;
    exports.fileURLToPath = (...args) => url().fileURLToPath(...args);
    exports.pathToFileURL = (...args) => url().pathToFileURL(...args);`,
};

/** For Piscina's bundles: fails when it asks a late module for something else than it did. */
const lateBuiltins = {
  name: 'late-builtins',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(?:${Object.keys(LATE_BUILTINS).join('|')})$`);
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'late' }));
    onLoad({ filter, namespace: 'late' }, ({ path }) => ({ contents: LATE_BUILTINS[path], loader: 'js' }));
  },
};

/** The parameters that Node gives to a CommonJS module. */
const PARAMETERS = 'module,exports,require,__dirname,__filename';

/** Runs NAME.js from its code cache. V8 refuses a cache of another version or other flags; it then compiles, as without. */
function stub(name, record) {
  const lines = [
    "'use strict';",
    "const{readFileSync}=require('node:fs');",
    `const file=__dirname+'/${name}.js';`,
    'let cachedData;',
    // A cache that is missing costs 2 ms and nothing else.
    `try{cachedData=readFileSync(__dirname+'/${name}.cache')}catch{cachedData=undefined}`,
    "const script=new(require('node:vm').Script)(readFileSync(file,'latin1'),{filename:file,cachedData});",
    `script.runInThisContext()(${PARAMETERS});`,
  ];
  return [...lines, ...record].join('\n');
}

/** What a json-file record is, around its log: all strings. Fields come in this order (src/log/json-format.ts). */
const ENVELOPE = {
  type: 'object',
  properties: {
    log: { type: 'string' },
    stream: { type: 'string' },
    attrs: { type: 'object', additionalProperties: { type: 'string' } },
    time: { type: 'string' },
  },
};

/** The serializer of {@link ENVELOPE}, generated here: fast-json-stringify itself would cost a log thread 60 ms. */
function bundleEnvelope() {
  const contents = fastJson(ENVELOPE, { mode: 'standalone' });
  return build({
    ...common,
    stdin: { contents, resolveDir: process.cwd(), sourcefile: 'json-envelope.js' },
    outfile: `${out}/json-envelope.cjs`,
  });
}

function bundle(entry, outfile, more) {
  return build({ ...common, entryPoints: [entry], outfile, ...more });
}

/**
 * Runs one session from stubs that write the cache of each bundle when it ends: so that the functions which a session
 * needs are in it, and not just those that run when a file is loaded. In a tree of its own; the shipped stubs cannot write.
 * Two execs join it, at a socket in the tree, for which root has to be one of a user namespace only. Where none can be had
 * the caches of what runs for execs are those of files that were just loaded.
 */
function recordCaches() {
  const tree = resolve('build/warm-up');
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(`${tree}/exits`, { recursive: true });
  mkdirSync(`${tree}/run`, { mode: 0o700 });
  cpSync(out, `${tree}/${out}`, { recursive: true, filter: (path) => !path.endsWith('/node') });
  symlinkSync(realpathSync(`${out}/node`), `${tree}/${out}/node`);
  cpSync('bin/conmon', `${tree}/bin/conmon`);
  const save = (name) =>
    `const save=()=>{require('node:v8').setFlagsFromString('${V8S_OWN}');require('node:fs').writeFileSync(__dirname+'/${name}.cache',script.createCachedData())};`;
  const keep = '(globalThis.conmonCaches??=[]).push(save);';
  const loadRest = [
    `for(const name of ${JSON.stringify(CACHED_OF_EXECS)}){`,
    "const{existsSync,readFileSync:read,writeFileSync:put}=require('node:fs'),{Script}=require('node:vm');",
    "const path=__dirname+'/'+name;if(existsSync(path+'.cache'))continue;",
    "put(path+'.cache',new Script(read(path+'.js','latin1'),{filename:name+'.js'}).createCachedData())}",
  ].join('');
  // The process ends in the addon's exitNow: the last moment at which everything has run.
  const atEnd = [
    'const dlopen=process.dlopen;',
    'process.dlopen=(module,path)=>{dlopen(module,path);const{exitNow}=module.exports;',
    `module.exports={...module.exports,exitNow:(status)=>{for(const write of conmonCaches)write();${loadRest};exitNow(status)}}};`,
  ].join('');
  // A thread for execs never ends; the last time that it waits its execs have ended.
  const atPoll = [
    'const dlopen=process.dlopen;',
    'process.dlopen=(module,path)=>{dlopen(module,path);const{poll}=module.exports;',
    'module.exports={...module.exports,poll:(...values)=>{save();return poll(...values)}}};',
  ].join('');
  const aroundTask =
    'const task=module.exports;module.exports=Object.assign((input)=>{const result=task(input);for(const write of conmonCaches)write();return result},task);';
  // A cache holds the name that its script was compiled under: not this machine's path. Whoever loads it gives its own.
  const recorder = (name, record) => stub(name, record).replace('filename:file', `filename:'${name}.js'`);
  const main = recorder('main', []).replace('script.runIn', `${save('main')}${keep}${atEnd}script.runIn`);
  writeFileSync(`${tree}/${out}/main.cjs`, main);
  const shared = recorder('shared', []).replace('script.runIn', `${save('shared')}${atPoll}script.runIn`);
  writeFileSync(`${tree}/${out}/shared.cjs`, shared);
  for (const name of ['threads', 'piscina', 'host'])
    writeFileSync(`${tree}/${out}/${name}.cjs`, recorder(name, [save(name), keep]));
  writeFileSync(`${tree}/${out}/worker.js`, recorder('thread', [save('thread'), keep]));
  writeFileSync(`${tree}/${out}/log.cjs`, recorder('log', [save('log'), keep, aroundTask]));
  const runtime = `${tree}/runtime`;
  const execArgs = `--sync -e -c warm-up -n warm-up -r ${runtime} -p ${tree}/exec-pid`;
  // A file's log is written by main, a fifo's by a thread: both are to be recorded. It is open here for who opens it to write.
  const fifo = `${tree}/fifo`;
  if (spawnSync('mkfifo', [fifo]).status !== 0) throw new Error(`mkfifo ${fifo} failed`);
  const fifoFd = openSync(fifo, 'r+');
  writeFileSync(
    runtime,
    [
      '#!/bin/sh',
      'run() { sleep 0.3; for log in exec-log fifo; do',
      `[ "$verb" = create ] && [ -S ${tree}/run/conmon/warm-up ] && ${tree}/bin/conmon ${execArgs} -l ${tree}/$log --exec-process-spec ${runtime}`,
      'done; echo out; echo err >&2; }',
      'for verb in "$@"; do case "$verb" in create | exec) break ;; esac; done',
      'while [ "$1" != --pid-file ]; do shift; done',
      'run & printf %s $! >"$2"',
      '',
    ].join('\n'),
    { mode: 0o755 },
  );
  const args = [
    '--sync',
    '-c',
    'warm-up',
    '-u',
    'warm-up',
    '-n',
    'warm-up',
    '-r',
    runtime,
    '-b',
    tree,
    '--full-attach',
  ];
  const files = ['-l', fifo, '-p', `${tree}/pidfile`, '-P', `${tree}/conmon-pidfile`];
  const dirs = ['--exit-dir', `${tree}/exits`, '--persist-dir', tree];
  const command = [`${tree}/bin/conmon`, ...args, ...files, ...dirs];
  const start = ([path, ...rest]) =>
    spawnSync(path, rest, {
      env: { PATH: '/usr/bin:/bin', XDG_RUNTIME_DIR: `${tree}/run` },
      timeout: WARM_UP_MS,
      encoding: 'utf8',
    });
  let run = start(process.getuid() === 0 ? ['unshare', '-U', '-r', '--', ...command] : command);
  if (run.status !== 0) run = start(command);
  closeSync(fifoFd);
  if (run.status !== 0) throw new Error(`warm-up session: status ${run.status}, ${run.signal}: ${run.stderr}`);
  for (const name of [...CACHED, ...CACHED_OF_EXECS]) cpSync(`${tree}/${out}/${name}.cache`, `${out}/${name}.cache`);
  rmSync(tree, { recursive: true, force: true });
}

/** Where distributions keep musl's. */
const MUSL_NOTICES = ['/usr/share/doc/musl/copyright', '/usr/share/licenses/musl/COPYRIGHT'];

/** The licence of the library that the launcher is linked with. */
function muslLicence() {
  const path = MUSL_NOTICES.find(existsSync);
  const text =
    path === undefined ? 'https://git.musl-libc.org/cgit/musl/tree/COPYRIGHT' : readFileSync(path, 'utf8').trim();
  return `musl (MIT)\n\n${text}\n`;
}

/** The licence of Node and of each package that is in a bundle, as their authors ask for. */
function writeLicences(results) {
  const inputs = results.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  const packages = inputs.map((input) => /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1]);
  const bundled = [...new Set(packages.filter((name) => name !== undefined))].sort();
  const sections = [`node-linux-${process.arch}`, ...bundled, 'assemblyscript'].map((name) => {
    const directory = `node_modules/${name}`;
    const { version, license } = JSON.parse(readFileSync(`${directory}/package.json`, 'utf8'));
    const files = readdirSync(directory).filter((entry) => /^(licen[cs]e|notice)/i.test(entry));
    if (files.length === 0) throw new Error(`${directory}: no licence file`);
    return `${name} ${version} (${license})\n\n${files.map((file) => readFileSync(`${directory}/${file}`, 'utf8').trim()).join('\n\n')}\n`;
  });
  if (values.libc === 'musl') sections.push(muslLicence());
  writeFileSync(`${out}/licences.txt`, sections.join(`\n${'-'.repeat(80)}\n\n`));
}

mkdirSync(out, { recursive: true });
const results = await Promise.all([
  bundleEnvelope(),
  ...Object.entries(SESSION_ENTRIES).map(([name, entry]) =>
    bundle(entry, `${out}/${name}.js`, {
      banner: { js: `(function(${PARAMETERS}){` },
      // A worker's default export is what Piscina calls; main may want the others.
      footer: {
        js: entry.startsWith('workers/')
          ? 'module.exports=Object.assign(module.exports.default,module.exports);})'
          : '})',
      },
      plugins: entry.startsWith('node_modules/piscina/') ? [lateBuiltins] : [],
    }),
  ),
  ...Object.entries(OTHER_ENTRIES)
    .filter(([, entry]) => existsSync(entry))
    .map(([name, entry]) =>
      bundle(entry, `${out}/${name}`, YARGS_ENTRIES.includes(name) ? { banner: { js: BUNDLE_URL } } : {}),
    ),
]);
for (const name of Object.keys(SESSION_ENTRIES)) {
  rmSync(`${out}/${name}.cache`, { force: true });
  writeFileSync(`${out}/${STUB_FILES[name] ?? `${name}.cjs`}`, stub(name, []));
}
writeLicences(results);
// The tree's own package.json says "module"; these files are not.
writeFileSync(`${out}/package.json`, '{"type":"commonjs"}\n');
recordCaches();
