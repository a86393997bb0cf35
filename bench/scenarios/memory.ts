// Scenario: the memory of monitors, and their threads and fds: idle with a log and without, by number of containers, with a
// client, with execs, after one gigabyte logged and after many.

import { attachClient, type Client } from '../harness/attached-client.ts';
import type { ArgumentOptions } from '../harness/command-line.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { flood, type Load, streamBytes } from '../harness/flood.ts';
import { HeldExecs } from '../harness/held-execs.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { footprint } from '../harness/procfs.ts';
import { verifyLog } from '../harness/verify.ts';
import { pause, waitFor } from '../harness/wait.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, variantsOf } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'memory';
/** Late compilation and the collectors' last word come within a second or two of the start. */
const settleMs = 2_000;
const lineBytes = 100;
/** What is logged for the rows of GB logged; the log is replaced as it grows, so that the disk does not fill. */
const logMaxBytes = 100_000_000;
const loggedGB = { quick: [1, 2], full: [1, 3, 10] };
/** A flood that may be over before its log is given a thread says nothing of what such a thread leaves. */
const restFromGB = 3;
const execs = 20;
/** What a monitor takes to be idle again after a flood: the thread that ours may have given its log stays for half a minute or a whole one. */
const restLimitMs = 90_000;
/** And what that thread leaves behind goes 13 s after it (docs/adr/0061-what-a-thread-leaves.md). */
const restSettleMs = 16_000;
const restExpectedMs = 45_000;

interface Situation {
  readonly variant: string;
  /** Rounds of both sides; 0: left out. */
  readonly rounds: { readonly quick: number; readonly full: number };
  readonly expectedMs: number;
  /** What was measured, by variant: most situations give one row. */
  measure(environment: Environment, side: Side): Promise<readonly Sample[]>;
}

const situations: readonly Situation[] = [
  idle(1),
  idle(1, { log: () => 'none' }, ', no log'),
  {
    variant: '1 container, attached',
    rounds: { quick: 1, full: 3 },
    expectedMs: settleMs + 600,
    measure: measureAttached,
  },
  {
    variant: `1 container, ${execs} execs`,
    rounds: { quick: 1, full: 3 },
    expectedMs: settleMs + 700,
    measure: measureExecs,
  },
  { variant: 'GBs logged', rounds: { quick: 1, full: 1 }, expectedMs: 0, measure: measureLogged },
  idle(20),
  idle(100),
];

export const memory: Scenario = {
  name,
  steps(environment) {
    return situations.flatMap(({ variant, rounds, expectedMs, measure }) => {
      const step = (side: Side): Step => ({
        variant,
        subject: side,
        expectedMs: variant === 'GBs logged' ? loggedMs(environment, side) : expectedMs,
        run: () => measure(environment, side),
      });
      const planned = environment.quick ? rounds.quick : rounds.full;
      return interleave(step('rival'), step('ours'), planned === 0 ? 0 : (environment.pairs ?? planned));
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [memoryTable(mine)];
  },
};

/** A guess for all gigabytes and all looks. */
function loggedMs({ quick }: Environment, side: Side): number {
  const restMs = quick ? 0 : 2 * (restSettleMs + (side === 'ours' ? restExpectedMs : 0));
  return (
    3 * settleMs + restMs + ((quick ? loggedGB.quick : loggedGB.full).at(-1) ?? 0) * (side === 'rival' ? 2_500 : 650)
  );
}

/** Containers that say nothing. */
function idle(containers: number, options: ArgumentOptions = {}, suffix = ''): Situation {
  const variant = `${containers} container${containers === 1 ? '' : 's'}${suffix}`;
  return {
    variant,
    rounds: { quick: containers > 20 ? 0 : 1, full: containers > 1 ? 1 : 3 },
    expectedMs: settleMs + containers * 90,
    measure: async (environment, side) => {
      const monitors: Monitor[] = [];
      try {
        for (let i = 0; i < containers; i++) monitors.push(await startMonitor(environment, side, options));
        await pause(settleMs, environment.signal);
        const pids = await Promise.all(monitors.map((monitor) => monitor.pids()));
        const sample = await sampleOf(variant, side, pids.flat(), containers);
        for (const monitor of monitors) await monitor.finish(0);
        return [sample];
      } finally {
        for (const monitor of monitors) await monitor.dispose();
      }
    },
  };
}

async function measureAttached(environment: Environment, side: Side): Promise<readonly Sample[]> {
  const monitor = await startMonitor(environment, side);
  let client: Client | undefined;
  try {
    client = await attachClient(environment, monitor, ['stamps', '0', '1']);
    await pause(settleMs, environment.signal);
    const sample = await sampleOf('1 container, attached', side, await monitor.pids());
    // The client is still there: it gets a line.
    await monitor.container.send('stamps count=1 gap=0');
    await client.done;
    await monitor.finish(0);
    return [sample];
  } finally {
    client?.end();
    await monitor.dispose();
  }
}

async function measureExecs(environment: Environment, side: Side): Promise<readonly Sample[]> {
  const monitor = await startMonitor(environment, side);
  const held = new HeldExecs(monitor);
  try {
    try {
      await held.add(environment, side, side === 'ours' ? { joins: true } : {}, execs);
      await pause(settleMs, environment.signal);
      return [await sampleOf(`1 container, ${execs} execs`, side, await held.pids())];
    } finally {
      await held.release();
      await monitor.finish(0);
    }
  } finally {
    await monitor.dispose();
  }
}

/**
 * One container that logs on and on: the later rows are the same monitor. It is looked at 2 s after each flood; in a complete bench twice
 * more when it is idle again, both times behind a flood that had a thread for sure (docs/adr/0072-flat-when-idle.md).
 */
async function measureLogged(environment: Environment, side: Side): Promise<readonly Sample[]> {
  const { signal, quick } = environment;
  const monitor = await startMonitor(environment, side, { extra: ['--log-size-max', String(logMaxBytes)] });
  const look = async (variant: string): Promise<Sample> => sampleOf(variant, side, await monitor.pids());
  const threads = async (): Promise<number> => (await look('')).metrics['threads'] ?? Number.NaN;
  const afterFloods: Sample[] = [];
  const atRest: Sample[] = [];
  try {
    await pause(settleMs, signal);
    const idleThreads = await threads();
    let logged = 0;
    for (const gigabytes of quick ? loggedGB.quick : loggedGB.full) {
      const load: Load = { lineBytes, payloadMB: (gigabytes - logged) * 1000 };
      logged = gigabytes;
      await flood(monitor, load, 0);
      await pause(settleMs, signal);
      afterFloods.push(await look(`1 container, ${logged} GB logged`));
      await verifyLog('k8s-tail', monitor.logPath, lineBytes, streamBytes(load));
      if (quick || logged < restFromGB) continue;
      const isIdle = async (): Promise<boolean> => (await threads()) <= idleThreads;
      await waitFor(`no more than ${idleThreads} threads`, isIdle, { limitMs: restLimitMs, intervalMs: 1000, signal });
      await pause(restSettleMs, signal);
      atRest.push(await look(`1 container, ${logged} GB logged, at rest`));
    }
    await monitor.finish(0);
    return [...withGrowth(afterFloods), ...withGrowth(atRest)];
  } finally {
    await monitor.dispose();
  }
}

/** The last of them with what it has grown since the first. */
function withGrowth(samples: readonly Sample[]): readonly Sample[] {
  const first = samples[0]?.metrics['privateMiB'] ?? Number.NaN;
  return samples.map((sample, i) => {
    if (i < samples.length - 1) return sample;
    return {
      ...sample,
      metrics: { ...sample.metrics, growthMiB: (sample.metrics['privateMiB'] ?? Number.NaN) - first },
    };
  });
}

/** What those processes have, for each container. */
async function sampleOf(variant: string, side: Side, pids: readonly number[], containers = 1): Promise<Sample> {
  const sum = await footprint(pids);
  return {
    scenario: name,
    variant,
    subject: side,
    metrics: {
      containers,
      privateMiB: sum.privateKiB / 1024 / containers,
      pssMiB: sum.pssKiB / 1024 / containers,
      rssMiB: sum.rssKiB / 1024 / containers,
      threads: sum.threads / containers,
      fds: sum.fds / containers,
    },
  };
}

function memoryTable(samples: readonly Sample[]): Table {
  const value = (variant: string, side: Side, key: string): number => median(metric(samples, variant, side, key));
  const rows = variantsOf(samples).map((variant) => [
    variant,
    figure(value(variant, 'rival', 'privateMiB')),
    figure(value(variant, 'ours', 'privateMiB')),
    goalCell(samples, { scenario: name, variant, metric: 'privateMiB', by: 'own' }),
    ...(['pssMiB', 'rssMiB', 'fds', 'threads'] as const).flatMap((key) => [
      figure(value(variant, 'rival', key)),
      figure(value(variant, 'ours', key)),
    ]),
  ]);
  const growth = (side: Side): string => {
    const grown = samples.filter(({ subject, metrics }) => subject === side && metrics['growthMiB'] !== undefined);
    return variantsOf(grown)
      .map((variant) => `${figure(value(variant, side, 'growthMiB'))}${variant.endsWith('at rest') ? ' at rest' : ''}`)
      .join(', ');
  };
  return {
    title: 'Memory of a monitor, MiB for each container',
    header: [
      ...['', 'private rival', 'ours', 'goal', 'PSS rival', 'ours', 'RSS rival', 'ours'],
      ...['fds rival', 'ours', 'threads rival', 'ours'],
    ],
    rows,
    notes: [
      'Private = Private_Clean + Private_Dirty of smaps_rollup, 2 s after the start or the flood; the container is not in it.',
      `Of all monitors and launchers together: ${execs} execs of one container, which stay, ours joined.`,
      `GB logged: by one monitor, in a log replaced at ${logMaxBytes / 1e6} MB; from the first to the last look it grew by ${growth('rival')} (rival) and ${growth('ours')} (ours) MiB.`,
      'At rest: the same monitor, 16 s after it has as many threads again as before the flood, which takes 90 s at most.',
    ],
  };
}
