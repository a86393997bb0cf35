/**
 * conmon-demo-runtime: a small OCI runtime over plain processes, which isolates nothing and is for trying conmon out and
 * for its tests. This is its story: read the command line, do one thing, report one error. It keeps off process.stdout
 * and process.stderr while a container is being started: those are the container's, and Node would make them
 * non-blocking.
 */

import { appendFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sys } from '../native/sys.ts';
import { type Arguments, parseCommandLine } from './command-line.ts';
import {
  containerState,
  createContainer,
  deleteContainer,
  execProcess,
  killContainer,
  signalNumber,
  startContainer,
} from './container.ts';
import { ContainerStore } from './container-store.ts';
import { DemoError, reasonOf } from './demo-error.ts';
import { waitForExit } from './waiting-process.ts';

const NAME = 'conmon-demo-runtime';
const OCI_VERSION = '1.0.2';
const NOTICE = 'The demo runtime is for trying out conmon and for its tests. It isolates nothing.';
const DETAILS = `A container is a plain process of this machine: it sees and may do what the user may who starts it.
Of config.json only "process" counts: args, env, cwd, terminal, consoleSize, user.umask and, for root, user.uid
and user.gid. Root, mounts, namespaces, hooks, cgroups, capabilities, limits and further groups are ignored.`;

const STDOUT = 1;
const STDERR = 2;

/** Known once the command line has been understood. */
let logTarget: Pick<Arguments, 'log' | 'logFormat'> | undefined;

async function main(argv: readonly string[]): Promise<void> {
  const args = await parseCommandLine(argv, {
    name: NAME,
    about: `${NOTICE}\n\n${DETAILS}`,
    version: `${NAME}: ${NOTICE}\nspec: ${OCI_VERSION}`,
    defaultRoot: defaultRoot(),
  });
  if (args === undefined) return;
  logTarget = args;
  await run(args);
}

async function run(args: Arguments): Promise<void> {
  const { command, id } = args;
  if (command === 'features') {
    print({ ociVersionMin: '1.0.0', ociVersionMax: OCI_VERSION, hooks: [], mountOptions: [] });
    return;
  }
  const store = new ContainerStore(args.root);
  switch (command) {
    case 'create':
      await createContainer(store, sys, id, args).catch(addNotice);
      return leave();
    case 'start':
      return startContainer(store, id);
    case 'state':
      return print(containerState(store, id));
    case 'exec': {
      const pid = await execProcess(store, sys, id, { ...args, processFile: args.process });
      if (args.detach) return leave();
      process.exitCode = waitForExit(sys, pid);
      return;
    }
    case 'kill':
      return killContainer(store, id, signalNumber(args.signal), args.all);
    case 'delete':
      return deleteContainer(store, id, args.force);
  }
}

/** `$XDG_RUNTIME_DIR/conmon-demo`, else `/run/conmon-demo` for root, else the user's own in the temporary directory. */
function defaultRoot(): string {
  const runtimeDir = process.env['XDG_RUNTIME_DIR'];
  if (runtimeDir?.startsWith('/')) return join(runtimeDir, 'conmon-demo');
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 ? '/run/conmon-demo' : join(tmpdir(), `conmon-demo-${uid}`);
}

/** Ends the program at once, without the turn of the event loop in which libuv would reap the container's process. */
function leave(): never {
  process.exit(0);
}

function print(value: unknown): void {
  writeSync(STDOUT, `${JSON.stringify(value, null, 2)}\n`);
}

function addNotice(error: unknown): never {
  if (error instanceof DemoError) error.message += `. ${NOTICE}`;
  throw error;
}

/** As runc's: text on stderr, and a line in the log file when one is named. A fault of our own keeps its stack. */
function report(error: unknown): void {
  const message = error instanceof DemoError ? error.message : error instanceof Error ? error.stack : String(error);
  writeSync(STDERR, `${NAME}: ${message}\n`);
  if (logTarget?.log === undefined) return;
  const entry = { level: 'error', msg: message, time: new Date().toISOString() };
  const asText = `time="${entry.time}" level=error msg=${JSON.stringify(message)}`;
  try {
    appendFileSync(logTarget.log, `${logTarget.logFormat === 'json' ? JSON.stringify(entry) : asText}\n`);
  } catch (cause) {
    writeSync(STDERR, `${NAME}: cannot write the log ${logTarget.log}: ${reasonOf(cause)}\n`);
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  report(error);
  process.exitCode = 1;
});
