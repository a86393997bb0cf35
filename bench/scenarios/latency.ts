// Scenario: how long a line takes from the container's write(2) into the log file: its first lines, when nothing else
// happens, and while another container of the same monitor floods. One line of 100 bytes at a time.

import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { figure, metric, times, variantsOf } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'latency';
/** Microseconds between two lines: longer than anything takes to become idle again. */
const gapUs = 2_000;
const limitMs = 60_000;
/** Lines before the measured ones, so many microseconds apart: by then V8 has compiled what a line takes (about 1500). */
const warmUpLines = 4_000;
const warmUpGapUs = 100;
/** Lines of the container that floods meanwhile; more than it can write in the time. */
const floodLineBytes = 100;
const floodBytes = 100_000_000_000;

/** Quantiles of one run, as the container tells them, in the order of the plot. */
export const quantiles = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'] as const;

interface Situation {
  readonly variant: string;
  readonly flooded: boolean;
  readonly warm: boolean;
}

const situations: readonly Situation[] = [
  { variant: 'idle', flooded: false, warm: true },
  { variant: 'beside a flood', flooded: true, warm: true },
  { variant: 'first lines', flooded: false, warm: false },
];

export const latency: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 1 : 6);
    return situations.flatMap((situation) => {
      const step = (side: Side): Step => ({
        variant: situation.variant,
        subject: side,
        expectedMs: 3_500,
        run: async () => [await measure(environment, side, situation)],
      });
      return interleave(step('rival'), step('ours'), pairs);
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [latencyTable(mine)];
  },
};

async function measure(environment: Environment, side: Side, { variant, flooded, warm }: Situation): Promise<Sample> {
  const monitors: Monitor[] = [];
  try {
    const quiet = await startMonitor(environment, side);
    monitors.push(quiet);
    if (flooded) {
      // To no log: what is measured is a busy machine, not a full disk.
      const noisy = await startMonitor(environment, side, { log: () => 'none' });
      monitors.push(noisy);
      await noisy.container.send(`write line=${floodLineBytes} total=${floodBytes}`);
    }
    if (warm) {
      const warmUp = `latency count=${warmUpLines} gap=${warmUpGapUs} path=${quiet.logPath}`;
      await quiet.container.request(warmUp, limitMs);
    }
    const count = environment.quick ? 500 : 1000;
    const reply = await quiet.container.request(`latency count=${count} gap=${gapUs} path=${quiet.logPath}`, limitMs);
    const metrics: Record<string, number> = {};
    for (const each of quantiles) metrics[`${each}Us`] = numberIn(reply, each) / 1e3;
    if (!flooded) await quiet.finish(0);
    return { scenario: name, variant, subject: side, metrics };
  } finally {
    for (const monitor of monitors) await monitor.dispose();
  }
}

function latencyTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).flatMap((variant) =>
    (['p50', 'p90', 'p99', 'p999', 'max'] as const).map((each) => {
      const rival = median(metric(samples, variant, 'rival', `${each}Us`));
      const ours = median(metric(samples, variant, 'ours', `${each}Us`));
      return [`${variant}, ${each}`, figure(rival), figure(ours), times(ours / rival)];
    }),
  );
  return {
    title: "Latency from the container's write to the grown log file, microseconds",
    header: ['', 'rival', 'ours', 'ours/rival'],
    rows,
    notes: [
      `One line of 100 bytes every ${gapUs / 1000} ms, after ${warmUpLines} others but for the first lines; medians of the runs' quantiles; less is better.`,
      'The container is woken by inotify, which is in all figures. Beside a flood: another container writes 100-byte lines as fast as it can.',
    ],
  };
}
