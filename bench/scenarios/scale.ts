// Scenario: many containers that log at once on a machine with few CPUs, one monitor each: total throughput, fairness,
// CPU. Every log is verified.

import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { flood, holdMemory, type Load, leastLogBytes, streamBytes } from '../harness/flood.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { verifyLog } from '../harness/verify.ts';
import { goalCell } from '../report/goals.ts';
import { sides, variantsOf } from '../report/select.ts';

const name = 'scale';

/** So much that each monitor gets many of the scheduler's turns: with few, fairness is chance (docs/adr/0046-fairness.md). */
const quickSize = { containers: 10, payloadMB: 60 };
const fullSize = { containers: 50, payloadMB: 40 };
/** Time to tell one container to begin. */
const commandNs = 5_000_000;

export const scale: Scenario = {
  name,
  steps(environment) {
    const { containers, payloadMB } = environment.quick ? quickSize : fullSize;
    const pairs = environment.pairs ?? (environment.quick ? 1 : 3);
    const load: Load = { lineBytes: 100, payloadMB };
    const step = (side: Side): Step => ({
      variant: `${containers} containers`,
      subject: side,
      expectedMs: containers * 290,
      run: async () => [await measure(environment, side, containers, load)],
    });
    return interleave(step('rival'), step('ours'), pairs);
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return variantsOf(mine).map((variant) => scaleTable(mine, variant));
  },
};

async function measure(environment: Environment, side: Side, containers: number, load: Load): Promise<Sample> {
  const monitors: Monitor[] = [];
  try {
    for (let index = 0; index < containers; index++) monitors.push(await startMonitor(environment, side));
    const totalBytes = streamBytes(load);
    const least = leastLogBytes(load.lineBytes, totalBytes);
    const memory = await holdMemory(least * containers, environment.signal);
    const { runs, cpuNs } = await floodAll(monitors, load, least).finally(memory.release);
    const firstNs = Math.min(...runs.map(({ written }) => numberIn(written, 'first')));
    const ends = runs.map(({ quiet }) => numberIn(quiet, 'complete') - firstNs).toSorted((a, b) => a - b);
    const wallNs = ends.at(-1) ?? Number.NaN;
    for (const monitor of monitors) {
      await monitor.finish(0);
      await verifyLog('k8s', monitor.logPath, load.lineBytes, totalBytes);
    }
    return {
      scenario: name,
      variant: `${containers} containers`,
      subject: side,
      metrics: {
        payloadMBps: (totalBytes * containers) / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / (totalBytes * containers),
        // When the first container was done, of the time until the last one was: 1 = all at once.
        fairness: (ends[0] ?? Number.NaN) / wallNs,
      },
    };
  } finally {
    for (const monitor of monitors) await monitor.dispose();
  }
}

async function floodAll(monitors: readonly Monitor[], load: Load, least: number) {
  const cpuBeforeNs = await cpuOf(monitors);
  // All at the same time, or the first would be ahead by what it takes to tell the others.
  const beginNs = Number(process.hrtime.bigint()) + monitors.length * commandNs;
  const runs = await Promise.all(monitors.map((monitor) => flood(monitor, load, least, beginNs)));
  return { runs, cpuNs: (await cpuOf(monitors)) - cpuBeforeNs };
}

async function cpuOf(monitors: readonly Monitor[]): Promise<number> {
  let totalNs = 0;
  for (const monitor of monitors) totalNs += await monitor.cpuNs();
  return totalNs;
}

function scaleTable(samples: readonly Sample[], variant: string): Table {
  const row = (label: string, key: string): readonly string[] => [
    label,
    ...sides(samples, variant, key),
    goalCell(samples, { scenario: name, variant, metric: key }),
  ];
  return {
    title: `At once: ${variant}, each with a monitor of its own and 100-byte lines`,
    header: ['', 'rival', 'ours', 'ours/rival', 'by pair', 'goal'],
    rows: [
      row('payload MB/s, all together', 'payloadMBps'),
      row('CPU s/GB of all monitors', 'cpuSecondsPerGB'),
      row('end of the first by end of the last', 'fairness'),
    ],
    notes: [
      'All begin at the same moment; an end of 1 is one at the same moment.',
      'Every log was compared byte for byte with what its container wrote.',
    ],
  };
}
