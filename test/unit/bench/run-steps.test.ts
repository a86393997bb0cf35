/** The bench's plan: what fails is told, costs the exit status, and ends nothing; an abort does. */
import t from 'tap';
import type { Failure, Sample, Step } from '../../../bench/harness/environment.ts';
import { exitStatus, type PlannedStep, runSteps } from '../../../bench/run-steps.ts';

function planned(variant: string, run: Step['run'], expectedMs = 100): PlannedStep {
  return { scenario: 's', step: { variant, subject: 'ours', expectedMs, run } };
}

const sample: Sample = { scenario: 's', variant: 'v', subject: 'ours', metrics: { x: 1 } };

/** What became of those steps. */
async function run(steps: readonly PlannedStep[], signal = new AbortController().signal) {
  const seen = { begun: [] as string[], leftMs: [] as number[], samples: [] as Sample[], failures: [] as Failure[] };
  const complete = await runSteps(steps, signal, {
    onStep: (_, { step }, leftMs) => {
      seen.begun.push(step.variant);
      seen.leftMs.push(leftMs);
    },
    onSample: (each) => void seen.samples.push(each),
    onFailure: (failure) => void seen.failures.push(failure),
  });
  return { complete, ...seen };
}

t.test('a step that fails is told with its words, gives no figure, and the next ones run', async (t) => {
  const { complete, begun, samples, failures } = await run([
    planned('a', async () => [sample, sample]),
    planned('b', async () => {
      throw new Error('the log is not what was written');
    }),
    planned('c', () => {
      throw new Error('at once');
    }),
    planned('d', async () => [sample]),
  ]);
  t.equal(complete, true);
  t.same(begun, ['a', 'b', 'c', 'd']);
  t.equal(samples.length, 3);
  t.same(failures, [
    { scenario: 's', variant: 'b', subject: 'ours', failure: 'the log is not what was written' },
    { scenario: 's', variant: 'c', subject: 'ours', failure: 'at once' },
  ]);
  t.equal(exitStatus(complete, failures), 1);
});

t.test('an abort ends it: the step that it ended is no failure, and what was measured stays', async (t) => {
  const stop = new AbortController();
  const { complete, begun, samples, failures } = await run(
    [
      planned('a', async () => [sample]),
      planned('b', async () => {
        stop.abort(new Error('interrupted'));
        stop.signal.throwIfAborted();
        return [sample];
      }),
      planned('c', async () => [sample]),
    ],
    stop.signal,
  );
  t.same([complete, begun, samples.length, failures], [false, ['a', 'b'], 1, []]);
  t.equal(exitStatus(complete, failures), 130);
});

t.test('the time left begins with the guesses and falls with the steps', async (t) => {
  const nothing = async () => [];
  const { leftMs } = await run([planned('a', nothing, 3000), planned('b', nothing, 1000), planned('c', nothing, 1000)]);
  t.equal(leftMs[0], 5000);
  t.ok((leftMs[2] ?? 0) < (leftMs[0] ?? 0));
});

t.test('a bench whose runs all count ends with 0, whatever they say', async (t) => t.equal(exitStatus(true, []), 0));
