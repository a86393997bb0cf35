// Runs the steps of a bench one after the other. A step that fails is told and the next one runs; only an abort ends it
// early. Main thread only; it prints nothing and measures nothing.

import type { Failure, Sample, Step } from './harness/environment.ts';
import { estimateLeftMs } from './report/progress.ts';

export interface PlannedStep {
  readonly scenario: string;
  readonly step: Step;
}

export interface StepEvents {
  /** A step begins; `index` counts from 0. */
  onStep(index: number, planned: PlannedStep, leftMs: number): void;
  onSample(sample: Sample, at: string): void;
  /** A step that gives no figure: something went wrong, or what was logged is not what was written. */
  onFailure(failure: Failure, at: string): void;
}

/** @returns false when `signal` ended it before all had run. */
export async function runSteps(
  steps: readonly PlannedStep[],
  signal: AbortSignal,
  events: StepEvents,
): Promise<boolean> {
  const began = performance.now();
  let doneExpectedMs = 0;
  let leftExpectedMs = steps.reduce((sum, { step }) => sum + step.expectedMs, 0);
  for (const [index, planned] of steps.entries()) {
    if (signal.aborted) return false;
    const { scenario, step } = planned;
    events.onStep(index, planned, estimateLeftMs(performance.now() - began, doneExpectedMs, leftExpectedMs));
    const at = new Date().toISOString();
    try {
      for (const sample of await step.run()) events.onSample(sample, at);
    } catch (error) {
      if (signal.aborted) return false; // it failed because it was to end
      const failure = error instanceof Error ? error.message : String(error);
      events.onFailure({ scenario, variant: step.variant, subject: step.subject, failure }, at);
    }
    doneExpectedMs += step.expectedMs;
    leftExpectedMs -= step.expectedMs;
  }
  return true;
}

const exitInterrupted = 130; // 128 + SIGINT, as a shell tells it

/** The bench's exit status: a run that does not count is a failure, a goal that is missed is not. */
export function exitStatus(complete: boolean, failures: readonly Failure[]): number {
  if (!complete) return exitInterrupted;
  return failures.length > 0 ? 1 : 0;
}
