// Scenario: what a monitor costs while its container says nothing: wake-ups, CPU, memory, threads, fds.
// Both sides idle at the same time, on the same machine state.

import type { Environment, Sample, Scenario, Side, Table } from '../harness/environment.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { type Footprint, footprint } from '../harness/procfs.ts';
import { pause } from '../harness/wait.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, signed, times, variantsOf } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'idle';
const variant = '1 container';
/** After the start: what a monitor still does then (late compilation, freeing) is start-up, not idling. */
const settleMs = 2_000;
const observedMs = 10_000;

interface Figure {
  readonly metric: string;
  readonly label: string;
}

const figures: readonly Figure[] = [
  { metric: 'voluntarySwitches', label: 'wake-ups in 10 s' },
  { metric: 'involuntarySwitches', label: 'preemptions in 10 s' },
  { metric: 'cpuMs', label: 'CPU in 10 s, ms' },
  { metric: 'privateMiB', label: 'private memory, MiB' },
  { metric: 'pssMiB', label: 'PSS, MiB' },
  { metric: 'rssMiB', label: 'RSS, MiB' },
  { metric: 'threads', label: 'threads' },
  { metric: 'fds', label: 'open fds' },
];

export const idle: Scenario = {
  name,
  steps(environment) {
    const rounds = environment.quick ? 1 : 3;
    return Array.from({ length: rounds }, () => ({
      variant,
      subject: 'ours',
      expectedMs: settleMs + observedMs + 500,
      run: () => observe(environment),
    }));
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return variantsOf(mine).map((each) => idleTable(mine, each));
  },
};

async function observe(environment: Environment): Promise<readonly Sample[]> {
  const monitors: { side: Side; monitor: Monitor }[] = [];
  try {
    for (const side of ['rival', 'ours'] as const) {
      monitors.push({ side, monitor: await startMonitor(environment, side) });
    }
    await pause(settleMs, environment.signal);
    const before = await Promise.all(monitors.map(({ monitor }) => look(monitor)));
    await pause(observedMs, environment.signal);
    const after = await Promise.all(monitors.map(({ monitor }) => look(monitor)));
    const samples: Sample[] = [];
    for (const [index, { side, monitor }] of monitors.entries()) {
      const first = before[index];
      const last = after[index];
      if (first === undefined || last === undefined) throw new Error('a monitor was not looked at');
      samples.push({ scenario: name, variant, subject: side, metrics: metricsOf(first, last) });
      await monitor.finish(0);
    }
    return samples;
  } finally {
    for (const { monitor } of monitors) await monitor.dispose();
  }
}

interface Look {
  readonly footprint: Footprint;
  readonly cpuNs: number;
}

async function look(monitor: Monitor): Promise<Look> {
  return { footprint: await footprint(await monitor.pids()), cpuNs: await monitor.cpuNs() };
}

function metricsOf(first: Look, last: Look): Record<string, number> {
  return {
    voluntarySwitches: last.footprint.voluntarySwitches - first.footprint.voluntarySwitches,
    involuntarySwitches: last.footprint.involuntarySwitches - first.footprint.involuntarySwitches,
    cpuMs: (last.cpuNs - first.cpuNs) / 1e6,
    privateMiB: last.footprint.privateKiB / 1024,
    pssMiB: last.footprint.pssKiB / 1024,
    rssMiB: last.footprint.rssKiB / 1024,
    threads: last.footprint.threads,
    fds: last.footprint.fds,
  };
}

function idleTable(samples: readonly Sample[], each: string): Table {
  const rows = figures.map((row) => {
    const rival = median(metric(samples, each, 'rival', row.metric));
    const ours = median(metric(samples, each, 'ours', row.metric));
    return [
      row.label,
      figure(rival),
      figure(ours),
      signed(ours - rival),
      times(ours / rival),
      goalCell(samples, { scenario: name, variant: each, metric: row.metric, by: 'own' }),
    ];
  });
  return {
    title: `Idle, ${each}`,
    header: ['', 'rival', 'ours', 'difference', 'ours/rival', 'goal'],
    rows,
    notes: [
      'Wake-ups: voluntary context switches of all threads over 10 s, after 2 s to settle; less is better.',
      'Private = Private_Clean + Private_Dirty of smaps_rollup; the container is not in it.',
    ],
  };
}
