// Scenario: how fast a flood of lines goes from the container's pipe into a log, and what CPU that takes. By line length
// (newline included), against C conmon and against a plain pipe-to-file copy of the same output volume.

import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { copyFloor, floodMonitor, type Load, variantOf } from '../harness/flood.ts';
import { interleave } from '../harness/order.ts';
import { goalCell, goalFor } from '../report/goals.ts';
import { disturbances, figure, metric, sides, times, variantsOf, withSpread } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'throughput';

/** Lines of text in large writes: the rows that the plots show, with a floor each. */
const byLength: readonly Load[] = [
  { lineBytes: 20, payloadMB: 160 },
  { lineBytes: 100, payloadMB: 400 },
  { lineBytes: 1000, payloadMB: 600 },
  { lineBytes: 10_000, payloadMB: 700 },
  { lineBytes: 65_536, payloadMB: 700 },
];
/** The same, otherwise. */
const others: readonly Load[] = [
  { variant: '1000, any bytes', lineBytes: 1000, payloadMB: 600, content: 'binary' },
  { variant: '100, stdout and stderr', lineBytes: 100, payloadMB: 200, both: true },
  { variant: '100, one write a line', lineBytes: 100, payloadMB: 60, chunkBytes: 100 },
  { variant: '100, a line every 10 us', lineBytes: 100, payloadMB: 6, chunkBytes: 100, everyUs: 10 },
  { variant: '1000, no log', lineBytes: 1000, payloadMB: 600, log: () => 'none', format: 'none' },
];

/** Above this share of the wall time the generator was busy all along: then it, not the monitor, sets the pace. */
const generatorBusyShare = 0.9;
/** A quick bench writes less. */
const quickShare = 0.6;
/** Of a quick bench: rows with a goal, the others. */
const quickPairs = { promised: 4, other: 1 };
const fullPairs = 10;

export const throughput: Scenario = {
  name,
  steps(environment) {
    return [...byLength, ...others].flatMap((load) => {
      const promised = goalFor({ scenario: name, variant: variantOf(load), metric: 'payloadMBps' }) !== undefined;
      const pairsOfQuick = promised ? quickPairs.promised : quickPairs.other;
      const pairs = environment.pairs ?? (environment.quick ? pairsOfQuick : fullPairs);
      const scaled = environment.quick ? { ...load, payloadMB: load.payloadMB * quickShare } : load;
      const step = (side: Side): Step => ({
        variant: variantOf(load),
        subject: side,
        expectedMs:
          250 +
          (scaled.payloadMB * 1e3 * (load.everyUs ?? 0)) / load.lineBytes +
          scaled.payloadMB * (side === 'rival' ? 1.6 + 150 / load.lineBytes : 1 + 30 / load.lineBytes),
        run: async () => [await floodMonitor(environment, side, scaled)],
      });
      const runs = interleave(step('rival'), step('ours'), pairs);
      if (!byLength.includes(load)) return runs;
      // The floor now and then in between: it needs no partner, but the same state of the machine.
      return runs.flatMap((each, index) => (index % 4 === 1 ? [each, floorStep(environment, scaled)] : [each]));
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [speedTable(mine), cpuTable(mine)];
  },
};

function floorStep(environment: Environment, load: Load): Step {
  return {
    variant: variantOf(load),
    subject: 'floor',
    expectedMs: 100 + load.payloadMB / 2,
    run: async () => [await copyFloor(environment, load)],
  };
}

function speedTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).map((variant) => {
    const ours = metric(samples, variant, 'ours', 'payloadMBps');
    const floor = metric(samples, variant, 'floor', 'payloadMBps');
    return [
      variant,
      ...sides(samples, variant, 'payloadMBps'),
      goalCell(samples, { scenario: name, variant, metric: 'payloadMBps' }),
      withSpread(floor),
      times(median(ours) / median(floor)),
      goalCell(samples, { scenario: name, variant, metric: 'payloadMBps', by: 'floor' }),
    ];
  });
  return {
    title: 'Throughput, k8s-file, payload MB/s by line length',
    header: ['line B', 'rival', 'ours', 'ours/rival', 'by pair', 'goal', 'floor', 'ours/floor', 'goal'],
    rows,
    notes: [
      'MB = 10^6 bytes of payload, newlines included, as they are in the line length; more is better.',
      'Time: first write of the container to the last change of the log. Floor: a pipe-to-file copy of as many bytes as the log has.',
      'Every log was compared byte for byte with what the container wrote; where there is none, the time is that until the pipe was empty.',
      ...disturbances(samples),
      ...busyGenerators(samples),
    ],
  };
}

function cpuTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).map((variant) => {
    const floor = metric(samples, variant, 'floor', 'cpuSecondsPerGB');
    return [
      variant,
      ...sides(samples, variant, 'cpuSecondsPerGB'),
      goalCell(samples, { scenario: name, variant, metric: 'cpuSecondsPerGB' }),
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
