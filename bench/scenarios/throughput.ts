// Scenario: how fast a flood of lines goes from the container's pipe into a k8s-file log, and what CPU that takes.
// By line length (newline included), against C conmon and against a plain pipe-to-file copy of the same output volume.

import { execFile } from 'node:child_process';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { startMonitor } from '../harness/monitor.ts';
import { programPath } from '../harness/native.ts';
import { interleave } from '../harness/order.ts';
import { machineCpu } from '../harness/procfs.ts';
import { verifyLog } from '../harness/verify.ts';
import { figure, goal, metric, times, variantsOf, withSpread } from '../report/select.ts';
import { compare, median } from '../report/statistics.ts';

const run = promisify(execFile);
const name = 'throughput';

export interface Load {
  /** One line with its newline. */
  readonly lineBytes: number;
  /** Payload of one run: about a second of C conmon, so that the faster side still runs long enough to be timed. */
  readonly payloadMB: number;
  /** What the project promises: throughput at least so many times that of C. */
  readonly goalRatio: number;
}

const loads: readonly Load[] = [
  { lineBytes: 20, payloadMB: 160, goalRatio: 4 },
  { lineBytes: 100, payloadMB: 400, goalRatio: 3 },
  { lineBytes: 1000, payloadMB: 600, goalRatio: 2.5 },
  { lineBytes: 10_000, payloadMB: 700, goalRatio: 2.5 },
];
const goalCpuRatio = 0.3;

/** CRI record around the content: timestamp, stream, tag and their spaces; the newline stands for the payload's own. */
const prefixBytes = 45;
const recordLimitBytes = 8192;
/** The log is complete when the pipe is empty and the file has its size and has kept it for so long. */
const quietMs = 50;
const stallMs = 3_000;
const writeLimitMs = 60_000;
/** Above this share of the wall time the generator was busy all along: then it, not the monitor, sets the pace. */
const generatorBusyShare = 0.9;
/** Other processes, the hypervisor included, with more than this share of one CPU: the run was disturbed. */
const disturbedShare = 0.15;
/** A quick bench writes less. */
const quickShare = 0.6;

export const throughput: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 4 : 10);
    return loads.flatMap((load) => {
      const scaled = environment.quick ? { ...load, payloadMB: load.payloadMB * quickShare } : load;
      const step = (side: Side): Step => ({
        variant: String(load.lineBytes),
        subject: side,
        expectedMs: 3000,
        run: async () => [await floodMonitor(environment, side, scaled)],
      });
      const runs = interleave(step('rival'), step('ours'), pairs);
      // The floor now and then in between: it needs no partner, but the same state of the machine.
      return runs.flatMap((each, index) => (index % 4 === 1 ? [each, floorStep(environment, scaled)] : [each]));
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [speedTable(mine), cpuTable(mine)];
  },
};

function payloadBytes(load: Load): number {
  return Math.floor((load.payloadMB * 1e6) / load.lineBytes) * load.lineBytes;
}

/** Size of the log when no line is split more often than the record limit demands. */
export function leastLogBytes(lineBytes: number, totalBytes: number): number {
  const recordsPerLine = Math.max(1, Math.ceil((lineBytes - 1) / recordLimitBytes));
  // Each record after the first of a line adds a prefix and a newline of its own.
  const lineInLog = prefixBytes + lineBytes + (recordsPerLine - 1) * (prefixBytes + 1);
  return Math.floor(totalBytes / lineBytes) * lineInLog;
}

async function warmMemory(bytes: number, signal: AbortSignal): Promise<void> {
  await run(programPath('warm-memory'), [String(Math.round(bytes * 1.1) + 64e6)], { timeout: 60_000, signal });
}

/** One run: start, flood, wait for the log to be complete, take the times, end, verify. Rejects if anything is amiss. */
export async function floodMonitor(environment: Environment, side: Side, load: Load): Promise<Sample> {
  const totalBytes = payloadBytes(load);
  const least = leastLogBytes(load.lineBytes, totalBytes);
  const monitor = await startMonitor(environment, side);
  try {
    await warmMemory(least, environment.signal);
    const machineBefore = await machineCpu();
    const cpuBeforeNs = await monitor.cpuNs();
    const written = await monitor.container.request(`write line=${load.lineBytes} total=${totalBytes}`, writeLimitMs);
    const quiet = await monitor.container.request(
      `watch min=${least} quiet=${quietMs} stall=${stallMs} path=${monitor.logPath}`,
      writeLimitMs,
    );
    const machineAfter = await machineCpu();
    const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
    await monitor.finish(0);
    // After the end: a record that is added then (an empty F, say) must be found too.
    const verdict = await verifyLog('k8s', monitor.logPath, load.lineBytes, totalBytes);
    if (verdict.logBytes !== numberIn(quiet, 'size')) throw new Error('the log was not complete when it was timed');
    const wallNs = numberIn(quiet, 'complete') - numberIn(written, 'first');
    const generatorNs = numberIn(written, 'cpu') + numberIn(quiet, 'cpu');
    const othersNs = machineAfter.busyNs - machineBefore.busyNs - cpuNs - generatorNs;
    return {
      scenario: name,
      variant: String(load.lineBytes),
      subject: side,
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        wallMs: wallNs / 1e6,
        cpuMs: cpuNs / 1e6,
        startCpuMs: monitor.startCpuNs / 1e6,
        generatorShare: numberIn(written, 'cpu') / wallNs,
        othersShare: Math.max(0, othersNs + machineAfter.stolenNs - machineBefore.stolenNs) / wallNs,
        payloadBytes: totalBytes,
        logBytes: verdict.logBytes,
        records: verdict.records,
        partial: verdict.partial,
      },
    };
  } finally {
    await monitor.dispose();
  }
}

function floorStep(environment: Environment, load: Load): Step {
  return {
    variant: String(load.lineBytes),
    subject: 'floor',
    expectedMs: 1500,
    run: async () => [await copyFloor(environment, load)],
  };
}

/** Copies as many bytes as the log has from a pipe into a file; the rate is that of the payload they stand for. */
async function copyFloor(environment: Environment, load: Load): Promise<Sample> {
  const totalBytes = payloadBytes(load);
  const outputBytes = leastLogBytes(load.lineBytes, totalBytes);
  const path = join(environment.workDir, 'floor');
  try {
    await warmMemory(outputBytes, environment.signal);
    const { stdout } = await run(programPath('copy-floor'), [String(load.lineBytes), String(outputBytes), path], {
      timeout: writeLimitMs,
      signal: environment.signal,
    });
    await verifyLog('raw', path, load.lineBytes, outputBytes);
    const report: unknown = JSON.parse(stdout);
    const wallNs = Number(Reflect.get(Object(report), 'wallNs'));
    const cpuNs = Number(Reflect.get(Object(report), 'cpuNs'));
    return {
      scenario: name,
      variant: String(load.lineBytes),
      subject: 'floor',
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        wallMs: wallNs / 1e6,
        cpuMs: cpuNs / 1e6,
        payloadBytes: totalBytes,
        logBytes: (await stat(path)).size,
      },
    };
  } finally {
    await rm(path, { force: true });
  }
}

function speedTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).map((variant) => {
    const rival = metric(samples, variant, 'rival', 'payloadMBps');
    const ours = metric(samples, variant, 'ours', 'payloadMBps');
    const floor = metric(samples, variant, 'floor', 'payloadMBps');
    const { ratio, lowest, highest } = compare(ours, rival);
    const aim = loads.find((load) => String(load.lineBytes) === variant)?.goalRatio ?? 0;
    return [
      variant,
      withSpread(rival),
      withSpread(ours),
      times(ratio),
      `${figure(lowest)}..${figure(highest)}`,
      goal('>=', aim, 'x', ratio),
      withSpread(floor),
      times(median(ours) / median(floor)),
    ];
  });
  return {
    title: 'Throughput, k8s-file, payload MB/s by line length',
    header: ['line B', 'rival', 'ours', 'ours/rival', 'by pair', 'goal', 'floor', 'ours/floor'],
    rows,
    notes: [
      'MB = 10^6 bytes of payload, newlines included, as they are in the line length; more is better.',
      'Time: first write of the container to the last change of the log. Floor: a pipe-to-file copy of as many bytes as the log has.',
      'Every log was compared byte for byte with what the container wrote.',
      ...disturbances(samples),
      ...busyGenerators(samples),
    ],
  };
}

function cpuTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).map((variant) => {
    const rival = metric(samples, variant, 'rival', 'cpuSecondsPerGB');
    const ours = metric(samples, variant, 'ours', 'cpuSecondsPerGB');
    const floor = metric(samples, variant, 'floor', 'cpuSecondsPerGB');
    const { ratio, lowest, highest } = compare(ours, rival);
    return [
      variant,
      withSpread(rival),
      withSpread(ours),
      times(ratio),
      `${figure(lowest)}..${figure(highest)}`,
      goal('<=', goalCpuRatio, 'x', ratio),
      withSpread(floor),
    ];
  });
  return {
    title: 'CPU of the monitor, seconds per GB of payload',
    header: ['line B', 'rival', 'ours', 'ours/rival', 'by pair', 'goal', 'floor'],
    rows,
    notes: [
      'User and system time of all threads and processes of the monitor while the log grew; less is better.',
      `CPU until ready, before the first byte, is not in it: rival ${startCpu(samples, 'rival')} ms, ours ${startCpu(samples, 'ours')} ms.`,
    ],
  };
}

function startCpu(samples: readonly Sample[], side: Side): string {
  return figure(median(variantsOf(samples).flatMap((variant) => metric(samples, variant, side, 'startCpuMs'))));
}

/** A note when others were at work: the ratios then say less than on a quiet machine. */
function disturbances(samples: readonly Sample[]): readonly string[] {
  const shares = samples.flatMap((sample) => sample.metrics['othersShare'] ?? []);
  const disturbed = shares.filter((share) => share > disturbedShare).length;
  if (disturbed === 0) return [];
  const limit = Math.round(disturbedShare * 100);
  return [`DISTURBED: in ${disturbed} of ${shares.length} runs other processes took more than ${limit} % of a CPU.`];
}

/** One note for each row in which the load generator had no time to wait for the monitor. */
function busyGenerators(samples: readonly Sample[]): readonly string[] {
  const notes: string[] = [];
  for (const variant of variantsOf(samples)) {
    for (const side of ['rival', 'ours'] as const) {
      const share = median(metric(samples, variant, side, 'generatorShare'));
      if (share < generatorBusyShare || Number.isNaN(share)) continue;
      notes.push(
        `${variant} B, ${side}: the load generator used ${Math.round(share * 100)} % of a CPU and sets the limit.`,
      );
    }
  }
  return notes;
}
