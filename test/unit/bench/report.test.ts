/** How figures become a table, and what the live line promises. */
import t from 'tap';
import type { Sample, Subject } from '../../../bench/harness/environment.ts';
import { clock, estimateLeftMs } from '../../../bench/report/progress.ts';
import { figure, metric, signed, times, variantsOf, withSpread } from '../../../bench/report/select.ts';
import { failureLines, formatTable } from '../../../bench/report/table.ts';
import { scenarios } from '../../../bench/scenarios/all.ts';
import { throughput } from '../../../bench/scenarios/throughput.ts';

function sample(variant: string, subject: Subject, metrics: Record<string, number>): Sample {
  return { scenario: 'throughput', variant, subject, metrics };
}

const speeds: readonly Sample[] = [
  sample('20', 'rival', { payloadMBps: 200, cpuSecondsPerGB: 4, startCpuMs: 3, generatorShare: 0.1, othersShare: 0 }),
  sample('20', 'ours', {
    payloadMBps: 100,
    cpuSecondsPerGB: 8,
    startCpuMs: 60,
    generatorShare: 0.95,
    othersShare: 0.5,
  }),
  sample('100', 'rival', { payloadMBps: 400, cpuSecondsPerGB: 2 }),
];

t.test('figures have about three digits and never pretend to be there', async (t) => {
  t.same([0.123, 1.234, 12.34, 123.4, 1234.5].map(figure), ['0.12', '1.23', '12.3', '123', '1235']);
  t.equal(figure(Number.NaN), '-');
  t.equal(withSpread([]), '-');
  t.equal(withSpread([100]), '100');
  t.equal(withSpread([90, 100, 110]), '100 ±10%');
  t.equal(times(4.125), '4.13x');
  t.equal(times(Number.NaN), '-');
  t.equal(signed(2), '+2.00');
  t.equal(signed(-2), '-2.00');
});

t.test('samples are picked by row, subject and metric', async (t) => {
  t.same(metric(speeds, '20', 'ours', 'payloadMBps'), [100]);
  t.same(metric(speeds, '20', 'floor', 'payloadMBps'), []);
  t.same(metric(speeds, '20', 'ours', 'nonsense'), []);
  t.same(variantsOf(speeds), ['20', '100']);
});

t.test('a table lines up: text to the left, figures to the right', async (t) => {
  const text = formatTable({
    title: 'T',
    header: ['', 'a', 'long'],
    rows: [
      ['row', '1', '2'],
      ['r', '100', ''],
    ],
    notes: ['note'],
  });
  t.equal(text, 'T\n\n       a  long\n---  ---  ----\nrow    1     2\nr    100\n  note\n');
});

t.test('failures that say the same are one line, with their number', async (t) => {
  const failure = { scenario: 's', variant: 'v', subject: 'ours' as const, failure: 'lost' };
  t.same(failureLines([failure, { ...failure, variant: 'w' }, failure]), [
    's, v, ours: lost (2 times)',
    's, w, ours: lost',
  ]);
  t.same(failureLines([]), []);
});

t.test('a row that we lose is printed like any other', async (t) => {
  const [speed] = throughput.tables(speeds);
  const row = speed?.rows[0];
  t.same(row?.slice(0, 4), ['20', '200', '100', '0.50x']);
  t.equal(row?.[5], '>=4.5x MISSED');
});

t.test('an interrupted bench prints the rows it has, with gaps', async (t) => {
  const [speed, cpu] = throughput.tables(speeds);
  t.equal(speed?.rows.length, 2);
  t.same(speed?.rows[1]?.slice(0, 4), ['100', '400', '-', '-']);
  t.equal(cpu?.rows[1]?.[1], '2.00');
  for (const scenario of scenarios) t.same(scenario.tables([]), [], `${scenario.name}: nothing measured, no table`);
});

t.test('whatever runs have failed, the tables of the others are whole', async (t) => {
  const signal = new AbortController().signal;
  const environment = { monitors: { rival: '', ours: '' }, workDir: '', quick: false, pairs: 1, signal };
  for (const scenario of scenarios) {
    const planned = scenario.steps(environment);
    for (const subject of ['rival', 'ours', 'floor'] as const) {
      const samples = planned
        .filter((step) => step.subject === subject)
        .map(({ variant }) => ({ scenario: scenario.name, variant, subject, metrics: {} }));
      const text = scenario.tables(samples).map(formatTable).join('');
      t.notMatch(text, /NaN|undefined|Infinity/, `${scenario.name}, ${subject}`);
    }
  }
});

t.test('the table says when the generator was the bottleneck and when others were at work', async (t) => {
  const notes = throughput.tables(speeds)[0]?.notes.join('\n') ?? '';
  t.match(notes, /20 B, ours: the load generator used 95 %/);
  t.notMatch(notes, /20 B, rival/);
  t.match(notes, /DISTURBED: in 1 of 2 runs/);
});

t.test('the estimate scales the guesses by how wrong they were', async (t) => {
  t.equal(estimateLeftMs(0, 0, 5000), 5000);
  t.equal(estimateLeftMs(4000, 2000, 5000), 10_000);
  t.equal(clock(42_400), '0:42');
  t.equal(clock(725_000), '12:05');
  t.equal(clock(-1), '0:00');
});
