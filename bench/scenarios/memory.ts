// Scenario: the memory of monitors: idle with a log and without, by number of containers, and after a gigabyte logged.

import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { flood, type Load, leastLogBytes, streamBytes } from '../harness/flood.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { footprint } from '../harness/procfs.ts';
import { pause } from '../harness/wait.ts';
import { figure, goal, metric, variantsOf } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'memory';
/** Late compilation and the collectors' last word come within a second or two of the start. */
const settleMs = 2_000;
const logged: Load = { lineBytes: 100, payloadMB: 1000 };

interface Situation {
  readonly variant: string;
  readonly containers: number;
  readonly log?: 'none';
  readonly load?: Load;
  readonly goalMiB?: number;
  readonly fullOnly?: boolean;
}

const situations: readonly Situation[] = [
  { variant: '1 container', containers: 1, goalMiB: 15 },
  { variant: '1 container, no log', containers: 1, log: 'none', goalMiB: 9.5 },
  { variant: '1 container, 1 GB logged', containers: 1, load: logged },
  { variant: '20 containers', containers: 20, goalMiB: 15 },
  { variant: '100 containers', containers: 100, goalMiB: 15, fullOnly: true },
];

export const memory: Scenario = {
  name,
  steps(environment) {
    return situations
      .filter(({ fullOnly }) => !(environment.quick && fullOnly === true))
      .flatMap((situation) =>
        (['rival', 'ours'] as const).map(
          (side): Step => ({
            variant: situation.variant,
            subject: side,
            expectedMs: settleMs + situation.containers * 200,
            run: async () => [await measure(environment, side, situation)],
          }),
        ),
      );
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [memoryTable(mine)];
  },
};

async function measure(environment: Environment, side: Side, situation: Situation): Promise<Sample> {
  const monitors: Monitor[] = [];
  try {
    const { log } = situation;
    const options = log === undefined ? {} : { log: () => log };
    for (let index = 0; index < situation.containers; index++)
      monitors.push(await startMonitor(environment, side, options));
    for (const monitor of monitors) {
      if (situation.load === undefined) continue;
      await flood(monitor, situation.load, leastLogBytes(situation.load.lineBytes, streamBytes(situation.load)));
    }
    await pause(settleMs, environment.signal);
    const pids = await Promise.all(monitors.map((monitor) => monitor.pids()));
    const sum = await footprint(pids.flat());
    for (const monitor of monitors) await monitor.finish(0);
    const each = situation.containers;
    return {
      scenario: name,
      variant: situation.variant,
      subject: side,
      metrics: {
        containers: each,
        privateMiB: sum.privateKiB / 1024 / each,
        pssMiB: sum.pssKiB / 1024 / each,
        rssMiB: sum.rssKiB / 1024 / each,
        threads: sum.threads / each,
        fds: sum.fds / each,
      },
    };
  } finally {
    for (const monitor of monitors) await monitor.dispose();
  }
}

function memoryTable(samples: readonly Sample[]): Table {
  const value = (variant: string, side: Side, key: string): number => median(metric(samples, variant, side, key));
  const rows = variantsOf(samples).map((variant) => {
    const aim = situations.find((each) => each.variant === variant)?.goalMiB;
    const ours = value(variant, 'ours', 'privateMiB');
    return [
      variant,
      figure(value(variant, 'rival', 'privateMiB')),
      figure(ours),
      aim === undefined ? '' : goal('<=', aim, '', ours),
      figure(value(variant, 'rival', 'pssMiB')),
      figure(value(variant, 'ours', 'pssMiB')),
      figure(value(variant, 'rival', 'rssMiB')),
      figure(value(variant, 'ours', 'rssMiB')),
      figure(value(variant, 'rival', 'fds')),
      figure(value(variant, 'ours', 'fds')),
      figure(value(variant, 'ours', 'threads')),
    ];
  });
  return {
    title: 'Memory of a monitor, MiB for each container',
    header: [
      '',
      'private rival',
      'ours',
      'goal',
      'PSS rival',
      'ours',
      'RSS rival',
      'ours',
      'fds rival',
      'ours',
      'threads ours',
    ],
    rows,
    notes: [
      'Private = Private_Clean + Private_Dirty of smaps_rollup, 2 s after the start; the container is not in it.',
    ],
  };
}
