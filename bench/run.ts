// The bench: runs the scenarios against C conmon and ours alternately, prints tables, keeps every sample as NDJSON.
// Main thread only. `node bench/run.ts --help`; `make bench`, `make bench-quick`.

import { constants } from 'node:fs';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import type { Environment, Failure, Sample } from './harness/environment.ts';
import { startMonitor } from './harness/monitor.ts';
import { buildPrograms, projectRoot } from './harness/native.ts';
import { goalsTable } from './report/goals.ts';
import { htmlReport } from './report/html.ts';
import { describeMachine, formatMachine } from './report/machine.ts';
import { appendResult, parseResults, type Results, resultPath } from './report/ndjson.ts';
import { clock, terminalProgress } from './report/progress.ts';
import { failureLines, formatTable } from './report/table.ts';
import { exitStatus, type PlannedStep, runSteps } from './run-steps.ts';
import { scenarios } from './scenarios/all.ts';

const options = yargs(hideBin(process.argv))
  .scriptName('bench')
  .usage('$0 [options]\n\nMeasures conmon against a rival, in alternating runs, every log verified byte for byte.')
  .option('quick', { type: 'boolean', default: false, describe: 'fewer runs: under 4 minutes' })
  .option('scenario', {
    type: 'string',
    array: true,
    describe: 'only these',
    choices: scenarios.map((scenario) => scenario.name),
  })
  .option('ours', { type: 'string', default: join(projectRoot, 'bin', 'conmon'), describe: 'the conmon under test' })
  .option('rival', { type: 'string', default: '/usr/bin/conmon', describe: 'the conmon to compare with' })
  .option('pairs', { type: 'number', describe: 'pairs of runs for each row (default: by scenario)' })
  .option('report', { type: 'string', describe: 'measure nothing: tables and HTML again from this .ndjson file' })
  .option('dir', { type: 'string', default: tmpdir(), describe: 'where logs are written: a real disk' })
  .strict()
  .help()
  .parseSync();

process.exitCode = await main();

async function main(): Promise<number> {
  if (options.report !== undefined) {
    const results = parseResults(await readFile(options.report, 'utf8'));
    process.stdout.write(`${formatMachine(results.machine)}\n`);
    await present(results, options.report);
    return exitStatus(true, results.failures);
  }
  const stop = new AbortController();
  process.on('SIGINT', () => stop.abort(new Error('interrupted')));
  process.on('SIGTERM', () => stop.abort(new Error('terminated')));
  const monitors = { rival: resolve(options.rival), ours: resolve(options.ours) };
  if (!(await isExecutable(monitors.ours)))
    return complain(`no conmon at ${monitors.ours}: make build, or --ours PATH`);
  if (!(await isExecutable(monitors.rival))) {
    return complain(`no conmon at ${monitors.rival}: apt-get install conmon, or --rival PATH`);
  }
  if (!(await isAlone())) return complain('another bench runs on this machine; two would measure each other');
  await buildPrograms();
  const environment: Environment = {
    monitors,
    workDir: await mkdtemp(join(resolve(options.dir), 'cb-')),
    quick: options.quick,
    pairs: options.pairs,
    signal: stop.signal,
  };
  try {
    return await bench(environment);
  } finally {
    await rm(environment.workDir, { recursive: true, force: true });
  }
}

/** Runs the chosen scenarios and prints what was measured. @returns the exit status. */
async function bench(environment: Environment): Promise<number> {
  const chosen = scenarios.filter((scenario) => options.scenario?.includes(scenario.name) ?? true);
  const mode = environment.quick ? 'quick' : 'full';
  const machine = await describeMachine(environment);
  const resultsFile = resultPath(machine.date, mode);
  appendResult(resultsFile, { type: 'header', mode, ...machine });
  process.stdout.write(`${formatMachine(machine)}\n`);

  const began = performance.now();
  const samples: Sample[] = [];
  const failures: Failure[] = [];
  const planned = chosen.flatMap((scenario) =>
    scenario.steps(environment).map((step) => ({ scenario: scenario.name, step })),
  );
  const steps = [...warmUp(environment), ...planned];
  const progress = terminalProgress(process.stderr);
  const complete = await runSteps(steps, environment.signal, {
    onStep: (index, { scenario, step }, leftMs) =>
      progress.show(index + 1, steps.length, `${scenario}, ${step.variant}, ${step.subject}`, leftMs),
    onSample: (sample, at) => {
      samples.push(sample);
      appendResult(resultsFile, { type: 'sample', at, ...sample });
    },
    onFailure: (failure, at) => {
      failures.push(failure);
      appendResult(resultsFile, { type: 'failure', at, ...failure });
    },
  });
  progress.clear();
  appendResult(resultsFile, { type: 'end', at: new Date().toISOString(), complete });

  await present({ mode, machine, complete, samples, failures }, resultsFile);
  process.stdout.write(`${clock(performance.now() - began)} min; samples in ${resultsFile}\n`);
  return exitStatus(complete, failures);
}

/** Prints all tables and writes the HTML report beside the samples. */
async function present(results: Results, resultsFile: string): Promise<void> {
  const tables = scenarios.flatMap((scenario) => scenario.tables(results.samples));
  const goals = goalsTable(results.samples);
  for (const table of [...tables, goals]) process.stdout.write(`${formatTable(table)}\n`);
  for (const line of failureLines(results.failures)) process.stdout.write(`FAILED, does not count: ${line}\n`);
  if (!results.complete) process.stdout.write('Interrupted: the tables show what had been measured until then.\n');
  const htmlFile = `${resultsFile.replace(/\.ndjson$/, '')}.html`;
  await writeFile(htmlFile, htmlReport({ ...results, tables, goals }));
  process.stdout.write(`report in ${htmlFile}\n`);
}

/** One start of each side that nobody counts: the page cache then holds both binaries. */
function warmUp(environment: Environment): readonly PlannedStep[] {
  return (['rival', 'ours'] as const).map((subject) => ({
    scenario: 'warm-up',
    step: {
      variant: 'start',
      subject,
      expectedMs: 200,
      run: async () => {
        const monitor = await startMonitor(environment, subject);
        try {
          await monitor.finish(0);
        } finally {
          await monitor.dispose();
        }
        return [];
      },
    },
  }));
}

/**
 * Takes the machine for this process. The name is an abstract socket: it goes with the process, however that ends.
 * @returns false when another bench has it.
 */
async function isAlone(): Promise<boolean> {
  const { promise, resolve: settle } = Promise.withResolvers<boolean>();
  const lock = createServer();
  lock.once('error', () => settle(false));
  lock.listen('\0conmon-bench', () => settle(true));
  lock.unref();
  return promise;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function complain(message: string): number {
  process.stderr.write(`bench: ${message}\n`);
  return 2;
}
