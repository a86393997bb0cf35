/** The goals: each is judged by what was measured, and a missed one is seen. */
import t from 'tap';
import type { Sample, Subject } from '../../../bench/harness/environment.ts';
import { type Goal, goalCell, goalFor, goals, goalsTable, judge } from '../../../bench/report/goals.ts';
import { scenarios } from '../../../bench/scenarios/all.ts';

function sample(goal: Goal, subject: Subject, value: number, variant = goal.variant): Sample {
  return { scenario: goal.scenario, variant, subject, metrics: { [goal.metric]: value } };
}

/** Samples in which the figure that `goal` judges is `value`. */
function samplesFor(goal: Goal, value: number): readonly Sample[] {
  const base = 100;
  switch (goal.by ?? 'ratio') {
    case 'ratio':
      return [sample(goal, 'rival', base), sample(goal, 'ours', value * base)];
    case 'floor':
      return [sample(goal, 'floor', base), sample(goal, 'ours', value * base)];
    case 'difference':
      return [sample(goal, 'rival', base), sample(goal, 'ours', value + base)];
    case 'own':
      return [sample(goal, 'ours', value), sample(goal, 'rival', base)];
    case 'row':
      return [sample(goal, 'ours', base, goal.against), sample(goal, 'ours', value * base)];
  }
}

t.test('every goal is reached on its limit, missed just beyond it, and open without figures', async (t) => {
  for (const goal of goals) {
    const beyond = goal.relation === '>=' ? goal.limit - 0.01 : goal.limit + 0.01;
    t.equal(judge(goal, samplesFor(goal, beyond)).verdict, 'MISSED', goal.label);
    const within = goal.relation === '>=' ? goal.limit + 0.01 : goal.limit - 0.01;
    t.equal(judge(goal, samplesFor(goal, within)).verdict, 'reached', goal.label);
    t.equal(judge(goal, []).verdict, 'not measured', goal.label);
    t.equal(judge(goal, samplesFor(goal, within).slice(0, 1)).verdict, goal.by === 'own' ? 'reached' : 'not measured');
  }
});

t.test('a goal judges its own scenario and row only', async (t) => {
  const goal = goalFor({ scenario: 'throughput', variant: '20', metric: 'payloadMBps' });
  if (goal === undefined) throw new Error('no goal');
  const samples = samplesFor(goal, 10);
  t.equal(judge(goal, samples).verdict, 'reached');
  t.equal(
    judge(
      goal,
      samples.map((each) => ({ ...each, scenario: 'attach' })),
    ).verdict,
    'not measured',
  );
  t.equal(
    judge(
      goal,
      samples.map((each) => ({ ...each, variant: '100' })),
    ).verdict,
    'not measured',
  );
});

t.test('medians are compared, unrounded', async (t) => {
  const goal = goalFor({ scenario: 'throughput', variant: '20', metric: 'payloadMBps' });
  if (goal === undefined) throw new Error('no goal');
  const of = (subject: Subject, values: readonly number[]) => values.map((value) => sample(goal, subject, value));
  const rival = of('rival', [1, 100, 101]);
  t.match(judge(goal, [...rival, ...of('ours', [1, 449.99, 9000])]), { verdict: 'MISSED' });
  t.match(judge(goal, [...rival, ...of('ours', [1, 450, 9000])]), { verdict: 'reached', value: 4.5 });
});

t.test(
  'a cell says the limit and the verdict, only the limit without figures, and nothing where nothing was promised',
  async (t) => {
    const figure = { scenario: 'throughput', variant: '20', metric: 'cpuSecondsPerGB' } as const;
    const goal = goalFor(figure);
    if (goal === undefined) throw new Error('no goal');
    t.equal(goalCell(samplesFor(goal, 0.28), figure), '<=0.28x ok');
    t.equal(goalCell(samplesFor(goal, 0.29), figure), '<=0.28x MISSED');
    t.equal(goalCell([], figure), '<=0.28x');
    t.equal(goalCell([], { ...figure, variant: '21' }), '');
    t.equal(goalCell([], { ...figure, by: 'floor' }), '');
    const later = { scenario: 'startup', variant: 'crun', metric: 'toSyncMs', by: 'difference' } as const;
    t.equal(goalCell([], later), '<=+28 ms');
  },
);

t.test('the table lists what was measured and counts the rest', async (t) => {
  const [first, second, third] = goals;
  if (first === undefined || second === undefined || third === undefined) throw new Error('too few goals');
  const table = goalsTable([...samplesFor(first, 5), ...samplesFor(second, 1)]);
  t.equal(table.title, `Goals: 1 reached, 1 missed, ${goals.length - 2} not measured in this run`);
  t.same(table.rows, [
    ['throughput, 20 B a line', '>=4.5x', '5.00x', 'reached'],
    ['throughput, 100 B a line', '>=3.5x', '1.00x', 'MISSED'],
  ]);
});

t.test('what others took of the machine stands below', async (t) => {
  const disturbed = (othersShare: number): Sample => ({
    scenario: 'rotation',
    variant: 'v',
    subject: 'ours',
    metrics: { othersShare },
  });
  t.match(goalsTable([disturbed(0.2), disturbed(0.1)]).notes.join('\n'), /DISTURBED: in 1 of 2 runs/);
  t.notMatch(goalsTable([disturbed(0.1)]).notes.join('\n'), /DISTURBED/);
});

t.test('each goal is one that a bench can measure: scenario and row exist', async (t) => {
  const signal = new AbortController().signal;
  const planned = new Set<string>();
  for (const quick of [true, false])
    for (const scenario of scenarios)
      for (const { variant } of scenario.steps({
        monitors: { rival: '', ours: '' },
        workDir: '',
        quick,
        pairs: undefined,
        signal,
      }))
        planned.add(`${scenario.name}: ${variant}`);
  for (const { scenario, variant } of goals) {
    // One step gives all of these rows.
    const step = / GB logged(, at rest)?$/.test(variant) ? 'GBs logged' : variant;
    t.ok(planned.has(`${scenario}: ${step}`), `${scenario}: ${variant}`);
  }
});
