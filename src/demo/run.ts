/**
 * What `make run` executes: runs one container under conmon and shows what conmon does with it. Without CMD it is a
 * log-heavy sample whose log is verified byte for byte; with CMD it is that command, on a terminal interactively. This is
 * the story and the settings; each kind of run has a file of its own.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { dirname, extname, join, resolve } from 'node:path';
import { ClientError } from '../client/client-error.ts';
import { runCommand } from './command-run.ts';
import { ContainerRun, type ContainerSpec, makeWorkDir, removeWorkDir } from './container-run.ts';
import { DemoError } from './demo-error.ts';
import { Interrupted } from './interrupted.ts';
import { chooseRuntime } from './oci-runtime.ts';
import { type SampleSize, sampleSize } from './sample.ts';
import { checkSpace, runSample, runSampleWriter } from './sample-run.ts';

interface Settings {
  readonly runtime: string | undefined;
  readonly command: string | undefined;
  readonly conmon: string;
  readonly demoRuntime: string;
  readonly sample: SampleSize;
  readonly isInteractive: boolean;
}

const SAMPLE_WRITER = 'sample-writer';
const DEFAULT_SIZE_MB = '256';
const MAX_SIZE_MB = 100_000;
const MEGA = 1e6;
/** This program: `libexec/conmon/run.cjs`, or `src/demo/run.ts` when Node runs the sources. */
const entry = resolve(process.argv[1] ?? '');
const home = resolve(dirname(entry), '../..');

async function main(): Promise<number> {
  const [role, blocks] = process.argv.slice(2);
  if (role === SAMPLE_WRITER) {
    await runSampleWriter(Number(blocks));
    return 0;
  }
  const settings = readSettings();
  const interruption = watchForInterruption();
  const workDir = makeWorkDir();
  let run: ContainerRun | undefined;
  try {
    const container = prepare(settings, workDir);
    if (settings.command === undefined) checkSpace(workDir, settings.sample);
    run = await ContainerRun.create(container, workDir);
    interruption.throwIfAborted();
    if (settings.command === undefined) return await runSample(run, settings.sample, interruption);
    if (!settings.isInteractive) return await runCommand(run, interruption);
    const [{ runInteractive }, { sys }] = [await import('./interactive-run.ts'), await import('../native/sys.ts')];
    return await runInteractive(run, sys, interruption);
  } catch (error) {
    // Whatever failed then failed because of it.
    interruption.throwIfAborted();
    throw error;
  } finally {
    for (const problem of (await run?.end()) ?? []) tell(problem);
    removeWorkDir(workDir);
  }
}

function readSettings(): Settings {
  const setting = (name: string) => process.env[name] || undefined;
  const command = setting('CMD');
  const sizeText = setting('SIZE_MB') ?? DEFAULT_SIZE_MB;
  const sizeMb = Number(sizeText);
  if (!(sizeMb > 0 && sizeMb <= MAX_SIZE_MB)) throw new DemoError(`SIZE_MB=${sizeText}: not a number of megabytes`);
  return {
    runtime: setting('RUNTIME'),
    command,
    conmon: findConmon(setting('CONMON')),
    demoRuntime: join(home, 'bin/conmon-demo-runtime'),
    sample: sampleSize(sizeMb * MEGA),
    isInteractive: command !== undefined && process.stdin.isTTY && process.stdout.isTTY,
  };
}

function findConmon(wanted: string | undefined): string {
  const path = wanted === undefined ? join(home, 'bin/conmon') : resolve(wanted);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch (error) {
    const advice = wanted === undefined ? 'run "make build"' : `CONMON=${wanted} names no program`;
    throw new DemoError(`${path} is missing: ${advice}`, { cause: error });
  }
}

/** Chooses the runtime, says what is used, and what the container will be. */
function prepare(settings: Settings, workDir: string): ContainerSpec {
  const probeDir = join(workDir, 'probe');
  mkdirSync(probeDir);
  const { runtime, notes } = chooseRuntime(settings.runtime, settings.demoRuntime, probeDir);
  const { stdout } = spawnSync(settings.conmon, ['--version'], { encoding: 'utf8' });
  const version = (stdout ?? '').split('\n')[0];
  for (const note of notes) tell(note);
  tell(`conmon:  ${version} (${settings.conmon})`);
  tell(`runtime: ${runtime.description}`);
  const { conmon, command } = settings;
  if (command !== undefined) {
    const args = ['/bin/sh', '-c', command];
    return { conmon, runtime, args, terminal: settings.isInteractive, extraPaths: [] };
  }
  const { blocks, bytes, lines } = settings.sample;
  tell(`sample:  ${(bytes / MEGA).toFixed(0)} MB in ${lines.toLocaleString('en')} lines of 20 to 20,000 bytes\n`);
  const args = [process.execPath, entry, SAMPLE_WRITER, String(blocks)];
  const programDir = extname(entry) === '.ts' ? home : dirname(entry);
  return { conmon, runtime, args, terminal: false, extraPaths: [process.execPath, programDir] };
}

/** Aborted by the signals that end a program, and when nobody reads our output any more. The run then cleans up. */
function watchForInterruption(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => controller.abort(new Interrupted(signal)));
  }
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => controller.abort(new Interrupted('SIGPIPE')));
  }
  return controller.signal;
}

/** About the run, for people: stdout is the container's. */
function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    if (error instanceof Interrupted) {
      process.exitCode = error.status;
      return;
    }
    tell(
      error instanceof DemoError || error instanceof ClientError
        ? `error: ${error.message}`
        : String(error instanceof Error ? error.stack : error),
    );
    process.exitCode = 1;
  },
);
