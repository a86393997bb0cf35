/**
 * `conmon-attach`: attaches a terminal, or any streams, to a container that conmon monitors, with no engine. The story;
 * each part has a file of its own. Not part of the daemon.
 */

import { readFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';
import { sys } from '../native/sys.ts';
import { AttachClient } from './attach-client.ts';
import { ClientError } from './client-error.ts';
import { NAME, type Plan, parseCommandLine } from './command-line.ts';
import { converse, type Outcome } from './conversation.ts';
import { makeRaw } from './raw-terminal.ts';
import { WindowSize } from './window-size.ts';

declare const CONMON_VERSION: string;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const USAGE_STATUS = 2;
/** The exit file is written before conmon closes its clients, or within a second of it. */
const EXIT_FILE_TIMEOUT_MS = 5000;
const EXIT_FILE_INTERVAL_MS = 10;

/** A signal that asks us to end. */
class Stopped extends Error {
  readonly status: number;

  constructor(signal: NodeJS.Signals) {
    super(signal);
    this.status = 128 + constants.signals[signal];
  }
}

async function main(): Promise<number> {
  const commandLine = readCommandLine();
  if (typeof commandLine === 'number') return commandLine;
  if (commandLine.kind === 'text') {
    writeSync(STDOUT, commandLine.text);
    return 0;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => stop.abort(new Stopped(signal)));
  const outcome = await attach(commandLine, stop.signal);
  if (outcome === 'hungUp') return new Stopped('SIGHUP').status;
  if (outcome === 'detached') {
    say('detached: the container goes on', '\n');
    return 0;
  }
  return commandLine.exitFile === undefined ? 0 : await exitStatus(commandLine.exitFile);
}

function readCommandLine(): ReturnType<typeof parseCommandLine> | number {
  try {
    return parseCommandLine(process.argv.slice(2), CONMON_VERSION);
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    say(`${NAME}: ${error.message}\nTry "${NAME} --help".`);
    return USAGE_STATUS;
  }
}

/** Talks to the container until one side ends; our terminal is then as it was. */
async function attach(plan: Plan, signal: AbortSignal): Promise<Outcome> {
  const onTerminal = plan.input && isatty(STDIN);
  const raw = onTerminal && (plan.terminal ?? hasTerminal(plan.configPath));
  const client = AttachClient.connect(sys, plan.socketPath);
  const stopResizing = raw && isatty(STDOUT) ? followSize(plan.ctlPath) : undefined;
  const restore = raw ? makeRaw(sys, STDIN) : undefined;
  try {
    const { input } = plan;
    return await converse(client, sys, {
      detachKeys: onTerminal ? plan.detachKeys : new Uint8Array(0),
      input,
      rawTerminal: raw,
      signal,
    });
  } finally {
    restore?.();
    stopResizing?.();
    client.close();
  }
}

/** What the bundle says; when nobody can say, a terminal is meant for a terminal. */
function hasTerminal(configPath: string): boolean {
  try {
    const config = JSON.parse(readFileSync(configPath, 'utf8')) as { process?: { terminal?: unknown } };
    return config.process?.terminal === true;
  } catch {
    return true;
  }
}

/** Gives the container's terminal the size of ours, now and whenever it changes. @returns a function that stops it. */
function followSize(ctlPath: string): () => void {
  let window: WindowSize;
  try {
    window = new WindowSize(ctlPath);
  } catch (error) {
    say(`${NAME}: the window's size is not passed on: ${error instanceof Error ? error.message : error}`);
    return () => {};
  }
  const send = () => window.send(...process.stdout.getWindowSize());
  process.stdout.on('resize', send);
  send();
  return () => {
    process.stdout.off('resize', send);
    window.close();
  };
}

/** As a shell would see it. @throws ClientError when there is none. */
async function exitStatus(path: string): Promise<number> {
  for (const deadlineMs = performance.now() + EXIT_FILE_TIMEOUT_MS; ; await sleep(EXIT_FILE_INTERVAL_MS)) {
    const text = readIfThere(path);
    if (text !== undefined && /^-?\d{1,9}$/.test(text)) return Number(text) & 0xff;
    if (text !== undefined) throw new ClientError(`${path} holds no exit status`);
    // Disconnected by conmon's stall timeout, or by the death of what served us: the container goes on.
    if (performance.now() > deadlineMs) throw new ClientError(`disconnected, and there is no exit status in ${path}`);
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new ClientError(`cannot read ${path}: ${error instanceof Error ? error.message : error}`);
  }
}

/** Not through process.stderr, which would make a pipe that we share with others non-blocking, and leave it so. */
function say(text: string, before = ''): void {
  try {
    writeSync(STDERR, `${before}${text}\n`);
  } catch {
    // Nobody listens.
  }
}

main().then(
  // A read of stdin may still wait in a thread: nobody waits for it.
  (status) => sys.exitNow(status),
  (error: unknown) => {
    if (error instanceof Stopped) sys.exitNow(error.status);
    const text = error instanceof ClientError ? error.message : error instanceof Error ? error.stack : String(error);
    say(`${NAME}: ${text}`);
    sys.exitNow(1);
  },
);
