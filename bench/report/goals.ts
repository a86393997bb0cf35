// What the project promises of these figures, and whether the run at hand keeps it. The limits stand here and nowhere else;
// the scenarios' tables ask for theirs. Pure. A goal that is missed is a row to be seen, not a failure of the bench.

import type { Sample, Subject, Table } from '../harness/environment.ts';
import { disturbances, figure, metric, signed } from './select.ts';
import { median } from './statistics.ts';

/** What is judged: ours over the rival or over the floor, ours less the rival, ours alone, one row of ours over another. */
type By = 'ratio' | 'floor' | 'difference' | 'own' | 'row';

/** Which figure it is. */
export interface Figure {
  readonly scenario: string;
  readonly variant: string;
  readonly metric: string;
  /** Default: ratio to the rival. */
  readonly by?: By;
}

export interface Goal extends Figure {
  readonly label: string;
  readonly relation: '>=' | '<=';
  readonly limit: number;
  /** `x` for ratios, else the figure's own. */
  readonly unit: string;
  /** For `row`: the variant that ours is compared with. */
  readonly against?: string;
}

export interface Verdict {
  readonly goal: Goal;
  /** NaN: not measured. */
  readonly value: number;
  readonly verdict: 'reached' | 'MISSED' | 'not measured';
}

const atLeast = (figure: Figure, label: string, limit: number): Goal => ({
  ...figure,
  label,
  relation: '>=',
  limit,
  unit: 'x',
});
const atMost = (figure: Figure, label: string, limit: number, unit = 'x'): Goal => ({
  ...figure,
  label,
  relation: '<=',
  limit,
  unit,
});

/** Promised in MB, measured in MiB. */
const MB = 1e6 / 2 ** 20;

/** The promised multiples of C's throughput, by line length. */
const speedByLine = [
  ['20', 4.5],
  ['100', 3.5],
  ['1000', 2.7],
  ['10000', 2.7],
] as const;
/** Where a plain copy is as slow as the disk lets it: ours may be at most 15 % behind. */
const nearFloor = ['1000', '10000', '65536'] as const;

export const goals: readonly Goal[] = [
  ...speedByLine.map(([variant, limit]) =>
    atLeast({ scenario: 'throughput', variant, metric: 'payloadMBps' }, `throughput, ${variant} B a line`, limit),
  ),
  ...nearFloor.map((variant) =>
    atLeast(
      { scenario: 'throughput', variant, metric: 'payloadMBps', by: 'floor' },
      `throughput by the floor, ${variant} B`,
      0.85,
    ),
  ),
  ...speedByLine.map(([variant]) =>
    atMost({ scenario: 'throughput', variant, metric: 'cpuSecondsPerGB' }, `CPU s/GB, ${variant} B a line`, 0.28),
  ),
  ...['100', '1000'].flatMap((variant) => [
    atLeast({ scenario: 'attach', variant, metric: 'payloadMBps' }, `attached, throughput, ${variant} B a line`, 2.5),
    atMost({ scenario: 'attach', variant, metric: 'cpuSecondsPerGB' }, `attached, CPU s/GB, ${variant} B a line`, 0.45),
  ]),
  ...[
    ['idle', 'log'],
    ['client, idle', 'client'],
  ].flatMap(([variant = '', end = '']) => [
    atMost({ scenario: 'latency', variant, metric: 'p50Us' }, `latency, write to ${end}, p50`, 1.3),
    atMost({ scenario: 'latency', variant, metric: 'p99Us' }, `latency, write to ${end}, p99`, 1),
  ]),
  atMost(
    { scenario: 'startup', variant: 'trivial runtime', metric: 'toRuntimeMs', by: 'difference' },
    'start-up, exec to the runtime',
    22,
    ' ms',
  ),
  atMost(
    { scenario: 'startup', variant: 'crun', metric: 'toSyncMs', by: 'difference' },
    'start-up, create to the pid on the sync pipe, crun',
    28,
    ' ms',
  ),
  ...(
    [
      ['1 container', 15 * MB],
      ['1 container, no log', 9.5 * MB],
      ['1 container, attached', 22 * MB],
    ] as const
  ).map(([variant, limit]) =>
    atMost(
      { scenario: 'memory', variant, metric: 'privateMiB', by: 'own' },
      `private memory, ${variant}`,
      limit,
      ' MiB',
    ),
  ),
  atMost(
    { scenario: 'memory', variant: '1 container, 10 GB logged, at rest', metric: 'privateMiB', by: 'own' },
    'private memory, idle after 10 GB logged',
    15 * MB,
    ' MiB',
  ),
  // 2 s after the floods, as a quick bench has it too; and when the monitor is idle again (docs/adr/0072-flat-when-idle.md).
  ...(
    [
      ['2 GB logged', 1],
      ['10 GB logged', 1],
      ['10 GB logged, at rest', 3],
    ] as const
  ).map(([variant, from]) =>
    atMost(
      { scenario: 'memory', variant: `1 container, ${variant}`, metric: 'growthMiB', by: 'own' },
      `private memory, growth from ${from} to ${variant}`,
      1,
      ' MiB',
    ),
  ),
  atMost({ scenario: 'idle', variant: '1 container', metric: 'voluntarySwitches', by: 'own' }, 'idle, wake-ups', 0, ''),
  atMost({ scenario: 'idle', variant: '1 container', metric: 'fds', by: 'own' }, 'idle, fds', 24, ''),
  ...['10 containers', '50 containers'].map((variant) =>
    atLeast({ scenario: 'scale', variant, metric: 'payloadMBps' }, `throughput, ${variant} at once`, 2),
  ),
  ...['no log', 'k8s-file log'].flatMap((variant) => [
    atMost(
      { scenario: 'exec', variant, metric: 'toRuntimeMs', by: 'own' },
      `exec to the runtime, ${variant}`,
      4,
      ' ms',
    ),
    atMost({ scenario: 'exec', variant, metric: 'cpuMs' }, `CPU of an exec, ${variant}`, 1),
  ]),
  atMost(
    { scenario: 'exec', variant: '20 at once', metric: 'addedMiB', by: 'own' },
    'private memory of an exec, 20 at once',
    0.4 * MB,
    ' MiB',
  ),
  atMost(
    { scenario: 'exec', variant: '20 with --exit-delay', metric: 'extraProcesses', by: 'own' },
    'processes that wait for --exit-delay',
    0,
    '',
  ),
  {
    ...atLeast(
      { scenario: 'json-file', variant: 'json-file 100', metric: 'payloadMBps', by: 'row' },
      'json-file by k8s-file, 100 B',
      0.7,
    ),
    against: 'k8s-file 100',
  },
  {
    ...atLeast(
      { scenario: 'rotation', variant: 'files of 10 MB', metric: 'payloadMBps', by: 'row' },
      'rotation by one file, 100 B',
      0.9,
    ),
    against: 'one file',
  },
];

/** The goal for a figure, or undefined. */
export function goalFor({ scenario, variant, metric: name, by = 'ratio' }: Figure): Goal | undefined {
  return goals.find(
    (each) =>
      each.scenario === scenario && each.variant === variant && each.metric === name && (each.by ?? 'ratio') === by,
  );
}

/** The cell of a table: `>=4.5x ok`, `<=0.28x MISSED`; empty where nothing was promised. */
export function goalCell(samples: readonly Sample[], figure: Figure): string {
  const goal = goalFor(figure);
  if (goal === undefined) return '';
  const { verdict } = judge(goal, samples);
  return `${limitText(goal)}${verdict === 'reached' ? ' ok' : verdict === 'MISSED' ? ' MISSED' : ''}`;
}

/** Compares what was measured with the limit, unrounded. */
export function judge(goal: Goal, all: readonly Sample[]): Verdict {
  const samples = all.filter(({ scenario }) => scenario === goal.scenario);
  const of = (variant: string, subject: Subject): number => median(metric(samples, variant, subject, goal.metric));
  const ours = of(goal.variant, 'ours');
  const value = {
    ratio: () => ours / of(goal.variant, 'rival'),
    floor: () => ours / of(goal.variant, 'floor'),
    difference: () => ours - of(goal.variant, 'rival'),
    own: () => ours,
    row: () => ours / of(goal.against ?? '', 'ours'),
  }[goal.by ?? 'ratio']();
  if (!Number.isFinite(value)) return { goal, value: Number.NaN, verdict: 'not measured' };
  const reached = goal.relation === '>=' ? value >= goal.limit : value <= goal.limit;
  return { goal, value, verdict: reached ? 'reached' : 'MISSED' };
}

/** All that was promised about what was measured; goals of scenarios that did not run are only counted. */
export function goalsTable(samples: readonly Sample[]): Table {
  const verdicts = goals.map((goal) => judge(goal, samples));
  const count = (verdict: Verdict['verdict']): number => verdicts.filter((each) => each.verdict === verdict).length;
  const rows = verdicts
    .filter(({ verdict }) => verdict !== 'not measured')
    .map(({ goal, value, verdict }) => [goal.label, limitText(goal), valueText(goal, value), verdict]);
  return {
    title: `Goals: ${count('reached')} reached, ${count('MISSED')} missed, ${count('not measured')} not measured in this run`,
    header: ['', 'goal', 'measured', 'verdict'],
    rows,
    notes: [
      'x: medians, ours over the rival or as the row says; a difference is ours less the rival.',
      ...disturbances(samples),
    ],
  };
}

function limitText({ relation, limit, unit, by }: Goal): string {
  return `${relation}${by === 'difference' ? '+' : ''}${Number(limit.toPrecision(3))}${unit}`;
}

function valueText({ unit, by }: Goal, value: number): string {
  return `${by === 'difference' ? signed(value) : figure(value)}${unit}`;
}
