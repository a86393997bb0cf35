// Scenario: execs in a container that runs: what one makes its caller wait and what CPU it takes, what twenty at once add
// in memory, what twenty leave behind that wait for their --exit-delay. C, ours joined, ours with CONMON_SESSIONS=off.

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { type ExecPlan, execSession } from '../harness/exec-session.ts';
import { HeldExecs } from '../harness/held-execs.ts';
import { cpuNsAtRest, endProcess, type Monitor, startMonitor } from '../harness/monitor.ts';
import { alternate } from '../harness/order.ts';
import { footprint, processesOf } from '../harness/procfs.ts';
import { pause } from '../harness/wait.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, times } from '../report/select.ts';
import { compare, median, percentile } from '../report/statistics.ts';

const name = 'exec';
/** Before a series: a daemon loads the code for execs with its first one, and V8 compiles what it sees often. */
const warmUps = 20;
/** With a process for each exec nothing warms up but the page cache. */
const warmUpsAlone = 2;
const many = 20;
const exitDelaySeconds = 300;
/** A monitor that has just been started tidies up once: no exec has to pay for that. */
const startIsOverMs = 2500;
/** Until collectors and late compilation have had their say. */
const settleMs = 700;

/** Who runs the execs. `key` distinguishes the two ways of ours in the samples. */
interface Way {
  readonly key: string;
  readonly side: Side;
  readonly plan: ExecPlan;
}

const ways: readonly Way[] = [
  { key: '', side: 'rival', plan: {} },
  { key: '', side: 'ours', plan: { joins: true } },
  { key: ', sessions off', side: 'ours', plan: { alone: true } },
];

const logs: readonly { readonly variant: string; readonly log?: 'none' }[] = [
  { variant: 'no log', log: 'none' },
  { variant: 'k8s-file log' },
];
const atOnce = `${many} at once`;
const delayed = `${many} with --exit-delay`;

export const exec: Scenario = {
  name,
  steps(environment) {
    const { quick } = environment;
    const rounds = environment.pairs ?? (quick ? 1 : 8);
    const step = (variant: string, way: Way, expectedMs: number, measure: Measure): Step => ({
      variant: variant + way.key,
      subject: way.side,
      expectedMs,
      run: async () =>
        (await measure(environment, way)).map((metrics) => ({
          scenario: name,
          variant: variant + way.key,
          subject: way.side,
          metrics,
        })),
    });
    return [
      ...logs.flatMap(({ variant, log }) => {
        const series: Measure = (_, way) => runSeries(environment, way, log === undefined ? {} : { log });
        return alternate(
          ways.map((way) => step(variant, way, quick ? 3000 : 3200, series)),
          rounds,
        );
      }),
      ...alternate(
        ways.map((way) => step(atOnce, way, 2700, holdMany)),
        quick ? 1 : 3,
      ),
      ...ways.map((way) => step(delayed, way, 2000, leaveMany)),
    ];
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [waitTable(mine), costTable(mine)];
  },
};

type Metrics = Readonly<Record<string, number>>;
type Measure = (environment: Environment, way: Way) => Promise<readonly Metrics[]>;

/** A running container for `work`; it ends with status 0 afterwards, or nothing that was measured counts. */
async function inContainer<T>(
  environment: Environment,
  side: Side,
  work: (monitor: Monitor) => Promise<T>,
): Promise<T> {
  const monitor = await startMonitor(environment, side);
  try {
    const result = await work(monitor);
    await monitor.finish(0);
    return result;
  } finally {
    await monitor.dispose();
  }
}

/** Execs one after the other: the waits of each, and the CPU of the series, in which the daemon's is. */
async function runSeries(environment: Environment, way: Way, log: ExecPlan): Promise<readonly Metrics[]> {
  const { quick, signal } = environment;
  const alone = way.plan.alone === true;
  const count = alone ? (quick ? 8 : 10) : quick ? 25 : 40;
  return inContainer(environment, way.side, async (container) => {
    const plan = { ...way.plan, ...log, container };
    const startMs = performance.now();
    const first = await execSession(environment, way.side, plan);
    for (let i = 1; i < (alone ? warmUpsAlone : warmUps); i++) await execSession(environment, way.side, plan);
    await pause(Math.max(0, startMs + startIsOverMs - performance.now()), signal);
    const daemonBeforeNs = await cpuNsAtRest(container.daemonPid, signal);
    const figures = [];
    for (let i = 0; i < count; i++) figures.push(await execSession(environment, way.side, plan));
    const daemonNs = (await cpuNsAtRest(container.daemonPid, signal)) - daemonBeforeNs;
    return [
      ...figures.map(({ toRuntimeMs, sessionMs }) => ({ toRuntimeMs, sessionMs })),
      { firstToRuntimeMs: first.toRuntimeMs, ...cpuPerExec(figures, daemonNs) },
    ];
  });
}

/** What an exec of a series took in the mean: its own processes, and its share of the container's daemon. */
export function cpuPerExec(
  execs: readonly { readonly cpuNs: number }[],
  daemonNs: number,
): { readonly cpuMs: number; readonly daemonCpuMs: number } {
  const ownNs = execs.reduce((sum, { cpuNs }) => sum + cpuNs, 0);
  return { cpuMs: (ownNs + daemonNs) / 1e6 / execs.length, daemonCpuMs: daemonNs / 1e6 / execs.length };
}

/** Execs that are there at the same time, each with a line logged: what each adds to the memory of all monitors. */
async function holdMany(environment: Environment, way: Way): Promise<readonly Metrics[]> {
  const { signal } = environment;
  return inContainer(environment, way.side, async (container) => {
    const execs = new HeldExecs(container);
    const privateKiB = async (): Promise<number> => {
      await pause(settleMs, signal);
      return (await footprint(await execs.pids())).privateKiB;
    };
    try {
      const freshKiB = await privateKiB();
      await execSession(environment, way.side, { ...way.plan, container });
      const usedKiB = await privateKiB();
      await execs.add(environment, way.side, way.plan, many);
      const nowKiB = await privateKiB();
      return [{ addedMiB: (nowKiB - usedKiB) / 1024 / many, addedToFreshMiB: (nowKiB - freshKiB) / 1024 / many }];
    } finally {
      await execs.release();
    }
  });
}

/** Podman's execs, whose conmon is to clean up minutes later: the processes that are there for it, and at the container's end. */
async function leaveMany(environment: Environment, way: Way): Promise<readonly Metrics[]> {
  const { signal } = environment;
  const parentDir = await mkdtemp(join(environment.workDir, 'delayed-'));
  try {
    const waiting = async (): Promise<number> => {
      await pause(settleMs, signal);
      return (await processesOf(parentDir)).length;
    };
    const whileItRuns = await inContainer(environment, way.side, async (container) => {
      const plan = {
        ...way.plan,
        container,
        parentDir,
        log: 'none',
        podmanExitDelaySeconds: exitDelaySeconds,
      } as const;
      for (let i = 0; i < many; i++) await execSession(environment, way.side, plan);
      return waiting();
    });
    return [{ extraProcesses: whileItRuns, processesAfterEnd: await waiting() }];
  } finally {
    for (const each of await processesOf(parentDir)) await endProcess(each);
    await rm(parentDir, { recursive: true, force: true });
  }
}

type Values = (way: Way, variant: string, key: string) => readonly number[];

function valuesOf(samples: readonly Sample[]): Values {
  return (way, variant, key) => metric(samples, variant + way.key, way.side, key);
}

function waitTable(samples: readonly Sample[]): Table {
  const values = valuesOf(samples);
  const spans = [
    { key: 'toRuntimeMs', label: 'exec -> runtime' },
    { key: 'sessionMs', label: 'exec -> end' },
    { key: 'firstToRuntimeMs', label: 'the first, exec -> runtime' },
  ] as const;
  const rows = logs.flatMap(({ variant }) =>
    spans.map((span) => {
      const all = ways.map((way) => values(way, variant, span.key));
      return [
        `${variant}, ${span.label}`,
        ...all.flatMap((each) => [figure(median(each)), figure(percentile(each, 0.9))]),
        goalCell(samples, { scenario: name, variant, metric: span.key, by: 'own' }),
      ];
    }),
  );
  return {
    title: 'One exec in a running container, ms',
    header: ['', 'rival p50', 'p90', 'ours, joined p50', 'p90', 'sessions off p50', 'p90', 'goal'],
    rows,
    notes: [
      `ExecSync with a trivial runtime, in series after ${warmUps} execs that do not count; less is better.`,
      'Joined or not: compared with whose child the runtime was.',
    ],
  };
}

function costTable(samples: readonly Sample[]): Table {
  const values = valuesOf(samples);
  const row = (label: string, variant: string, key: string, by: 'ratio' | 'own') => {
    const all = ways.map((way) => values(way, variant, key));
    return [
      label,
      ...all.map((each) => figure(median(each))),
      times(compare(all[1] ?? [], all[0] ?? []).ratio),
      goalCell(samples, { scenario: name, variant, metric: key, by }),
    ];
  };
  return {
    title: 'What execs cost',
    header: ['', 'rival', 'ours, joined', 'sessions off', 'joined/rival', 'goal'],
    rows: [
      ...logs.map(({ variant }) => row(`CPU ms an exec, ${variant}`, variant, 'cpuMs', 'ratio')),
      ...logs.map(({ variant }) => row(`of that the container's daemon, ${variant}`, variant, 'daemonCpuMs', 'own')),
      row(`MiB private each of ${atOnce}`, atOnce, 'addedMiB', 'own'),
      row('the same, the first execs of a container', atOnce, 'addedToFreshMiB', 'own'),
      row(`processes, ${delayed}`, delayed, 'extraProcesses', 'own'),
      row("processes after the container's end", delayed, 'processesAfterEnd', 'own'),
    ],
    notes: [
      "CPU: all processes of the exec without the runtime's (sessions off: with them, about 2 ms), and the daemon's meanwhile.",
      `Memory: Private_Clean + Private_Dirty of all monitors and launchers, ${many} execs that have logged a line and stay, with a k8s-file log.`,
      `Processes: Podman's execs with --exit-delay ${exitDelaySeconds}, all ended.`,
    ],
  };
}
