// Scenario: how long a container waits for its monitor: exec of conmon to exec of the runtime, and to the pid on the
// sync pipe. The runtime is trivial, so that what differs is the monitor.

import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { figure, goal, metric, signed, variantsOf } from '../report/select.ts';
import { median, percentile } from '../report/statistics.ts';

const name = 'startup';
const variant = 'trivial runtime';

interface Span {
  readonly metric: string;
  readonly label: string;
  /** What the project promises: at most so many ms more than C. */
  readonly goalMs: number | undefined;
}

const spans: readonly Span[] = [
  { metric: 'toRuntimeMs', label: 'exec -> runtime', goalMs: 25 },
  { metric: 'toSyncMs', label: 'exec -> pid on sync pipe', goalMs: undefined },
  { metric: 'toLauncherExitMs', label: 'exec -> caller may go on', goalMs: undefined },
  { metric: 'startCpuMs', label: 'CPU until at rest', goalMs: undefined },
];

export const startup: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 30 : 100);
    const step = (side: Side): Step => ({
      variant,
      subject: side,
      expectedMs: 200,
      run: async () => [await startOnce(environment, side)],
    });
    return interleave(step('rival'), step('ours'), pairs);
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return variantsOf(mine).map((each) => startupTable(mine, each));
  },
};

async function startOnce(environment: Environment, side: Side): Promise<Sample> {
  const monitor = await startMonitor(environment, side);
  try {
    const { execNs, runtimeNs, syncNs, launcherExitNs } = monitor.times;
    await monitor.finish(0);
    return {
      scenario: name,
      variant,
      subject: side,
      metrics: {
        toRuntimeMs: (runtimeNs - execNs) / 1e6,
        toSyncMs: (syncNs - execNs) / 1e6,
        toLauncherExitMs: (launcherExitNs - execNs) / 1e6,
        startCpuMs: monitor.startCpuNs / 1e6,
      },
    };
  } finally {
    await monitor.dispose();
  }
}

function startupTable(samples: readonly Sample[], each: string): Table {
  const rows = spans.map((span) => {
    const rival = metric(samples, each, 'rival', span.metric);
    const ours = metric(samples, each, 'ours', span.metric);
    const difference = median(ours) - median(rival);
    return [
      span.label,
      figure(median(rival)),
      figure(percentile(rival, 0.9)),
      figure(median(ours)),
      figure(percentile(ours, 0.9)),
      signed(difference),
      span.goalMs === undefined ? '' : goal('<=', span.goalMs, '', difference),
    ];
  });
  const runs = Math.min(...(['rival', 'ours'] as const).map((side) => metric(samples, each, side, 'toSyncMs').length));
  return {
    title: `Start-up, ${each}, ms (${runs} runs each)`,
    header: ['', 'rival p50', 'rival p90', 'ours p50', 'ours p90', 'difference', 'goal'],
    rows,
    notes: ['Started as CRI-O does, the start message already waiting; less is better.'],
  };
}
