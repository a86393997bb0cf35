// Scenario: how long others wait for a monitor: exec of conmon to exec of the runtime, and to the pid on the sync pipe; a
// whole exec session; a container's exit to its exit file. With a trivial runtime, so that what differs is the monitor, and
// with the real ones.

import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { execSession } from '../harness/exec-session.ts';
import { exitNoticeMs } from '../harness/exit-notice.ts';
import { startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { realLife } from '../harness/real-runtime.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, signed, variantsOf } from '../report/select.ts';
import { median, percentile } from '../report/statistics.ts';

const name = 'startup';

interface Span {
  readonly metric: string;
  readonly label: string;
}

const spans: readonly Span[] = [
  { metric: 'toRuntimeMs', label: 'exec -> runtime' },
  { metric: 'toSyncMs', label: 'exec -> pid on sync pipe' },
  { metric: 'toLauncherExitMs', label: 'exec -> caller may go on' },
  { metric: 'sessionMs', label: 'exec -> status, output logged' },
  { metric: 'exitNoticeMs', label: "container's exit -> exit file" },
  { metric: 'startCpuMs', label: 'CPU until at rest' },
];

interface Situation {
  readonly variant: string;
  readonly pairs: { readonly quick: number; readonly full: number };
  readonly expectedMs: number;
  measure(environment: Environment, side: Side): Promise<Record<string, number>>;
}

const situations: readonly Situation[] = [
  { variant: 'trivial runtime', pairs: { quick: 25, full: 100 }, expectedMs: 90, measure: startOnce },
  real('runc'),
  real('crun'),
  {
    variant: 'exec session',
    pairs: { quick: 10, full: 50 },
    expectedMs: 40,
    measure: async (environment, side) => ({ sessionMs: (await execSession(environment, side)).sessionMs }),
  },
];

export const startup: Scenario = {
  name,
  steps(environment) {
    return situations.flatMap(({ variant, pairs, expectedMs, measure }) => {
      const step = (side: Side): Step => ({
        variant,
        subject: side,
        expectedMs,
        run: async () => [{ scenario: name, variant, subject: side, metrics: await measure(environment, side) }],
      });
      const count = environment.pairs ?? (environment.quick ? pairs.quick : pairs.full);
      return interleave(step('rival'), step('ours'), count);
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return variantsOf(mine).map((each) => startupTable(mine, each));
  },
};

function real(runtime: 'runc' | 'crun'): Situation {
  return {
    variant: runtime,
    pairs: { quick: 5, full: 25 },
    expectedMs: 350,
    measure: async (environment, side) => ({ ...(await realLife(environment, side, runtime)) }),
  };
}

async function startOnce(environment: Environment, side: Side): Promise<Record<string, number>> {
  const monitor = await startMonitor(environment, side);
  try {
    const { execNs, runtimeNs, syncNs, launcherExitNs } = monitor.times;
    const noticeMs = await exitNoticeMs(monitor, environment.signal);
    await monitor.ended(0);
    return {
      toRuntimeMs: (runtimeNs - execNs) / 1e6,
      toSyncMs: (syncNs - execNs) / 1e6,
      toLauncherExitMs: (launcherExitNs - execNs) / 1e6,
      startCpuMs: monitor.startCpuNs / 1e6,
      exitNoticeMs: noticeMs,
    };
  } finally {
    await monitor.dispose();
  }
}

function startupTable(samples: readonly Sample[], each: string): Table {
  const rows = spans.flatMap((span) => {
    const rival = metric(samples, each, 'rival', span.metric);
    const ours = metric(samples, each, 'ours', span.metric);
    if (rival.length === 0 && ours.length === 0) return [];
    const difference = median(ours) - median(rival);
    return [
      [
        span.label,
        figure(median(rival)),
        figure(percentile(rival, 0.9)),
        figure(median(ours)),
        figure(percentile(ours, 0.9)),
        signed(difference),
        goalCell(samples, { scenario: name, variant: each, metric: span.metric, by: 'difference' }),
      ],
    ];
  });
  const count = (side: Side): number => samples.filter((s) => s.variant === each && s.subject === side).length;
  return {
    title: `Start-up and end, ${each}, ms (${Math.min(count('rival'), count('ours'))} runs each)`,
    header: ['', 'rival p50', 'rival p90', 'ours p50', 'ours p90', 'difference', 'goal'],
    rows,
    notes: [
      'Started as CRI-O does, the start message already waiting; less is better.',
      ...(each === 'runc' || each === 'crun'
        ? ['A small program before the runtime takes the time; its 0.5 ms are in all starts.']
        : []),
    ],
  };
}
