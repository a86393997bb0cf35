// Picks figures out of samples and words them for a table. Pure.

import type { Sample, Subject } from '../harness/environment.ts';
import { compare, median, spread } from './statistics.ts';

/** The values of one metric of one subject in one row, in the order in which they were measured. */
export function metric(samples: readonly Sample[], variant: string, subject: Subject, name: string): readonly number[] {
  const values: number[] = [];
  for (const sample of samples) {
    const value = sample.metrics[name];
    if (sample.variant === variant && sample.subject === subject && value !== undefined) values.push(value);
  }
  return values;
}

/** The variants that have been measured, in that order. */
export function variantsOf(samples: readonly Sample[]): readonly string[] {
  return [...new Set(samples.map((sample) => sample.variant))];
}

/** A figure of about three significant digits; `-` when there is none. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** Median and spread: `161 ±3%`. */
export function withSpread(values: readonly number[]): string {
  if (values.length === 0) return '-';
  const middle = figure(median(values));
  return values.length === 1 ? middle : `${middle} ±${Math.round(spread(values) * 100)}%`;
}

/** A ratio: `4.12x`. */
export function times(ratio: number): string {
  return Number.isFinite(ratio) ? `${ratio.toFixed(2)}x` : '-';
}

/** A difference with its sign: `+12.3`. */
export function signed(value: number): string {
  return Number.isFinite(value) ? `${value < 0 ? '' : '+'}${figure(value)}` : '-';
}

/** Four cells: the rival's figure and ours, each with its spread, their ratio, and the lowest and highest of neighbouring runs. */
export function sides(samples: readonly Sample[], variant: string, name: string): readonly string[] {
  const rival = metric(samples, variant, 'rival', name);
  const ours = metric(samples, variant, 'ours', name);
  const { ratio, lowest, highest } = compare(ours, rival);
  return [withSpread(rival), withSpread(ours), times(ratio), `${figure(lowest)}..${figure(highest)}`];
}

/** Other processes, the hypervisor included, with more than this share of one CPU: the run was disturbed. */
const disturbedShare = 0.15;

/** A note when others were at work: the ratios then say less than on a quiet machine. */
export function disturbances(samples: readonly Sample[]): readonly string[] {
  const shares = samples.flatMap((sample) => sample.metrics['othersShare'] ?? []);
  const disturbed = shares.filter((share) => share > disturbedShare).length;
  if (disturbed === 0) return [];
  const limit = Math.round(disturbedShare * 100);
  return [`DISTURBED: in ${disturbed} of ${shares.length} runs other processes took more than ${limit} % of a CPU.`];
}

/** Quantiles of one run, as container and client tell them (bench/native), in the order of a plot. */
export const quantiles = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'] as const;
